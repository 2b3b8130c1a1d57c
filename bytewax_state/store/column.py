"""A column: one state of a step on one worker, from its keys to their values; a write-back cache over rows.

Owns which values are in memory, which of them have changed since the last flush, and how many rows each key group has.
It does not own what a value is, nor its bytes: its cells do. The two kinds differ in what they keep in memory: `heap`
keeps all, `cache` a bounded part. Called by processors for every batch, and by the store at a freeze.

To change a value, `fetch` its key; then change what `live` has, `add` or `remove`; then tell it by `changed`, or by
`change`; at the end `settle`.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from bytewax_state.keygroups import groups_of
from bytewax_state.store.collector import Shelter
from bytewax_state.store.rowkeys import parse_value_key, value_keys, value_range
from bytewax_state.store.rows import Rows

T = TypeVar("T")

RUN = 1_000
"""How many keys are brought into memory at once, at least, where many are visited."""


class Cells(Protocol[T]):
    """How values become rows, leave memory, and come back: many at once, each under its key."""

    def dump(self, keys: Sequence[str], items: Sequence[T]) -> list[bytes]:
        """Make the values of rows.

        :raises UsageError: If one cannot be serialised.

        """
        ...

    def load(self, keys: Sequence[str], rows: Sequence[bytes]) -> Sequence[T]:
        """Rebuild what `dump` made rows of."""
        ...

    def spill(self, keys: Sequence[str], items: Sequence[T]) -> Sequence[bytes | None]:
        """Make the values of rows, in order to take the items out of memory.

        :returns: Values; `None` for an item that would not come back the same, so has to stay.

        """
        ...

    def release(self, keys: Sequence[str]) -> None:
        """Note that the items of some keys have left memory, and that their rows are written."""
        ...


class Column(ABC, Generic[T]):
    """One state of a step on one worker. For one thread at a time."""

    __slots__ = (
        "_cells",
        "_fresh",
        "_gone",
        "_key_groups",
        "_rows",
        "_state",
        "changed",
        "count",
        "has_cold",
        "is_volatile",
        "live",
    )

    def __init__(self, rows: Rows | None, state: int, key_groups: int, cells: Cells[T]) -> None:
        """Init.

        :arg rows: `None`: there are none, nothing is ever frozen, and no change needs to be noted.

        :arg state: Number of the state.

        :arg key_groups: Number of key groups.

        :arg cells: How values become rows.

        """
        self._rows = rows
        self._state = state
        self._key_groups = key_groups
        self._cells = cells
        self.live: dict[str, T] = {}
        """Key to its value, of those in memory."""
        self.changed: set[str] = set()
        """Keys whose rows are stale. A key that is in here by mistake costs a write, or nothing if it is not live."""
        self.has_cold = False
        """Whether a key that is not in memory may have a row."""
        self.is_volatile = rows is None
        """Whether all values stay in memory and nothing is ever frozen, so that no change needs to be noted."""
        self.count: Counter[int] = Counter()
        """Key group to the number of its rows."""
        self._fresh: set[str] = set()  # live keys that have no row
        self._gone: set[str] = set()  # removed keys that have one

    @abstractmethod
    def restore(self, groups: Mapping[int, int | None]) -> None:
        """Take over the rows of an earlier execution.

        :arg groups: Key group to the number of its rows; `None`: nobody counted them.

        """

    @abstractmethod
    def fetch(self, keys: Collection[str]) -> dict[str, T]:
        """Bring the values of some keys into memory.

        :returns: `live`, in which a key is missing only if it has no value.

        """

    @abstractmethod
    def settle(self) -> None:
        """Give memory back, at the end of a call of Bytewax's."""

    @abstractmethod
    def walk(self, matters: Callable[[T], bool]) -> Iterator[list[str]]:
        """Visit every key whose value matters.

        :arg matters: Tells of a value.

        :returns: Runs of live keys, each sorted; there is one run where all values are, or fit, in memory. Between two
            of them values may be changed and removed, and the column settled.

        """

    def close(self) -> None:
        """Let go of what is not the column's own. May be called more than once."""

    def add(self, key: str, item: T) -> None:
        """Give a value to a key that has none.

        :arg key: Fetched. If it is live all the same, its value is another one from now on.

        """
        is_live = key in self.live
        self.live[key] = item
        if self._rows is None or is_live:
            return
        if key in self._gone:
            self._gone.remove(key)
        else:
            self._fresh.add(key)
        self.changed.add(key)

    def remove(self, key: str) -> None:
        """Take the value of a key away.

        :arg key: Live.

        """
        del self.live[key]
        if self._rows is None:
            return
        if key in self._fresh:
            self._fresh.remove(key)
        else:
            self._gone.add(key)

    def change(self, keys: Collection[str]) -> None:
        """Note that the values of some keys have changed.

        :arg keys: Keys; need not be live any more.

        """
        if self._rows is not None:
            self.changed.update(keys)

    def knows(self, key: str) -> bool:
        """Tell whether memory knows better about a key than its row does."""
        return key in self.live or key in self._gone

    @property
    def is_changed(self) -> bool:
        """Whether a flush has something to write."""
        return bool(self.changed or self._gone)

    def flush(self) -> None:
        """Write every change since the last flush.

        :raises UsageError: If a value cannot be serialised.

        """
        if self._rows is not None:
            live, dump = self.live, self._cells.dump
            changed = (key for key in self.changed if key in live)
            while keys := list(islice(changed, RUN)):
                self._write(keys, dump(keys, [live[key] for key in keys]))
            self._delete(list(self._gone))
            self.changed.clear()
            self._gone.clear()

    def _write(self, keys: Sequence[str], values: Sequence[bytes]) -> None:
        """Write what the rows of some live keys say."""
        assert self._rows is not None
        groups = groups_of(keys, self._key_groups)
        if self._fresh:
            self.count.update([group for key, group in zip(keys, groups, strict=True) if key in self._fresh])
            self._fresh.difference_update(keys)
        self._rows.write(zip(value_keys(groups, self._state, keys), values, strict=True))

    def _delete(self, keys: Sequence[str]) -> None:
        """Delete the rows of some keys, which have one each."""
        assert self._rows is not None
        groups = groups_of(keys, self._key_groups)
        self.count.subtract(groups)
        self._rows.write((row, None) for row in value_keys(groups, self._state, keys))

    def scan(self, begin: bytes, end: bytes) -> Iterator[tuple[str, bytes]]:
        """Visit rows, be their keys in memory or not, as they are at the call.

        :arg begin: First row key.

        :arg end: Row key behind the last.

        :returns: Keys, and what their rows say.

        """
        assert self._rows is not None
        return ((parse_value_key(row)[2], value) for row, value in self._rows.scan(begin, end))

    def rewrite(self, values: Mapping[str, bytes]) -> None:
        """Change what the rows of some keys say that are not in memory.

        :arg values: Key to what its row is to say.

        """
        assert self._rows is not None
        rows = value_keys(groups_of(values, self._key_groups), self._state, values)
        self._rows.write(zip(rows, values.values(), strict=True))


