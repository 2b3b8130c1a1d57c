"""A lock file, held once at a time: by one process, by one holder within it, and no longer than that process lives.

Owns how it is locked. A lock of `flock` is shared by every forked child, and outlives the process that took it. A
record lock of POSIX is not, but two limits come with it, which are dealt with here: a process cannot shut itself out,
and it loses the lock when it closes any file object of the same file. So what this process holds is noted before the
file is opened. It does not own which file it is (`layout`), nor what is locked by it. Called by `workspace`.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bytewax_state import open_files
from bytewax_state.errors import ConflictError, StorageError
from bytewax_state.storage.local import local_disk

__all__ = ["FileLock"]

_HELD: dict[tuple[int, int, int, str], "FileLock"] = {}
"""What is held. The process is part of the key, as a forked child begins with a copy, and holds nothing of it."""


class FileLock:
    """A lock file that this process holds."""

    __slots__ = ("_file", "_key", "path")

    def __init__(self, path: Path) -> None:
        """Take it.

        :arg path: File; made if it does not exist, with its folder.

        :raises ConflictError: If it is held, by another process or by this one.

        :raises StorageError: If that cannot be told.

        """
        self.path = path
        self._key = _key(path)
        # A process loses a record lock when it closes any file object of that file. So only one of two threads may open
        # it, and `setdefault` tells in one step which one.
        if _HELD.setdefault(self._key, self) is not self:
            raise _held(path, str(os.getpid()))
        try:
            self._file = _locked(path)
        except BaseException:
            del _HELD[self._key]
            raise

    @property
    def is_held(self) -> bool:
        """Whether it is still held, and by this process rather than by one that it was forked from."""
        return _HELD.get(self._key) is self and self._key[0] == os.getpid()

    def release(self) -> None:
        """Let go of it. Does nothing the next time, nor in a forked child."""
        if self.is_held:
            self._file.close()
            del _HELD[self._key]

    def remove(self) -> None:
        """Remove the file, and let go of it; see `release`."""
        if self.is_held:
            with local_disk(self.path):
                self.path.unlink(missing_ok=True)
            self.release()


def _key(path: Path) -> tuple[int, int, int, str]:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        found = path.parent.stat()
    return os.getpid(), found.st_dev, found.st_ino, path.name


def _locked(path: Path) -> IO[str]:
    while True:
        with _writing(path):
            file = path.open("a+")
        try:
            _lock(file, path)
            if _is_there(file, path):
                _sign(file, path)
                return file
        except BaseException:
            file.close()
            raise
        # Whoever held it removed the file after we had opened it. What we locked has no name any more, and the next run
        # would lock a new file. So try again with that one.
        file.close()


def _lock(file: IO[str], path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as ex:
        if ex.errno in {errno.EAGAIN, errno.EACCES}:
            file.seek(0)
            raise _held(path, file.read().strip() or "unknown") from ex
        msg = f"{path} cannot be locked: {ex.strerror}; set BYTEWAX_STATE_DIR to a folder of a local disk"
        raise StorageError(msg) from ex


def _is_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: IO[str], path: Path) -> None:
    """Say who holds it."""
    with local_disk(path):
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()


def _held(path: Path, holder: str) -> ConflictError:
    msg = (
        f"another run holds {path} (process {holder}): the same flow with the same worker index is running on this "
        "BYTEWAX_STATE_DIR; end it, or give this run a folder of its own"
    )
    return ConflictError(msg)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as ex:
        todo = open_files.remedy(ex) or "set BYTEWAX_STATE_DIR to one that can"
        msg = f"the local folder {path.parent} cannot be written: {ex.strerror}; {todo}"
        raise StorageError(msg) from ex
