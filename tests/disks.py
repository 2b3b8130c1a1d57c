"""Disks that refuse, for tests: small, read-only and without hard links, where some can be mounted; closed folders."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_LINKLESS = {"vfat": "mkfs.vfat", "exfat": "mkfs.exfat", "exfat-fuse": "mkfs.exfat"}
"""File systems without hard links, and what makes them."""

_MOUNT_IMAGE = """
mount -t "$1" -o loop "$0.img" "$0" >/dev/null 2>&1 || exit 1
shift
"$@"
code=$?
umount "$0"
exit $code
"""
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


def linkless(folder: Path) -> list[str]:
    """Return the front of a command that sees a disk without hard links on a folder; see `mounted`."""
    folder.mkdir(exist_ok=True)
    image = folder.with_name(f"{folder.name}.img")
    for kind, make in _LINKLESS.items():
        if shutil.which(make) is None:
            continue
        image.write_bytes(b"")
        os.truncate(image, 64 << 20)
        command = ["unshare", "--mount", "sh", "-c", _MOUNT_IMAGE, str(folder), kind]
        if _works([make, str(image)]) and _works([*command, "true"]):
            return command
    pytest.skip("no file system without hard links can be mounted here")


def _works(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def bound(folder: Path) -> list[str]:
    """Return the front of a command for which permissions hold, though this user may be root.

    :arg folder: A closed folder is made here, to be tried.

    :returns: What to put before the command. The test is skipped if there is nothing.

    """
    closed = folder / "closed"
    closed.mkdir(mode=0)
    for command in ([], ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]):
        try:
            tried = subprocess.run([*command, "ls", str(closed)], check=False, capture_output=True)
        except OSError:
            continue
        if b"denied" in tried.stderr:
            return command
    pytest.skip("nothing is closed to this user")


def close(path: Path) -> None:
    """Make a folder that nobody may read, or make one so."""
    path.mkdir(exist_ok=True, parents=True)
    path.chmod(0)
