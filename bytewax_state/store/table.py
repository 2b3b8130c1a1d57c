"""One RocksDB instance: sorted rows of bytes, and consistent images of them by hard links.

Owns the database, its lock, every iterator over it, and the translation of RocksDB's errors into ours. It does not know
what a row means, what a snapshot is, or how RocksDB is tuned (`options`). Called by the stores, and by the verbs that
publish and restore.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeAlias, cast
from weakref import WeakSet

from rocksdict import (
    Checkpoint,
    IngestExternalFileOptions,
    Rdict,
    RdictIter,
    ReadOptions,
    SstFileWriter,
    WriteBatch,
)

from bytewax_state import open_files
from bytewax_state.errors import BytewaxStateError, ConflictError, SnapshotCorruptError, StorageError
from bytewax_state.store.options import SST_BYTES, Memory, sst_options, table_options, write_options
from bytewax_state.store.owned import Owned, check_process

__all__ = ["Memory", "Table"]

Range: TypeAlias = tuple[bytes, bytes]
"""First row key and the one behind the last."""

CHUNK = 1_000
"""How many rows are handed to RocksDB at once."""


class Table:
    """Rows of bytes in the order of their keys, on the local disk.

    Nothing is durable until a checkpoint: there is no write-ahead log. For one thread at a time.
    """

    __slots__ = ("__weakref__", "_cursors", "_db", "_files", "_memory", "_path")

    def __init__(self, path: Path, memory: Memory, db: Owned[Rdict], files: int) -> None:
        """Init; see `open`."""
        self._path = path
        self._memory = memory  # kept: all tables that are open share it
        self._db = db
        self._files = files
        self._cursors: WeakSet[_Cursor] = WeakSet()

    @classmethod
    def open(cls, path: Path, memory: Memory, create: bool) -> "Table":
        """Open a table, and lock it until it is closed.

        :arg path: Folder.

        :arg memory: Budget of block cache and memtables.

        :arg create: Whether to make a new table there, rather than open one that exists, such as a checkpoint.

        :raises ConflictError: If it is open already, or is to be made and exists.

        :raises SnapshotCorruptError: If it does not exist, or is damaged: a file is missing, cut or not what it was.

        :raises StorageError: If the disk fails.

        :raises UsageError: If this process was forked from one that had a table.

        """
        check_process()
        files = open_files.BUDGET.take()
        try:
            options = table_options(memory, create, files)
            with _translated(path, opening=not create):
                if create:
                    path.parent.mkdir(parents=True, exist_ok=True)
                # Without the map an existing table is opened with RocksDB's defaults.
                db = Rdict(str(path), options, column_families={"default": options})
                db.set_write_options(write_options())
        except BaseException:
            open_files.BUDGET.give_back(files)
            raise
        return cls(path, memory, Owned(db), files)

    @property
    def path(self) -> Path:
        """Folder of the table."""
        return self._path

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Look rows up.

        :arg keys: Row keys.

        :returns: Their values, in the order of the keys; `None` for a row that does not exist.

        :raises SnapshotCorruptError: If a file is damaged.

        """
        with self._opened() as db:
            # The stubs want a list of anything that can be a key.
            return cast(list[bytes | None], db.get(cast(list[Any], keys)))

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put and delete rows.

        :arg rows: Row keys and values, in any order; the last one of a key counts; `None` deletes.

        :raises StorageError: If the disk is full or fails; any number of the rows may then be written, and no
            checkpoint can be made of them.

        """
        pending = iter(rows)
        while chunk := list(islice(pending, CHUNK)):
            batch = WriteBatch(raw_mode=True)
            for key, value in chunk:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            with self._opened() as db:
                db.write(batch)

    def scan(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Visit rows in the order of their keys, as they are at the call: later writes do not show.

        :arg begin: First row key.

        :arg end: Row key behind the last.

        :returns: Row keys and values.

        :raises SnapshotCorruptError: While iterating, if a file is damaged; it never just ends.

        :raises StorageError: While iterating, if the table was closed meanwhile.

        """
        return self._cursor(begin, end).rows()

    def scan_many(self, begin: bytes, end: bytes) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Visit all rows of a range, many at once; otherwise as `scan`.

        :returns: Row keys, and their values.

        """
        return self._cursor(begin, end).runs()

    def scan_keys(self, begin: bytes, end: bytes) -> Iterator[bytes]:
        """Visit row keys; otherwise as `scan`."""
        return self._cursor(begin, end).keys()

    def checkpoint(self, path: Path) -> None:
        """Make a consistent image of the table, which can be opened as a table.

        Its large files are hard links to the ones of the table, which are never changed.

        :arg path: Folder to make, on the same disk; must not exist.

        :raises ConflictError: If it exists.

        :raises StorageError: If the disk is full or fails.

        """
        with self._opened() as db:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The checkpoint would flush too, but rocksdict holds Python's lock while it makes one.
            db.flush()
            Checkpoint(db).create_checkpoint(str(path))

    def merge(self) -> None:
        """Merge all rows into one sorted run, if there are several.

        :raises StorageError: If the disk is full or fails.

        """
        with self._opened() as db:
            db.flush()
            if len(db.live_files()) > 1:
                db.compact_range(None, None)

    def clip(self, ranges: Iterable[Range]) -> None:
        """Delete ranges of rows.

        :arg ranges: First row keys and the ones behind the last, in any order.

        :raises StorageError: If the disk is full or fails.

        """
        batch = WriteBatch(raw_mode=True)
        for begin, end in _joined(ranges):
            batch.delete_range(begin, end)
        if len(batch):
            with self._opened() as db:
                db.write(batch)

    def ingest(self, rows: Iterable[tuple[bytes, bytes]], scratch: Path) -> int:
        """Put many rows, as files that are written outside of the table and moved in together.

        :arg rows: Row keys and values, in the order of their keys, each once.

        :arg scratch: Folder for the files meanwhile, on the same disk; made if it does not exist.

        :returns: How many rows there were.

        :raises StorageError: If the disk is full or fails, or the rows are not in order; none of them is there then.

        """
        with _translated(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            # Not a `TemporaryDirectory`, which is removed at the exit of a forked child too.
            folder = Path(mkdtemp(prefix="ingest-", dir=scratch))
        try:
            files, count = _write_files(rows, folder)
            if files:
                options = IngestExternalFileOptions()
                options.set_move_files(True)
                with self._opened() as db:
                    db.ingest_external_file(files, options)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return count

    def close(self) -> None:
        """Let go of the table and of its lock; what is not in a checkpoint may be lost.

        Does nothing the next time, nor in a forked child.
        """
        db = self._db.release()
        if db is None:
            return
        open_files.BUDGET.give_back(self._files)
        # An iterator would keep the database open, and locked.
        for cursor in list(self._cursors):
            cursor.close()
        try:
            db.cancel_all_background(True)
            db.close()
        except Exception as error:
            # RocksDB has closed it all the same. It only has not written what was in memory, which nobody needs.
            if not str(error).startswith("Shutdown in progress"):
                raise _ours(error, self._path) from error

    def _cursor(self, begin: bytes, end: bytes) -> "_Cursor":
        with self._opened() as db:
            cursor = _Cursor(self._path, db, begin, end)
        self._cursors.add(cursor)
        return cursor

    @contextmanager
    def _opened(self) -> Iterator[Rdict]:
        self._db.check()
        db = self._db.value
        if db is None:
            raise _closed(self._path)
        with _translated(self._path):
            yield db


class _Cursor:
    """An iterator of RocksDB that can be taken away from whoever iterates."""

    __slots__ = ("__weakref__", "_iterator", "_options", "_path")

    def __init__(self, path: Path, db: Rdict, begin: bytes, end: bytes) -> None:
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        self._path = path
        self._options = options  # an iterator does not keep its bound alive, and would run past it
        iterator = db.iter(options)
        iterator.seek(begin)
        self._iterator = Owned(iterator)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        while (iterator := self._next()) is not None:
            row = iterator.key(), iterator.value()
            iterator.next()
            del iterator  # or it would stay alive for as long as this generator waits
            yield row

    def keys(self) -> Iterator[bytes]:
        while (iterator := self._next()) is not None:
            key: bytes = iterator.key()
            iterator.next()
            del iterator
            yield key

    def runs(self) -> Iterator[tuple[list[bytes], list[bytes]]]:
        while (run := self._run())[0]:
            yield run

    def _run(self) -> tuple[list[bytes], list[bytes]]:
        keys: list[bytes] = []
        values: list[bytes] = []
        if (iterator := self._next()) is not None:
            valid, key, value, move = iterator.valid, iterator.key, iterator.value, iterator.next
            while valid() and len(keys) < CHUNK:
                keys.append(key())
                values.append(value())
                move()
        return keys, values

    def close(self) -> None:
        self._iterator.release()

    def _next(self) -> RdictIter | None:
        iterator = self._iterator.value
        if iterator is None:
            raise _closed(self._path)
        if iterator.valid():
            return iterator
        # An iterator that met damage is at its end, and only its status tells.
        with _translated(self._path):
            iterator.status()
        return None


def _write_files(rows: Iterable[tuple[bytes, bytes]], folder: Path) -> tuple[list[str], int]:
    """Write sorted rows into as many files as their size asks for."""
    files: list[str] = []
    count = 0
    pending = iter(rows)
    chunk = list(islice(pending, CHUNK))
    while chunk:
        file = str(folder / f"{len(files):06}.sst")
        writer = SstFileWriter(sst_options())
        with _translated(folder):
            writer.open(file)
        while chunk:
            with _translated(folder):
                for key, value in chunk:
                    writer[key] = value
            count += len(chunk)
            chunk = list(islice(pending, CHUNK))
            if writer.file_size() >= SST_BYTES:
                break
        with _translated(folder):
            writer.finish()
        files.append(file)
    return files, count


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Join ranges that touch: every tombstone of a range costs each read behind it."""
    last: Range | None = None
    for begin, end in sorted(ranges):
        if begin >= end:
            continue
        if last is not None and begin <= last[1]:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = begin, end
    if last is not None:
        yield last


