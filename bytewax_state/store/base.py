"""What a store is: the live keyed state of one step on one worker, in slices, one for every key group.

Owns the bookkeeping that both stores share: which keys changed since the last freeze, their rows, the freeze itself.
It does not own where a value lives between two accesses (`heap`, `rocksdb`), nor anything durable: a freeze ends with
local files. Called by the dataflow for every batch, and by the snapshot verbs.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

from bytewax_state.store.rowkeys import timer_key, value_key
from bytewax_state.store.table import Table
from bytewax_state.store.timer_rows import TimerRows
from bytewax_state.store.timers import Hold, Timers, from_microseconds, to_microseconds
from bytewax_state.store.values import make_value, parse_value

T = TypeVar("T")

Row: TypeAlias = tuple[bytes, bytes | None]
"""Row key and value; a row without a value is deleted."""

STATE = 0
"""Number of the one state that a store has so far: the objects of its keys."""

WALK = 1_000
"""How many keys are brought into memory at once when all keys of a group are visited."""


class Rows(Protocol[T]):
    """How live objects become values of rows and come back."""

    wakes: bool
    """Whether an object may ever want to be notified."""

    def dump(self, key: str, item: T) -> bytes:
        """Serialise an object for a snapshot.

        :raises UsageError: If it cannot be.

        """
        ...

    def load(self, key: str, data: bytes) -> T:
        """Rebuild an object."""
        ...

    def due(self, key: str, item: T) -> datetime | None:
        """Ask an object when it wants to be notified."""
        ...

    def spill(self, key: str, item: T) -> bytes | None:
        """Serialise an object in order to take it out of memory.

        :returns: `None` if it would not come back the same, so has to stay.

        """
        ...


@dataclass(frozen=True, slots=True)
class Frozen:
    """A consistent local image of a store: the files of a checkpoint, and what the manifest says of them."""

    path: Path
    version: int
    groups: Mapping[int, int]
    """Owned key group to the version in which its rows last changed; 0: never in this store."""
    rows: Mapping[int, int]
    """Owned key group to the number of its keys that have a state."""
    changed_bytes: int
    flush_seconds: float
    freeze_seconds: float


class Slice(ABC, Generic[T]):
    """The part of a store that belongs to one key group.

    `live` maps a key to its object and `changed` holds the keys whose rows are stale; a changed key that is not live
    was deleted. Whoever changes an object adds its key to `changed` in the same call on the group.

    The due time in a row is what the object answered in the execution that wrote the row. Another execution may have
    other code, so each restored object is asked anew, once.
    """

    __slots__ = (
        "_dues",
        "_rows",
        "_table",
        "asked",
        "changed",
        "dirty",
        "group",
        "hold",
        "live",
        "timer_rows",
        "timers",
        "version",
        "volatile",
        "written",
    )

    def __init__(self, group: int, rows: Rows[T], table: Callable[[], Table], hold: Hold) -> None:
        """Init.

        :arg group: Key group.

        :arg rows: How objects become rows.

        :arg table: Gives the table, opening it at the first use.

        :arg hold: Of the store: how long to hold back keys that are due again at once.

        """
        self.group = group
        self.live: dict[str, T] = {}
        self.changed: set[str] = set()
        self.asked: list[str] = []
        """Keys whose objects a `fetch` asked for the first time when they want to be notified."""
        self.volatile = False
        """Whether nothing is ever frozen or spilled, so that no change needs to be noted."""
        self.hold = hold
        self.timers = Timers(hold)
        self.timer_rows = TimerRows(table, group, STATE, hold)
        self.version = 0
        """Version in which a row last changed."""
        self.dirty = False
        """Whether a row changed since the last freeze."""
        self.written = 0
        """Bytes of the rows written since the last freeze; a row that was spilled twice counts twice."""
        self._rows = rows
        self._table = table
        self._dues: dict[str, int] = {}  # live key -> the timer row it has in the table

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many keys have a state; exact after a flush."""

    @abstractmethod
    def restored(self, rows: int | None) -> None:
        """Note that the table holds rows of an earlier execution.

        :arg rows: Of how many keys; `None`: nobody counted them.

        """

    @abstractmethod
    def visit(self, now: Callable[[], datetime]) -> None:
        """Ask some of the restored objects when they want to be notified, if it is time for that.

        :arg now: Tells the time.

        """

    @abstractmethod
    def visit_all(self) -> None:
        """Ask all restored objects that were not asked yet."""

    @abstractmethod
    def fetch(self, keys: Iterable[str]) -> dict[str, T]:
        """Make the objects of some keys live.

        :arg keys: Keys; iterated more than once.

        :returns: `live`, in which a key is missing only if it has no object.

        """

    @abstractmethod
    def settle(self) -> None:
        """Give memory back, at the end of a call on the group."""

    @abstractmethod
    def walk(self, matters: Callable[[T], bool]) -> Iterator[list[str]]:
        """Visit every key whose object matters, some at a time.

        :arg matters: Tells of an object. Each is asked, as the objects of a state may be of several classes.

        :returns: Lists of live keys; between two of them their objects may be changed, deleted and settled.

        """

    def next_due(self, now: Callable[[], datetime]) -> datetime | None:
        """Say when a timer is due next.

        :arg now: Tells the time.

        :returns: Time; a lower bound. `None`: never.

        """
        live, spilled = self.timers.next(now), self.timer_rows.next(now)
        if live is None or spilled is None:
            return live or spilled
        return min(live, spilled)

    def pop_due(self, now: datetime) -> list[str]:
        """Take keys that are due off the schedule.

        :arg now: Current time.

        :returns: Keys, each once; more may be due, which `next_due` tells.

        """
        return self.timers.pop(now) + self.timer_rows.pop(now, self._known, WALK)

    def pop_asked(self, now: datetime) -> list[str]:
        """Take keys that are due off the schedule, of those in `asked`, and empty it.

        :arg now: Current time.

        :returns: Live keys.

        """
        due = [key for key in self.asked if (at := self.timers.get(key)) is not None and at <= now]
        for key in due:
            self.timers.drop(key)
        self.asked.clear()
        return due

    def flush(self) -> None:
        """Write every change since the last flush into the table.

        :raises UsageError: If an object cannot be serialised.

        """
        live, dump = self.live, self._rows.dump
        rows: list[Row] = []
        for key in self.changed:
            item = live.get(key)
            rows.extend(self._deleted(key) if item is None else self._written(key, dump(key, item)))
        self._write(rows)
        self.changed.clear()

    def _write(self, rows: list[Row]) -> None:
        if rows:
            self._table().write(rows)
            self.written += sum(len(key) + len(value or b"") for key, value in rows)
            self.dirty = True

    def _known(self, key: str) -> bool:
        return key in self.live or key in self.changed

    def _written(self, key: str, data: bytes) -> Iterator[Row]:
        due = self.timers.get(key)
        due_us, stored = None if due is None else to_microseconds(due), self._dues.pop(key, None)
        yield from self._rows_of(key, data, due_us, stored)
        if due_us is not None:
            self._dues[key] = due_us

    def _rows_of(self, key: str, data: bytes, due_us: int | None, stored: int | None) -> Iterator[Row]:
        """Make the rows of a key, which has a timer row for the time `stored`."""
        if stored != due_us:
            if stored is not None:
                yield timer_key(self.group, STATE, stored, key), None
            if due_us is not None:
                yield timer_key(self.group, STATE, due_us, key), b""
        yield value_key(self.group, STATE, key), make_value(due_us, self._mark(), data)

    def _mark(self) -> bytes:
        """Return the mark that rows are written with."""
        return b""

    def _deleted(self, key: str) -> Iterator[Row]:
        if key in self._dues:
            yield timer_key(self.group, STATE, self._dues.pop(key), key), None
        yield value_key(self.group, STATE, key), None

    def _read(self, key: str, row: bytes) -> None:
        """Make the object of a row live, with the timer that it had in this execution."""
        value = parse_value(row)
        self.live[key] = self._rows.load(key, value.data)
        if value.due_us is not None:
            self._dues[key] = value.due_us
            due = from_microseconds(value.due_us)
            self.timers.restore(key, due, self.timer_rows.taken(key, due))

    def _read_anew(self, key: str, row: bytes) -> None:
        """Make the object of a restored row live, and ask it for its timer."""
        self._read(key, row)
        stored = self.timers.drop(key)
        due = self._rows.due(key, self.live[key])
        if due is not None:
            self.timers.restore(key, due)
        if due != stored:
            self.changed.add(key)


