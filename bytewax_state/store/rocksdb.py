"""The RocksDB store: rows in a table on the local disk, and a bounded write-back cache of live objects in front.

Owns what is spilled and when: the coldest objects, as soon as a key group has more than its share of the cache. A hot
key is serialised once for a freeze, not once for an access. Bounded by the disk.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
from typing import TypeVar

from bytewax_state.store.base import STATE, WALK, Row, Rows, Slice, Store
from bytewax_state.store.rowkeys import parse_value_key, value_key, value_range
from bytewax_state.store.table import Table
from bytewax_state.store.timers import Hold, from_microseconds, to_microseconds
from bytewax_state.store.values import parse_value
from bytewax_state.store.visit import Pace, Visit

T = TypeVar("T")


class RocksDBSlice(Slice[T]):
    """A key group whose cold objects are rows only.

    Which objects are cold is the CLOCK approximation of least recently used (Corbató 1968), a sweep at a time: an
    object that was used since the last sweep gets a second chance.
    """

    __slots__ = (
        "_capacity",
        "_count",
        "_in_table",
        "_limit",
        "_missed",
        "_pace",
        "_spilled",
        "_stored",
        "_used",
        "_visit",
    )

    def __init__(
        self,
        group: int,
        rows: Rows[T],
        table: Callable[[], Table],
        hold: Hold,
        capacity: int,
        missed: Callable[[int], None],
        spilled: Callable[[int], None],
        pace: Pace,
    ) -> None:
        """Init.

        :arg group: Key group.

        :arg rows: How objects become rows.

        :arg table: Gives the table.

        :arg hold: Of the store.

        :arg capacity: How many live objects to keep between two calls.

        :arg missed: Told how many keys the table was asked for.

        :arg spilled: Told how many objects left memory.

        :arg pace: Of the visits to restored objects; all slices of the store share it.

        """
        super().__init__(group, rows, table, hold)
        self._capacity = capacity
        self._limit = capacity
        self._missed = missed
        self._spilled = spilled
        self._used: set[str] = set()
        self._in_table = False  # whether a key that is neither live nor changed may have a row
        self._stored: set[str] = set()  # live and changed keys that have a row, of this state or an older one
        self._count = 0  # keys that have a row
        self._pace = pace
        self._visit: Visit | None = None  # the visit to all restored objects, until it is through

    @property
    def rows(self) -> int:
        """See `Slice.rows`."""
        return self._count

    def restored(self, rows: int | None) -> None:
        """Leave the rows where they are, and count them if nobody did; their objects are asked later."""
        self._in_table = True
        keys = value_range(self.group, STATE)
        self._count = sum(1 for _ in self._table().scan_keys(*keys)) if rows is None else rows
        self.timer_rows.restored()
        if self._rows.wakes:
            self._visit = Visit(self._pace, *keys)

    def next_due(self, now: Callable[[], datetime]) -> datetime | None:
        """See `Slice.next_due`; also when the visit goes on."""
        due = super().next_due(now)
        if self._visit is None:
            return due
        turn = self._pace.next(now())
        return turn if due is None else min(due, turn)

    def pop_due(self, now: datetime) -> list[str]:
        """See `Slice.pop_due`; what a restored row says is only when to ask its object."""
        if self._visit is None:
            return super().pop_due(now)
        keys = self.timer_rows.pop(now, self._known, WALK)
        self.fetch(keys)
        self.asked = keys
        return self.pop_asked(now) + self.timers.pop(now)

    def visit(self, now: Callable[[], datetime]) -> None:
        """See `Slice.visit`; an object that answers what its row says leaves no trace."""
        if self._visit is not None and (limit := self._pace.begin(now())):
            self._pace.end(self._ask(self._visit, limit), now())

    def visit_all(self) -> None:
        """See `Slice.visit_all`."""
        while self._visit is not None:
            self._ask(self._visit, WALK)

    def _ask(self, visit: Visit, limit: int) -> int:
        found = list(islice(self._table().scan(visit.at, visit.end), limit))
        rows: list[Row] = []
        for row, value in found:
            key = parse_value_key(row)[2]
            if not self._known(key):
                rows.extend(self._asked(key, value))
        self._write(rows)
        if len(found) < limit:
            self._visit = None
        else:
            visit.at = found[-1][0] + b"\0"
        return len(found)

    def _asked(self, key: str, row: bytes) -> Iterator[Row]:
        """Ask the object of a row when it wants to be notified; return the rows that this changes."""
        value = parse_value(row)
        if value.mark == self._pace.mark:
            return
        due = self._rows.due(key, self._rows.load(key, value.data))
        due_us = None if due is None else to_microseconds(due)
        if due_us == value.due_us:
            return
        if value.due_us is not None:
            self.timer_rows.taken(key, from_microseconds(value.due_us))
        yield from self._rows_of(key, value.data, due_us, value.due_us)
        if due is not None:
            self.timer_rows.added(key, due, None)

    def _mark(self) -> bytes:
        """Mark the rows that the visit has yet to come to: their objects were asked."""
        return b"" if self._visit is None else self._pace.mark

    def fetch(self, keys: Iterable[str]) -> dict[str, T]:
        """See `Slice.fetch`; asks the table once, for the true misses only."""
        live, changed = self.live, self.changed
        self._used.update(live.keys() & keys)
        if self._in_table:
            misses = [key for key in keys if key not in live and key not in changed]
            if misses:
                self._load(misses)
        return live

    def settle(self) -> None:
        """Spill the coldest objects if there are too many."""
        if len(self.live) > self._limit:
            self._sweep()
        if len(self.changed) > len(self.live) + self._capacity + WALK:
            # Deleted keys, each remembered until its row is gone.
            self.flush()

    def walk(self, matters: Callable[[T], bool]) -> Iterator[list[str]]:
        """See `Slice.walk`; a key that is only a row becomes live."""
        rows = self._unseen(self.live.keys() | self.changed)
        first = list(islice(rows, 1))  # opens the scan, which goes on seeing the table as it is now
        keys = iter([key for key, item in self.live.items() if matters(item)])
        while chunk := list(islice(keys, WALK)):
            self.fetch(chunk)
            yield chunk
        unseen = chain(first, rows)
        while batch := list(islice(unseen, WALK)):
            if chunk := [key for key, row in batch if self._comes(key, row, matters)]:
                yield chunk

    def _comes(self, key: str, row: bytes, matters: Callable[[T], bool]) -> bool:
        """Make the object of a row live if it matters."""
        self._load_row(key, row)
        if matters(self.live[key]):
            return True
        if key not in self.changed:
            self._forget(key)
        return False

    def _unseen(self, seen: Collection[str]) -> Iterator[tuple[str, bytes]]:
        if not self._in_table:
            return
        for row, value in self._table().scan(*value_range(self.group, STATE)):
            key = parse_value_key(row)[2]
            if key not in seen:
                yield key, value

    def _load(self, keys: list[str]) -> None:
        self._missed(len(keys))
        rows = self._table().get_many([value_key(self.group, STATE, key) for key in keys])
        for key, row in zip(keys, rows, strict=True):
            if row is not None:
                self._load_row(key, row)

    def _load_row(self, key: str, row: bytes) -> None:
        if self._visit is None or self._visit.knows(value_key(self.group, STATE, key), row):
            self._read(key, row)
        else:
            self._read_anew(key, row)
            self.asked.append(key)

    def _sweep(self) -> None:
        low = self._capacity * 7 // 8
        want = len(self.live) - low
        cold = [key for key in self.live if key not in self._used][:want]
        if len(cold) < want:
            cold += list(islice((key for key in self.live if key in self._used), want - len(cold)))
        self._used.clear()
        gone = self._spill(cold)
        self._spilled(gone)
        # What has to stay is tried again only when there is clearly more of it.
        self._limit = max(self._capacity, len(self.live) + (len(cold) - gone) // 2)

    def _spill(self, keys: list[str]) -> int:
        rows: list[Row] = []
        gone: list[str] = []
        for key in keys:
            data = self._rows.spill(key, self.live[key])
            if data is None:
                self._used.add(key)
                continue
            if key in self.changed:
                rows.extend(self._written(key, data))
            gone.append(key)
        self._write(rows)
        for key in gone:
            self._forget(key)
        self._in_table = self._in_table or bool(gone)
        return len(gone)

    def _read(self, key: str, row: bytes) -> None:
        super()._read(key, row)
        self._stored.add(key)

    def _written(self, key: str, data: bytes) -> Iterator[Row]:
        if key not in self._stored:
            self._stored.add(key)
            self._count += 1
        return super()._written(key, data)

    def _deleted(self, key: str) -> Iterator[Row]:
        if key in self._stored:
            self._stored.remove(key)
            self._count -= 1
        return super()._deleted(key)

    def _forget(self, key: str) -> None:
        del self.live[key]
        self._stored.discard(key)
        self._dues.pop(key, None)
        self.changed.discard(key)
        until, due = self.timers.until(key), self.timers.drop(key)
        if due is not None:
            self.timer_rows.added(key, due, until)


class RocksDBStore(Store[T]):
    """Rows in the table; a bounded cache of live objects in front."""

    def __init__(
        self,
        rows: Rows[T],
        table: Callable[[], Table],
        capacity: int,
        groups: int,
        missed: Callable[[int], None],
        spilled: Callable[[int], None],
        mark: bytes,
    ) -> None:
        """Init.

        :arg rows: How objects become rows.

        :arg table: Opens the table.

        :arg capacity: How many live objects to keep, in all key groups together.

        :arg groups: How many key groups share them.

        :arg missed: Told how many keys the table was asked for.

        :arg spilled: Told how many objects left memory.

        :arg mark: Eight bytes that no other store has.

        """
        super().__init__(rows, table)
        self._share = capacity // max(1, groups)
        self._missed = missed
        self._spilled = spilled
        self._pace = Pace(mark)

    def _slice(self, group: int) -> Slice[T]:
        return RocksDBSlice(
            group, self._rows, self.table, self._hold, self._share, self._missed, self._spilled, self._pace
        )
