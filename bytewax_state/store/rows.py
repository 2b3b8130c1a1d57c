"""The rows of a store: its table, in which every row belongs to a key group.

Owns which groups have changed since the last freeze, how much was written, and which rows since the last image, as long
as these are few. It does not own what a row means. Called by the columns and the timer queue of a store.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from bytewax_state.store.rowkeys import group_of_row
from bytewax_state.store.table import Table

Row: TypeAlias = tuple[bytes, bytes | None]
"""Row key and value; a row without a value is deleted."""

SMALL = 8 * 1024
"""How many bytes of rows may have changed since the last image for a version to need no image of its own. They are part
of each manifest until the next image. So a higher bound would make manifests larger; a lower one would make images more
frequent, each of which takes as long as several manifests."""


class Rows:
    """The table of a store, by key group."""

    __slots__ = ("_changes_bytes", "changed", "changed_bytes", "changes", "small", "table")

    def __init__(self, table: Table) -> None:
        """Init.

        :arg table: Open.

        """
        self.table = table
        self.changed: set[int] = set()
        """Key groups of which a row changed since the last freeze."""
        self.changed_bytes = 0
        """Of the rows written since the last freeze; one that was written twice counts twice."""
        self.changes: dict[bytes, bytes | None] | None = None
        """Rows written since the last image of the table; `None`: there is no image, or they are more than `small`."""
        self.small = SMALL
        self._changes_bytes = 0  # at least what `changes` has

    def write(self, rows: Iterable[Row]) -> None:
        """Put and delete rows; see `Table.write`."""
        pending = list(rows)
        if pending:
            self.table.write(pending)
            keys, values = zip(*pending, strict=True)
            self.changed.update(map(group_of_row, {key[:2] for key in keys}))
            written = _size(keys, values)
            self.changed_bytes += written
            if self.changes is not None:
                self._note(self.changes, pending, written)

    def _note(self, changes: dict[bytes, bytes | None], rows: Iterable[Row], written: int) -> None:
        changes.update(rows)
        self._changes_bytes += written
        if self._changes_bytes > self.small:
            # A row that was written twice is there once.
            self._changes_bytes = _size(changes, changes.values())
            self.changes = changes if self._changes_bytes <= self.small else None

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

    def note_freeze(self) -> None:
        """Begin to count anew."""
        self.changed.clear()
        self.changed_bytes = 0

    def note_image(self) -> None:
        """Begin to collect changes, as there is an image that has all of before."""
        self.changes, self._changes_bytes = {}, 0


def _size(keys: Iterable[bytes], values: Iterable[bytes | None]) -> int:
    return sum(map(len, keys)) + sum(map(len, filter(None, values)))
