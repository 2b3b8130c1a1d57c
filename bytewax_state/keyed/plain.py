"""Plain values: what processors have in common whose keys have values, and no objects with methods of their own.

Owns how such a value becomes a row, which is the one that the snapshot of Bytewax's logic becomes, and comes back. It
does not own what is done with it (the processors), nor where it lives (a column).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from bytewax_state.keyed.processor import Item, Processor
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.store.store import Store
from bytewax_state.store.values import PLAIN, parse_values

_key_of = itemgetter(0)


class PlainProcessor(Processor):
    """A processor that is its column's cells; see `Processor` and `Cells`."""

    def __init__(self, store: Store, codec: StepCodec, error_for: Callable[[str], Exception]) -> None:
        """Init.

        :arg store: Where the values are kept.

        :arg codec: Makes bytes of what a logic's snapshot would be.

        :arg error_for: Makes the error that names a key on which a function of the user's failed.

        """
        self._store = store
        self._codec = codec
        self._error_for = error_for
        self._column = store.column(self)

    def restore(self) -> None:
        """See `Processor.restore`."""
        self._store.restore()

    def on_items(self, items: list[Item]) -> list[Item]:
        """See `Processor.on_items`."""
        items = by_key(items)
        out: list[Item] = []
        column = self._column
        if column.is_volatile:
            self._take(items, out)
        else:
            keys = [key for key, _ in items]
            column.fetch(keys)
            self._take(items, out)
            column.change(keys)
        column.settle()
        return out

    @abstractmethod
    def _take(self, items: list[Item], out: list[Item]) -> None:
        """Take items in.

        :arg items: In the order of their keys, which are fetched.

        :arg out: Gets what is emitted.

        """

    def _drain(self, emitted: Callable[[Any], Iterable[Any]]) -> list[Item]:
        """Discard all keys.

        :arg emitted: Tells what is emitted of a value.

        :returns: Items to emit; see `Processor.on_end`.

        """
        out: list[Item] = []
        live, remove = self._column.live, self._column.remove
        for keys in self._column.walk(lambda item: True):
            for key in keys:
                out += [(key, one) for one in emitted(live[key])]
                remove(key)
            self._column.settle()
        return out

    # -- cells

    def dump(self, keys: Sequence[str], items: Sequence[Any]) -> list[bytes]:
        """See `Cells.dump`."""
        return [PLAIN + data for data in self._codec.encode_many(keys, self._snapshots(items))]

    def spill(self, keys: Sequence[str], items: Sequence[Any]) -> Sequence[bytes | None]:
        """See `Cells.spill`."""
        snapshots = self._snapshots(items)
        found = zip(snapshots, self._codec.try_encode_many(snapshots), strict=True)
        # Bytewax takes a row of `None` for that of a key whose value is to be built anew, so the value would be lost.
        return [None if snapshot is None or data is None else PLAIN + data for snapshot, data in found]

    def load(self, keys: Sequence[str], rows: Sequence[bytes]) -> Sequence[Any]:
        """See `Cells.load`."""
        return self._rebuilt(self._codec.decode_many(keys, parse_values(rows)))

    def release(self, keys: Sequence[str]) -> None:
        """See `Cells.release`."""

    def _snapshots(self, items: Sequence[Any]) -> Sequence[Any]:
        """Make what the snapshots of Bytewax's logics would be."""
        return items

    def _rebuilt(self, snapshots: Sequence[Any]) -> Sequence[Any]:
        """Make values of what `_snapshots` made."""
        return snapshots


def by_key(items: list[Item]) -> list[Item]:
    """Sort items by their keys, as Bytewax does: those of a key stay in order."""
    return sorted(items, key=_key_of) if len(items) > 1 else items
