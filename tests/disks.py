"""Small and read-only disks for tests, where this user may mount some."""

import subprocess
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o "$1" none "$0" && shift && exec "$@"'


def mounted(folder: Path, options: str) -> list[str]:
    """Return the front of a command that sees a disk of its own on a folder, and skip the test if there can be none.

    :arg folder: Made here.

    :arg options: Of the mount, such as `size=64k`.

    :returns: What to put before the command.

    """
    folder.mkdir(exist_ok=True)
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", _MOUNT, str(folder), options]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    return command
