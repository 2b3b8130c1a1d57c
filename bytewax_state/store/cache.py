"""The column of the RocksDB backend: rows on the local disk, and a bounded cache of values in front.

Owns which values leave memory, and when: the coldest ones, as soon as there are too many. A hot key is serialised once
for a freeze, not once for an access. Bounded by the disk. Called as any column (`column`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from bytewax_state.keygroups import groups_of
from bytewax_state.store.column import RUN, Cells, Column
from bytewax_state.store.rowkeys import value_keys, value_range
from bytewax_state.store.rows import Rows

T = TypeVar("T")


class CachedColumn(Column[T]):
    """A column whose cold values are rows only.

    Which ones are cold is told by second chance (Corbató 1968): values leave in the order in which they came, but one
    that was used since its turn came last is passed over.
    """

    __slots__ = ("_capacity", "_limit", "_missed", "_spilled", "_used")

    def __init__(
        self,
        rows: Rows,
        state: int,
        key_groups: int,
        cells: Cells[T],
        capacity: int,
        missed: Callable[[int], None],
        spilled: Callable[[int], None],
    ) -> None:
        """Init; see `Column`.

        :arg capacity: How many values to keep in memory between two calls of Bytewax's.

        :arg missed: Told how many keys the table was asked for.

        :arg spilled: Told how many values left memory.

        """
        super().__init__(rows, state, key_groups, cells)
        self._capacity = capacity
        self._limit = capacity
        self._missed = missed
        self._spilled = spilled
        self._used: set[str] = set()

    def restore(self, groups: Mapping[int, int | None]) -> None:
        """Leave the rows where they are, and count those that nobody did."""
        assert self._rows is not None
        for group, count in groups.items():
            keys = value_range(group, self._state)
            self.count[group] = sum(1 for _ in self._rows.scan_keys(*keys)) if count is None else count
        self.has_cold = bool(groups)

    def fetch(self, keys: Collection[str]) -> dict[str, T]:
        """See `Column.fetch`; asks the table once, for the true misses only."""
        live = self.live
        if self.has_cold and not all(map(live.__contains__, keys)):
            # Not those that come now: else each would have two chances, and be passed over once whether used or not.
            self._use([key for key in keys if key in live])
            self._load([key for key in dict.fromkeys(keys) if not self.knows(key)])
        else:
            self._use(keys)
        return live

    def _use(self, keys: Collection[str]) -> None:
        if 4 * len(self.live) > 3 * self._capacity:
            self._used.update(keys)

    def settle(self) -> None:
        """Spill the coldest values if there are too many."""
        if len(self.live) > self._limit:
            self._sweep()
        if len(self._gone) > self._capacity + RUN:
            self.flush()
        # Keys that come and go leave their names here.
        most = 2 * len(self.live) + RUN
        if len(self.changed) > most:
            self.changed &= self.live.keys()
        if len(self._used) > most:
            self._used &= self.live.keys()

    def walk(self, matters: Callable[[T], bool]) -> Iterator[list[str]]:
        """See `Column.walk`; a key that is only a row becomes live."""
        if sum(self.count.values()) + len(self._fresh) <= self._capacity:
            self._bring({key: row for key, row in self._cold() if not self.knows(key)})
        seen = self.live.keys() | self._gone
        keys = iter(sorted(key for key, item in self.live.items() if matters(item)))
        while run := list(islice(keys, max(RUN, self._capacity))):
            self.fetch(run)
            yield run
        unseen = ((key, row) for key, row in self._cold() if key not in seen)
        while rows := dict(islice(unseen, RUN)):
            self._bring(rows)
            run = sorted(key for key in rows if matters(self.live[key]))
            self._forget([*rows.keys() - run - self.changed])
            if run:
                yield run

    def _cold(self) -> Iterator[tuple[str, bytes]]:
        groups = sorted(self.count) if self.has_cold else []
        return (found for group in groups for found in self.scan(*value_range(group, self._state)))

    def _load(self, keys: list[str]) -> None:
        assert self._rows is not None
        self._missed(len(keys))
        rows = self._rows.get_many(value_keys(groups_of(keys, self._key_groups), self._state, keys))
        self._bring({key: row for key, row in zip(keys, rows, strict=True) if row is not None})

    def _bring(self, rows: Mapping[str, bytes]) -> None:
        """Make the values of some rows live."""
        keys = [*rows]
        self.live.update(zip(keys, self._cells.load(keys, [*rows.values()]), strict=True))

    def _sweep(self) -> None:
        low = max(0, self._capacity - self._capacity // 32 - 1)
        coldest = self._coldest(len(self.live) - low)
        gone = self._spill(coldest)
        self._spilled(gone)
        # Values that cannot leave memory would be tried again at each call, so the limit rises by half of them.
        self._limit = max(self._capacity, len(self.live) + (len(coldest) - gone) // 2)

    def _coldest(self, want: int) -> list[str]:
        live, used, cold, warm = self.live, self._used, list[str](), list[str]()
        for key in live:
            if key in used:
                warm.append(key)
            else:
                cold.append(key)
                if len(cold) == want:
                    break
        used.difference_update(warm)
        for key in warm:
            live[key] = live.pop(key)
        # There may be too few cold ones. Then those are taken whose turn came first.
        return cold + warm[: want - len(cold)]

    def _spill(self, keys: Sequence[str]) -> int:
        values = self._cells.spill(keys, [self.live[key] for key in keys])
        rows = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
        if len(rows) < len(keys):
            self._used.update(key for key in keys if key not in rows)
        stale = [key for key in rows if key in self.changed]
        self._write(stale, [rows[key] for key in stale])
        self._forget([*rows])
        self.has_cold = self.has_cold or bool(rows)
        return len(rows)

    def _forget(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self.live[key]
        self.changed.difference_update(keys)
        self._cells.release(keys)
