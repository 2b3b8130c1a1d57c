"""A command for which no hard link can be made, as on file systems that have none: the kernel itself refuses the calls.

Owns the filter of system calls (seccomp), of which a process cannot rid itself. Called by the tests of storages and of
failures.
"""

import ctypes
import os
import platform
import struct
import subprocess
import sys

import pytest

_CALLS = {"x86_64": (86, 265), "aarch64": (37,)}
"""Numbers of `link` and `linkat`."""

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def without_links(number: int) -> list[str]:
    """Return the front of a command that cannot make a hard link, and skip the test if there can be none.

    :arg number: Error that an attempt meets, as of `errno`.

    :returns: What to put before the command.

    """
    command = [sys.executable, __file__, str(number)]
    if (
        platform.machine() not in _CALLS
        or subprocess.run([*command, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no system call can be refused here")
    return command


def _refuse(number: int) -> None:
    calls = _CALLS[platform.machine()]
    program = [
        (_LOAD, 0, 0, 0),  # the number of the call
        *((_JUMP_IF_EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | number),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    text = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(header), 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    _refuse(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
