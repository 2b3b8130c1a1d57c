"""Joining: `join` on plain values, in all of its modes.

Owns what Bytewax's operator of this name does. It does not own where what was seen of a key lives (a column).

What was seen of a key is a list with the value of each side, and `None` for one without a value. That is not enough
where a side has several values, or one that is `None`. Then it is of the kind `Sides`, with a list of values each.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Protocol, TypeAlias

from bytewax_state.keyed.plain import PlainProcessor
from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.store.store import Store


class Sides(list[list[Any] | None]):
    """All values of each side; `None` in place of no values."""

    __slots__ = ()


Seen: TypeAlias = list[Any] | Sides


class JoinState(Protocol):
    """What Bytewax's logic keeps of a key."""

    seen: list[list[Any]]
    """All values of each side."""


class JoinProcessor(PlainProcessor):
    """Joins the sides of each of a step's keys on one worker; see `Processor`."""

    def __init__(
        self,
        store: Store,
        codec: StepCodec,
        error_for: Callable[[str], Exception],
        side_count: int,
        insert_mode: str,
        emit_mode: str,
        make_state: Callable[[list[list[Any]]], JoinState],
    ) -> None:
        """Init; see `PlainProcessor`.

        :arg side_count: How many sides there are.

        :arg insert_mode: Bytewax's: `"first"`, `"last"` or `"product"`.

        :arg emit_mode: Bytewax's: `"complete"`, `"final"` or `"running"`.

        :arg make_state: Makes what Bytewax's logic keeps of a key.

        """
        super().__init__(store, codec, error_for)
        self._unseen = [None] * side_count
        self._insert_mode = insert_mode
        self._emit_mode = emit_mode
        self._make_state = make_state

    def _snapshots(self, items: Sequence[Seen]) -> Sequence[JoinState]:
        """See `PlainProcessor._snapshots`."""
        return [self._make_state([values or [] for values in _widened(item)]) for item in items]

    def _rebuilt(self, snapshots: Sequence[JoinState | None]) -> Sequence[Seen]:
        """See `PlainProcessor._rebuilt`."""
        return [*map(self._seen_by, snapshots)]

    def _seen_by(self, snapshot: JoinState | None) -> Seen:
        if snapshot is None:
            return self._unseen.copy()
        many = Sides(values or None for values in snapshot.seen)
        return [values and values[0] for values in many] if all(map(_is_single, many)) else many

    def _take(self, items: list[Item], out: list[Item]) -> None:
        """See `PlainProcessor._take`."""
        live, unseen = self._column.live, self._unseen
        is_last, is_final, is_complete = (
            self._insert_mode == "last",
            self._emit_mode == "final",
            self._emit_mode == "complete",
        )
        key = ""
        try:
            for key, (side, value) in items:
                seen = live.get(key)
                if seen is None:
                    seen = unseen.copy()
                    self._column.add(key, seen)
                if is_last and value is not None and type(seen) is list:
                    seen[side] = value
                else:
                    seen = self._insert(key, seen, side, value)
                if is_final or (is_complete and not _is_full(seen)):
                    continue
                if type(seen) is list:
                    out.append((key, tuple(seen)))
                else:
                    out += [(key, row) for row in _rows(seen)]
                if is_complete:
                    self._column.remove(key)
        except Exception as ex:
            raise self._error_for(key) from ex

    def _insert(self, key: str, seen: Seen, side: int, value: Any) -> Seen:
        """Insert a value, as the mode says.

        :returns: What is seen of the key from now on.

        """
        before = seen[side]
        if before is not None and self._insert_mode == "first":
            return seen
        is_only = before is None or self._insert_mode == "last"
        if is_only and value is not None and type(seen) is list:
            seen[side] = value
            return seen
        many = _widened(seen)
        self._column.add(key, many)
        values = many[side]
        if is_only or values is None:
            many[side] = [value]
        else:
            values.append(value)
        return many

    def on_end(self) -> list[Item]:
        """See `Processor.on_end`."""
        return self._drain(_rows) if self._emit_mode == "final" else []


def _widened(seen: Seen) -> Sides:
    return seen if type(seen) is Sides else Sides(None if one is None else [one] for one in seen)


def _is_single(values: list[Any] | None) -> bool:
    """Tell whether what was seen of a side is no value, or one that is not `None`."""
    return values is None or (len(values) == 1 and values[0] is not None)


def _is_full(seen: Seen) -> bool:
    """Tell whether each side has a value; `in` would ask the values what they are equal to."""
    return all(one is not None for one in seen)


def _rows(seen: Seen) -> list[tuple[Any, ...]]:
    """Combine the values of all sides."""
    if type(seen) is not Sides:
        return [tuple(seen)]
    return list(product(*((None,) if values is None else values for values in seen)))
