"""A store: the live keyed state of one step on one worker in one execution, as columns and a timer queue over a table.

Owns the freeze of all of them at one moment, and in which version each key group has changed last. It does not own
where a value lives between two accesses (`column`), nor anything durable: a freeze ends with local files.
Called by whoever runs the step, and by the snapshot verbs.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bytewax_state.registry import LOGIC_ID
from bytewax_state.store.cache import CachedColumn
from bytewax_state.store.column import Cells, Column, HeapColumn
from bytewax_state.store.rows import Rows
from bytewax_state.store.table import Table
from bytewax_state.store.timer_queue import TimerQueue
from bytewax_state.store.timers import HoldPolicy

T = TypeVar("T")


class Backend(Protocol):
    """Makes columns."""

    def __call__(self, rows: Rows | None, state: int, key_groups: int, cells: Cells[T]) -> Column[T]:
        """Make a column; see `Column`."""
        ...


@dataclass(frozen=True, slots=True)
class Frozen:
    """A store at one moment: files of a checkpoint, rows that changed since, and what a manifest says of them."""

    path: Path | None
    """Folder of the image that was made; `None`: the last one still serves, together with `changes`."""
    changes: Mapping[bytes, bytes | None]
    """Rows that changed since the image; `None`: it was deleted."""
    version: int
    groups: Mapping[int, int]
    """Owned key group to the version in which its rows last changed; 0: never in this store."""
    rows: Mapping[int, int]
    """Owned key group to the number of its keys that have a state."""
    changed_bytes: int
    flush_seconds: float
    freeze_seconds: float


class Store:
    """The live state of one step on one worker in one execution. For one thread at a time."""

    def __init__(
        self,
        table: Table | None,
        backend: Backend,
        key_groups: int,
        groups: Collection[int],
        restored: Mapping[int, int | None],
    ) -> None:
        """Init.

        :arg table: Open; the store closes it. `None`: there is none, and nothing is ever frozen.

        :arg backend: Makes the columns.

        :arg key_groups: Number of key groups.

        :arg groups: Those of this worker.

        :arg restored: Key groups whose rows are in the table already, to the number of their keys; `None`: nobody
            counted them.

        """
        self.groups = frozenset(groups)
        self.version = 0
        """Version of the last freeze; 0: none yet."""
        self._rows = None if table is None else Rows(table)
        self._backend = backend
        self._key_groups = key_groups
        self.restored = restored
        """Key groups that were restored, to the number of their keys; `None`: nobody counted them."""
        self._columns: list[Column[Any]] = []
        self._queues: list[TimerQueue] = []
        self._versions = dict.fromkeys(sorted(groups), 0)
        self._flush_seconds = 0.0

    def column(self, cells: Cells[T]) -> Column[T]:
        """Make the column of the state.

        :arg cells: How its values become rows.

        :returns: Column, to be restored before it is used.

        """
        column = self._backend(self._rows, LOGIC_ID, self._key_groups, cells)
        self._columns.append(column)
        return column

    def timers(self, hold: HoldPolicy) -> TimerQueue:
        """Make the timer queue of the state; see `TimerQueue`."""
        queue = TimerQueue(self._rows, LOGIC_ID, self._key_groups, self.groups, hold)
        self._queues.append(queue)
        return queue

    def restore(self) -> None:
        """Let columns and queue take over the rows of an earlier execution."""
        for queue in self._queues:
            queue.restore(self.restored)
        for column in self._columns:
            column.restore(self.restored)

    @property
    def is_changed(self) -> bool:
        """Whether something may have changed since the last freeze."""
        rows = self._rows
        return rows is not None and (bool(rows.changed) or any(column.is_changed for column in self._columns))

    def flush(self) -> frozenset[int]:
        """Write all changes into the table.

        :returns: Key groups of which a row changed since the last freeze.

        :raises UsageError: If a value cannot be serialised.

        """
        if self._rows is None:
            return frozenset()
        began = time.perf_counter()
        for column in self._columns:
            column.flush()
        for queue in self._queues:
            queue.flush()
        self._flush_seconds += time.perf_counter() - began
        return frozenset(self._rows.changed)

    def freeze(self, path: Path, whole: bool = True) -> Frozen:
        """Write all changes into the table and make a consistent image of it, by hard links.

        :arg path: Folder to make; must not exist.

        :arg whole: Whether to make an image also where few rows changed since the last one.

        :returns: What a manifest needs, of a version that is one above the last.

        """
        changed = self.flush()
        assert self._rows is not None
        flushed = time.perf_counter()
        version, changed_bytes = self.version + 1, self._rows.changed_bytes
        changes = None if whole else self._rows.changes
        if changes is None:
            if version == 1 and not self.restored:
                # A load of many rows ends in several large files, which compaction merges some epochs later. It would
                # be uploaded twice.
                self._rows.table.merge()
            self._rows.table.checkpoint(path)
            self._rows.note_image()
        self.version = version
        self._versions |= dict.fromkeys(changed, version)
        self._rows.note_freeze()
        flush_seconds, self._flush_seconds = self._flush_seconds, 0.0
        return Frozen(
            path=path if changes is None else None,
            changes=dict(changes or {}),
            version=version,
            groups=dict(self._versions),
            rows={group: sum(column.count[group] for column in self._columns) for group in self._versions},
            changed_bytes=changed_bytes,
            flush_seconds=flush_seconds,
            freeze_seconds=time.perf_counter() - flushed,
        )

    def close(self) -> None:
        """Let go of the table; what was not frozen is lost. May be called more than once."""
        for column in self._columns:
            column.close()
        if self._rows is not None:
            self._rows.table.close()


def heap(rows: Rows | None, state: int, key_groups: int, cells: Cells[T]) -> Column[T]:
    """Make a column of the heap backend; a `Backend`."""
    return HeapColumn(rows, state, key_groups, cells)


def rocksdb(capacity: int, missed: Callable[[int], None], spilled: Callable[[int], None]) -> Backend:
    """Make the RocksDB backend; see `CachedColumn`."""

    def make(rows: Rows | None, state: int, key_groups: int, cells: Cells[T]) -> Column[T]:
        assert rows is not None
        return CachedColumn(rows, state, key_groups, cells, capacity, missed, spilled)

    return make
