"""Whatever fsspec reaches, as a storage of objects that are written once.

Owns which of fsspec's verbs are fit for that: never `open` for writing, which keeps the part of an object that was
written before an error. It does not own what errors mean (`translation`). Made by `uri`, for a URL.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from bytewax_state.errors import StorageError
from bytewax_state.storage.local import BLOCK, fetch
from bytewax_state.storage.translation import check_name, conflict, is_part, translated

__all__ = ["Bucket", "Memory"]

T = TypeVar("T")

_MEMORY = threading.Lock()


class Bucket:
    """A storage that fsspec reaches.

    That an object is all there or not at all is up to the driver; those of gs, s3 and azure see to it. An object that
    exists is found before it is written again; where the driver sends no precondition, that is a moment before.
    """

    def __init__(self, fs: Any, root: str, url: str, threads: int, hide: Callable[[str], str]) -> None:
        """Init.

        :arg fs: File system of fsspec.

        :arg root: Path of the storage in it.

        :arg url: What to show of its URL.

        :arg threads: How many objects to delete at once.

        :arg hide: Takes what is secret out of a text.

        """
        self.url = url.rstrip("/")
        self._fs = fs
        self._root = root.rstrip("/")
        self._threads = threads
        self._hide = hide

    def put(self, name: str, data: bytes) -> None:
        """See `Storage.put`."""
        path = self._path(name)
        with self._translated("write", name):
            made = self._size(path) is None and _made(self._write, data, path)
            taken = not made and not _once_or_twice(lambda: bool(self._fs.cat_file(path) == data))
        if taken:
            raise conflict(self.url, name)

    def put_file(self, local: Path, name: str) -> None:
        """See `Storage.put_file`."""
        path = self._path(name)
        with self._translated("write", name):
            size = local.stat().st_size
            made = self._size(path) is None and _made(self._upload, local, path)
            found = self._size(path)
            same = found == size and (made or _once_or_twice(lambda: self._holds(name, local)))
        if made and not same:
            msg = f"{self.url}/{name} has {found} bytes after an upload of {size}; start again when the storage is well"
            raise StorageError(msg)
        if not same:
            raise conflict(self.url, name)

    def get(self, name: str) -> bytes:
        """See `Storage.get`."""
        with self._translated("read", name, missing=True):
            data: bytes = self._fs.cat_file(self._path(name))
            return data

    def get_file(self, name: str, local: Path) -> str:
        """See `Storage.get_file`."""
        with self._translated("read", name, missing=True):
            return fetch(self._blocks(name), local)

    def size(self, name: str) -> int | None:
        """See `Storage.size`."""
        path = self._path(name)
        with self._translated("look at", name):
            return self._size(path)

    def folders(self, prefix: str) -> list[str]:
        """See `Storage.folders`."""
        above = self._folder(prefix)
        with suppress(FileNotFoundError), self._translated("list", prefix, missing=True):
            found = {entry["name"].rstrip("/") for entry in self._fs.ls(above, detail=True) if _is_folder(entry)}
            # Some drivers list the folder itself too, where an object marks it.
            names = {name.rpartition("/")[2] for name in found if name != above}
            return sorted(filter(is_part, names))
        return []

    def list(self, prefix: str) -> list[str]:
        """See `Storage.list`."""
        above = len(self._root) + 1
        with suppress(FileNotFoundError), self._translated("list", prefix, missing=True):
            return sorted(found[above:] for found in self._fs.find(self._folder(prefix)))
        return []

    def delete(self, names: Iterable[str]) -> None:
        """See `Storage.delete`."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="bytewax-state-delete") as pool:
            list(pool.map(self._delete, names))

    def _delete(self, name: str) -> None:
        with suppress(FileNotFoundError), self._translated("delete", name, missing=True):
            self._fs.rm_file(self._path(name))

    def _size(self, path: str) -> int | None:
        try:
            info = self._fs.info(path)
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def _write(self, data: bytes, path: str) -> None:
        self._fs.pipe_file(path, data, mode="create")

    def _upload(self, local: Path, path: str) -> None:
        self._fs.put_file(str(local), path, mode="create")

    def _holds(self, name: str, local: Path) -> bool:
        """Tell whether an object is a copy of a file, of the same size."""
        with local.open("rb") as file:
            return all(file.read(len(block)) == block for block in self._blocks(name))

    def _blocks(self, name: str) -> Iterator[bytes]:
        path = self._path(name)
        size = int(self._fs.info(path)["size"])
        for start in range(0, size, BLOCK):
            end = min(start + BLOCK, size)
            block = self._fs.cat_file(path, start=start, end=end)
            if len(block) != end - start:
                msg = f"{len(block)} bytes came of the {end - start} from {start} on"
                raise ConnectionError(msg)
            yield block

    def _folder(self, prefix: str) -> str:
        return self._path(prefix) if prefix else self._root

    def _path(self, name: str) -> str:
        check_name(name, self.url)
        return f"{self._root}/{name}"

    def _translated(self, verb: str, name: str, *, missing: bool = False) -> AbstractContextManager[None]:
        return translated(verb, f"{self.url}/{name}", self._hide, missing=missing)


class Memory(Bucket):
    """The storage of `memory://`, which all threads of the process share.

    Its driver looks before it writes, and shows an object while a file is being copied into it; hence the lock.
    """

    def _write(self, data: bytes, path: str) -> None:
        with _MEMORY:
            super()._write(data, path)

    def _upload(self, local: Path, path: str) -> None:
        self._write(local.read_bytes(), path)


def _once_or_twice(is_same: Callable[[], bool]) -> bool:
    """Compare, and once more if it is not the same: an object may be damaged on its way."""
    return is_same() or is_same()


def _is_folder(entry: dict[str, Any]) -> bool:
    return bool(entry["type"] == "directory")


def _made(write: Callable[[T, str], None], content: T, path: str) -> bool:
    """Make an object; `False` if there is one already."""
    try:
        write(content, path)
    except FileExistsError:
        return False
    return True
