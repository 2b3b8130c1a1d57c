"""Where tests write: in memory where there is room, as most of their time would go into syncing files, or on a disk.

It owns the choice of the folders. The `conftest.py` of the project makes tests use them.
"""

import os
import shutil
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]

_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30  # bytes; two processes of pytest-xdist take 0.4 GiB


def in_memory() -> str | None:
    """Name a folder in memory that has room for what tests write.

    :returns: Folder; `None` if there is none, which is the usual place where Python wants a folder.

    """
    fits = os.access(_MEMORY, os.W_OK) and is_memory(_MEMORY) and shutil.disk_usage(_MEMORY).free >= _ROOM
    return str(_MEMORY) if fits else None


def on_disk() -> Path:
    """Name a folder on a disk: `/var/tmp`, which outlives a reboot, or else the checkout."""
    places = [place for place in (Path("/var/tmp"), ROOT) if os.access(place, os.W_OK) and not is_memory(place)]
    return places[0] if places else ROOT


def is_memory(folder: Path) -> bool:
    """Tell whether a folder is lost when the machine stops.

    :arg folder: A folder that is there.

    :returns: Whether its file system is in memory.

    """
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(one.mountpoint)]
    return bool(mounts) and max(mounts, key=lambda one: len(one.mountpoint)).fstype in ("tmpfs", "ramfs")
