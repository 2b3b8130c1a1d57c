"""The rows of a store: its table, in which every row belongs to a key group.

Owns which groups have changed since the last freeze, and how much was written. It does not own what a row means.
Called by the columns and the timer queue of a store.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from bytewax_state.store.rowkeys import group_of_row
from bytewax_state.store.table import Table

Row: TypeAlias = tuple[bytes, bytes | None]
"""Row key and value; a row without a value is deleted."""


class Rows:
    """The table of a store, by key group."""

    __slots__ = ("changed", "changed_bytes", "table")

    def __init__(self, table: Table) -> None:
        """Init.

        :arg table: Open.

        """
        self.table = table
        self.changed: set[int] = set()
        """Key groups of which a row changed since the last freeze."""
        self.changed_bytes = 0
        """Of the rows written since the last freeze; one that was written twice counts twice."""

    def write(self, rows: Iterable[Row]) -> None:
        """Put and delete rows; see `Table.write`."""
        pending = list(rows)
        if pending:
            self.table.write(pending)
            keys, values = zip(*pending, strict=True)
            self.changed.update(map(group_of_row, {key[:2] for key in keys}))
            self.changed_bytes += sum(map(len, keys)) + sum(map(len, filter(None, values)))

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Look rows up; see `Table.get_many`."""
        return self.table.get_many(keys)

    def scan(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Visit rows; see `Table.scan`."""
        return self.table.scan(begin, end)

    def scan_many(self, begin: bytes, end: bytes) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Visit rows, many at once; see `Table.scan_many`."""
        return self.table.scan_many(begin, end)

    def scan_keys(self, begin: bytes, end: bytes) -> Iterator[bytes]:
        """Visit row keys; see `Table.scan_keys`."""
        return self.table.scan_keys(begin, end)

    def reset(self) -> None:
        """Begin to count anew, at a freeze."""
        self.changed.clear()
        self.changed_bytes = 0