class Store(ABC, Generic[T]):
    """The live state of one step on one worker in one execution."""

    def __init__(self, rows: Rows[T], table: Callable[[], Table]) -> None:
        """Init.

        :arg rows: How objects become rows.

        :arg table: Opens the table behind the store; called at the first use, at the latest by `freeze`.

        """
        self._rows = rows
        self._open = table
        self._table: Table | None = None
        self._slices: dict[int, Slice[T]] = {}
        self._hold = Hold(self._slices)
        self.version = 0
        """Version of the last freeze; 0: none yet."""

    @abstractmethod
    def _slice(self, group: int) -> Slice[T]: ...

    def add(self, group: int, restored: bool, rows: int | None = None) -> Slice[T]:
        """Take a key group in.

        :arg group: Key group; taken in once.

        :arg restored: Whether its rows came from a snapshot.

        :arg rows: Of how many keys these are; `None`: nobody counted them.

        :returns: Its slice.

        """
        part = self._slice(group)
        self._slices[group] = part
        if restored:
            part.restored(rows)
        return part

    def freeze(self, path: Path) -> Frozen:
        """Write all changes into the table and make a consistent image of it, by hard links.

        :arg path: Folder to make; must not exist.

        :returns: The image, whose version is one above the last.

        """
        began = time.perf_counter()
        version = self.version + 1
        changed_bytes = sum(_flush(part, version) for part in self._slices.values())
        flushed = time.perf_counter()
        table = self.table()
        table.checkpoint(path)
        self.version = version
        return Frozen(
            path=path,
            version=version,
            groups={group: part.version for group, part in sorted(self._slices.items())},
            rows={group: part.rows for group, part in sorted(self._slices.items())},
            changed_bytes=changed_bytes,
            flush_seconds=flushed - began,
            freeze_seconds=time.perf_counter() - flushed,
        )

    def table(self) -> Table:
        """Return the table, opening it at the first use."""
        if self._table is None:
            self._table = self._open()
        return self._table

    def close(self) -> None:
        """Let go of the table; what was not frozen is lost."""
        if self._table is not None:
            self._table.close()
            self._table = None


def _flush(part: Slice[T], version: int) -> int:
    part.flush()
    if part.dirty:
        part.version = version
    written, part.written, part.dirty = part.written, 0, False
    return written