class HeapColumn(Column[T]):
    """Every value stays in memory, and none is serialised on access."""

    __slots__ = ("_shelter",)

    def __init__(self, rows: Rows | None, state: int, key_groups: int, cells: Cells[T]) -> None:
        """Init; see `Column`."""
        super().__init__(rows, state, key_groups, cells)
        self._shelter = Shelter(self.live)

    def restore(self, groups: Mapping[int, int | None]) -> None:
        """Load every row."""
        for group in groups:
            assert self._rows is not None
            before = len(self.live)
            for rows, values in self._rows.scan_many(*value_range(group, self._state)):
                keys = [parse_value_key(row)[2] for row in rows]
                self.live.update(zip(keys, self._cells.load(keys, values), strict=True))
            self.count[group] = len(self.live) - before

    def fetch(self, keys: Collection[str]) -> dict[str, T]:
        """See `Column.fetch`; they are all there."""
        return self.live

    def settle(self) -> None:
        """See `Column.settle`; the heap keeps what it has."""
        self._shelter.settle()

    def close(self) -> None:
        """See `Column.close`."""
        self._shelter.close()

    def walk(self, matters: Callable[[T], bool]) -> Iterator[list[str]]:
        """See `Column.walk`."""
        yield sorted(key for key, item in self.live.items() if matters(item))
