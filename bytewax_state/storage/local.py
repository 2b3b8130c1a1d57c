"""The local disk: files in blocks, their digests and their links, and what its errors become.

Owns how a file of the local disk is read, written and linked. It does not own what is in it. Called by storages, for
what comes and goes, and by whoever keeps a folder of a store.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bytewax_state import open_files
from bytewax_state.errors import StorageError

BLOCK = 8 << 20
"""How many bytes of a file are in memory at once."""


_LINKLESS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK})
"""What file systems answer that have no hard links, or not this one."""


def link(source: Path, target: Path, need: str) -> None:
    """Give a file a second name.

    :arg target: Its other name.

    :arg need: What to do where that is not possible.

    :raises FileExistsError: If the name is taken.

    :raises StorageError: If the file system has no hard links.

    """
    try:
        os.link(source, target)
    except OSError as ex:
        if ex.errno not in _LINKLESS:
            raise
        msg = f"{target.parent} is on a file system without hard links ({ex.strerror}); {need}"
        raise StorageError(msg) from ex


def fetch(blocks: Iterable[bytes], local: Path) -> str:
    """Write an object into a new local file.

    :arg blocks: Its content.

    :arg local: File; on failure there is none.

    :returns: SHA-256, in hexadecimal.

    :raises StorageError: If the local disk is full or fails.

    """
    digest = hashlib.sha256()
    try:
        with local_disk(local):
            # To write into a file that has another name too would change what is under that name.
            local.unlink(missing_ok=True)
            file = local.open("xb")
        with _closing(file, local):
            for block in blocks:
                digest.update(block)
                with local_disk(local):
                    file.write(block)
    except BaseException:
        with suppress(OSError):
            local.unlink()
        raise
    return digest.hexdigest()


@contextmanager
def _closing(file: BinaryIO, local: Path) -> Iterator[None]:
    """Close a local file behind, which may still write."""
    try:
        yield
    finally:
        with local_disk(local):
            file.close()


@contextmanager
def local_disk(path: Path) -> Iterator[None]:
    """Turn what the local disk raises into our error, and so tell it from those of the storage.

    :arg path: File, or folder, of the local disk.

    """
    try:
        yield
    except OSError as ex:
        todo = "free some space there or repair it, or set BYTEWAX_STATE_DIR to a folder of another disk"
        msg = f"cannot read or write {path}: {ex}; {open_files.remedy(ex) or todo}"
        raise StorageError(msg) from ex


def hash_file(path: Path) -> str:
    """Digest a file.

    :arg path: File.

    :returns: SHA-256, in hexadecimal.

    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
