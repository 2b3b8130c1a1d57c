"""The heap store: every object stays in memory, and nothing is serialised on access.

Owns nothing but that choice: its changes go into the table at a freeze as those of any store do, so its snapshots are
incremental and either store reads them. Bounded by memory.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TypeVar

from bytewax_state.store.base import STATE, WALK, Rows, Slice, Store
from bytewax_state.store.rowkeys import parse_value_key, value_range
from bytewax_state.store.table import Table

T = TypeVar("T")


class HeapSlice(Slice[T]):
    """A key group whose objects are all live."""

    __slots__ = ()

    @property
    def rows(self) -> int:
        """See `Slice.rows`."""
        return len(self.live)

    def restored(self, rows: int | None) -> None:
        """Load every row, and ask every object for its timer."""
        for row, value in self._table().scan(*value_range(self.group, STATE)):
            self._read_anew(parse_value_key(row)[2], value)

    def visit(self, now: Callable[[], datetime]) -> None:
        """Do nothing: all were asked when they were loaded."""

    def visit_all(self) -> None:
        """Do nothing: all were asked when they were loaded."""

    def fetch(self, keys: Iterable[str]) -> dict[str, T]:
        """See `Slice.fetch`; they are all there."""
        return self.live

    def settle(self) -> None:
        """Do nothing: the heap keeps what it has."""

    def walk(self, matters: Callable[[T], bool]) -> Iterator[list[str]]:
        """See `Slice.walk`."""
        keys = iter([key for key, item in self.live.items() if matters(item)])
        while chunk := list(islice(keys, WALK)):
            yield chunk


class HeapStore(Store[T]):
    """Live objects in dicts."""

    def __init__(self, rows: Rows[T], table: Callable[[], Table] | None) -> None:
        """Init.

        :arg rows: How objects become rows.

        :arg table: Opens the table; `None`: there is none, and nothing is ever frozen.

        """
        super().__init__(rows, table or _no_table)
        self._volatile = table is None

    def _slice(self, group: int) -> Slice[T]:
        part = HeapSlice(group, self._rows, self.table, self._hold)
        part.volatile = self._volatile
        return part


def _no_table() -> Table:
    msg = "a heap store that is never frozen has no table"
    raise AssertionError(msg)
