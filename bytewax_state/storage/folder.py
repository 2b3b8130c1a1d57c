"""A folder of this machine, or one that it has mounted, as a storage of objects that are written once.

Owns how an object comes to be on a disk: durably, and all at once or not at all. It does not own what errors mean
(`translation`). Made by `uri`, for a folder or a `file://` URL.
"""

import errno
import filecmp
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import tenacity

from bytewax_state.errors import StorageError
from bytewax_state.storage.local import BLOCK, fetch, link
from bytewax_state.storage.translation import TEMPORARY, check_name, conflict, is_part, translated

__all__ = ["Folder"]

ABANDONED = 3600
"""After how many seconds without a write a temporary file is one that a killed process left."""

MAX_TRIES = 10
"""How often a folder is made until a file can be made in it."""


LINKS_NEEDED = (
    "an object needs one to appear all at once; set BYTEWAX_STATE_URI to a folder of a file system that has them, such "
    "as ext4, xfs, btrfs or NFS, or to the URL of an object store"
)
"""What to do about a file system without hard links."""


class Folder:
    """A storage in a folder of this machine, or of one that it has mounted.

    An object is written to a temporary file first and then linked under its name, which fails if the name is taken.
    What a killed process leaves is a temporary file, which no list shows and nobody waits for. It goes with the last
    object of its folder, if that is deleted an hour later or more.
    """

    def __init__(self, root: Path) -> None:
        """Init.

        :arg root: Folder, absolute; made with the first object.

        """
        self.url = f"file://{root}".rstrip("/")
        self._root = root

    def put(self, name: str, data: bytes) -> None:
        """See `Storage.put`."""
        path = self._path(name)
        with self._translated("write", name):
            with _temporary(path.parent) as (temporary, file):
                file.write(data)
                made = _link(temporary, file, path)
            _sync(path.parent)
            taken = not made and path.read_bytes() != data
        if taken:
            raise conflict(self.url, name)

    def put_file(self, local: Path, name: str) -> None:
        """See `Storage.put_file`."""
        path = self._path(name)
        with self._translated("write", name):
            with local.open("rb") as source, _temporary(path.parent) as (temporary, file):
                # A link would share its content with the local file, and damage to one would be damage to both.
                for block in iter(lambda: source.read(BLOCK), b""):
                    file.write(block)
                made = _link(temporary, file, path)
            _sync(path.parent)
            taken = not made and not filecmp.cmp(local, path, shallow=False)
        if taken:
            raise conflict(self.url, name)

    def get(self, name: str) -> bytes:
        """See `Storage.get`."""
        with self._translated("read", name, missing=True):
            return self._path(name).read_bytes()

    def get_file(self, name: str, local: Path) -> str:
        """See `Storage.get_file`."""
        with self._translated("read", name, missing=True), self._path(name).open("rb") as source:
            return fetch(iter(lambda: source.read(BLOCK), b""), local)

    def size(self, name: str) -> int | None:
        """See `Storage.size`."""
        try:
            with self._translated("look at", name, missing=True):
                found = self._path(name).stat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def folders(self, prefix: str) -> list[str]:
        """See `Storage.folders`."""
        with self._translated("list", prefix), suppress(NotADirectoryError):
            return sorted(entry.name for entry in _entries(self._folder(prefix)) if _is_folder(entry))
        return []

    def list(self, prefix: str) -> list[str]:
        """See `Storage.list`."""
        with self._translated("list", prefix):
            return sorted(_below(self._folder(prefix), prefix))

    def delete(self, names: Iterable[str]) -> None:
        """See `Storage.delete`."""
        root = self._root.resolve()
        for name in names:
            path = self._path(name)
            with self._translated("delete", name):
                folder = path.parent.resolve()
                if not folder.is_relative_to(root):
                    msg = (
                        f"{self.url}/{name} is not deleted, as it is behind a link that leads to {folder}; remove the "
                        "link, or mount that folder there instead"
                    )
                    raise StorageError(msg)
                (folder / path.name).unlink(missing_ok=True)
            _prune(folder, root)

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix) if prefix else self._root

    def _path(self, name: str) -> Path:
        check_name(name, self.url)
        return self._root / name

    def _translated(self, verb: str, name: str, *, missing: bool = False) -> AbstractContextManager[None]:
        return translated(verb, f"{self.url}/{name}", str, missing=missing)


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a new file in a folder, and remove its name behind."""
    path, file = _created(folder)
    try:
        with file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((FileExistsError, FileNotFoundError)),
    stop=tenacity.stop_after_attempt(MAX_TRIES),
    reraise=True,
)
def _created(folder: Path) -> tuple[Path, BinaryIO]:
    """Make a file in a folder, and the folder, which somebody who deletes may find empty and remove in between."""
    _make(folder)
    number = 0
    while True:
        path = folder / f"{TEMPORARY}{os.getpid()}-{number}"
        with suppress(FileExistsError):  # another thread's, or left by a process that was killed
            return path, path.open("xb")
        number += 1


def _link(temporary: Path, file: BinaryIO, path: Path) -> bool:
    """Give a file its name, once its content is durable; `False` if that is taken."""
    file.flush()
    os.fsync(file.fileno())
    try:
        link(temporary, path, LINKS_NEEDED)
    except FileExistsError:
        return False
    return True


def _make(folder: Path) -> None:
    """Make a folder, durably, with those above it."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _prune(folder: Path, root: Path) -> None:
    """Remove a folder without objects, and those above it that have none then either, but for the root."""
    with suppress(OSError):  # not empty; or not there any more
        while folder != root:
            for path in _abandoned(folder):
                path.unlink(missing_ok=True)
            folder.rmdir()
            folder = folder.parent


def _abandoned(folder: Path) -> list[Path]:
    """Find temporary files that nobody writes any more, in a folder where there is nothing else."""
    left = list(folder.iterdir())
    if not all(path.name.startswith(TEMPORARY) for path in left):
        return []
    now = folder.stat().st_mtime  # it has just lost an object
    return [path for path in left if now - path.lstat().st_mtime > ABANDONED]


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _below(folder: Path, prefix: str, above: tuple[Path, ...] = ()) -> Iterator[str]:
    """Name all objects below a folder.

    Links are followed, as a part of the storage may have been moved to another disk. A link to a folder that the path
    came through would be followed for ever, so it is left out.
    """
    here = (*above, folder)
    for entry in _entries(folder):
        name = f"{prefix}/{entry.name}".removeprefix("/")
        if not _is_folder(entry):
            yield name
        elif not (entry.is_symlink() and any(map(Path(entry.path).samefile, here))):
            yield from _below(folder / entry.name, name, here)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what may be ours in a folder; nothing if there is no such folder, or none any more."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if is_part(entry.name)]
    except FileNotFoundError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder. One that cannot be looked at may be; listing it tells why it cannot."""
    try:
        return entry.is_dir()
    except OSError as ex:
        return ex.errno != errno.ELOOP