@contextmanager
def _translated(path: Path, opening: bool = False) -> Iterator[None]:
    """Turn the errors of RocksDB, which are plain exceptions, and of the disk into ours."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, OSError):
            raise
        raise _ours(error, path, opening) from error


def _ours(error: Exception, path: Path, opening: bool = False) -> BytewaxStateError:
    text = str(error)
    remedy = open_files.remedy(error)
    if remedy is not None:
        return StorageError(f"the table {path} cannot be read or written: {text}; {remedy}")
    if any(sign in text for sign in _HELD):
        return ConflictError(f"the table {path} is open elsewhere: {text}; expected one run to have it; stop the other")
    if any(sign in text for sign in _EXISTS):
        return ConflictError(f"cannot make {path}: {text}; expected that it does not exist")
    if text.startswith("Corruption") or (opening and any(sign in text for sign in _MISSING)):
        return SnapshotCorruptError(f"the table {path} is damaged: {text}; restore it from a snapshot")
    return StorageError(f"the table {path} cannot be read or written: {text}; free or repair the disk")


def _closed(path: Path) -> BytewaxStateError:
    return StorageError(f"the table {path} is closed; expected it to be open")


_HELD = ("lock hold by current process", "While lock file")
_EXISTS = ("error_if_exists", "Directory exists")
_MISSING = ("create_if_missing is false", "No such file or directory")
