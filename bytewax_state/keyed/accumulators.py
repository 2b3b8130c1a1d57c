"""Accumulators: what is in a window.

Owns what becomes of the values that are put into a window. It does not own which window that is (`windowers`), nor the
bytes of an accumulator (`window_rows`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, TypeAlias

from bytewax_state.keyed.windowed import UNBUILT, Window


class Accumulators(ABC):
    """What to do with values in a window. All that may emit something return what they emit."""

    is_silent: bool
    """Whether nothing is ever emitted of a window before it closes."""
    is_probed = False
    """Whether code of the user's rebuilds accumulators, so that they may not come back the same."""

    @abstractmethod
    def insert(self, window: Window, value: Any) -> Iterable[Any]:
        """Put a value into a window, which may be new."""

    @abstractmethod
    def merge(self, window: Window, other: Window) -> Iterable[Any]:
        """Put all that is in another window, which is no longer there, into one."""

    @abstractmethod
    def close(self, window: Window) -> Iterable[Any]:
        """End a window."""

    @abstractmethod
    def snapshot(self, acc: Any) -> Any:
        """Make what is stored of an accumulator. `None` stands for a new one, as it does in Bytewax."""

    @abstractmethod
    def rebuilt(self, snapshot: Any) -> Any:
        """Make an accumulator of what `snapshot` made, or of the snapshot of Bytewax's logic."""


class Fold(Accumulators):
    """Values are folded, and come out when the window closes."""

    is_silent = True

    def __init__(
        self, builder: Callable[[], Any], folder: Callable[[Any, Any], Any], merger: Callable[[Any, Any], Any]
    ) -> None:
        """Init; all are the user's.

        :arg builder: Makes an accumulator.

        :arg folder: Returns one with a value in it.

        :arg merger: Returns one of two.

        """
        self._builder = builder
        self._folder = folder
        self._merger = merger

    def insert(self, window: Window, value: Any) -> Iterable[Any]:
        """See `Accumulators.insert`."""
        acc = window.acc
        window.acc = self._folder(self._builder() if acc is UNBUILT else acc, value)
        return ()

    def merge(self, window: Window, other: Window) -> Iterable[Any]:
        """See `Accumulators.merge`."""
        window.acc = self._merger(window.acc, other.acc)
        return ()

    def close(self, window: Window) -> Iterable[Any]:
        """See `Accumulators.close`."""
        return (window.acc,)

    def snapshot(self, acc: Any) -> Any:
        """See `Accumulators.snapshot`."""
        return acc

    def rebuilt(self, snapshot: Any) -> Any:
        """See `Accumulators.rebuilt`."""
        return self._builder() if snapshot is None else snapshot


Seen: TypeAlias = list[list[Any]]
"""All values of each side."""


class Join(Accumulators):
    """Values are of several sides, and come out together."""

    def __init__(self, side_count: int, insert_mode: str, emit_mode: str) -> None:
        """Init.

        :arg side_count: How many sides there are.

        :arg insert_mode: Bytewax's: `"first"`, `"last"` or `"product"`.

        :arg emit_mode: Bytewax's: `"complete"`, `"final"` or `"running"`.

        """
        self.is_silent = emit_mode == "final"
        self._side_count = side_count
        self._insert_mode = insert_mode
        self._emit_mode = emit_mode

    def insert(self, window: Window, value: Any) -> Iterable[Any]:
        """See `Accumulators.insert`."""
        if window.acc is UNBUILT:
            window.acc = self._unseen()
        side, joined = value
        values = window.acc[side]
        if self._insert_mode == "last":
            window.acc[side] = [joined]
        elif self._insert_mode == "product" or not values:
            values.append(joined)
        return self._emits(window)

    def merge(self, window: Window, other: Window) -> Iterable[Any]:
        """See `Accumulators.merge`."""
        pairs = zip(window.acc, other.acc, strict=True)
        if self._insert_mode == "product":
            window.acc = [ours + theirs for ours, theirs in pairs]
        elif self._insert_mode == "first":
            # As Bytewax does it, though what it says of it is the other way round.
            window.acc = [theirs or ours for ours, theirs in pairs]
        else:
            window.acc = [ours or theirs for ours, theirs in pairs]
        return self._emits(window)

    def close(self, window: Window) -> Iterable[Any]:
        """See `Accumulators.close`."""
        return _rows(window.acc) if self._emit_mode == "final" else ()

    def snapshot(self, acc: Any) -> Any:
        """See `Accumulators.snapshot`."""
        return acc

    def rebuilt(self, snapshot: Any) -> Any:
        """See `Accumulators.rebuilt`."""
        return snapshot if type(snapshot) is list else snapshot.seen

    def _emits(self, window: Window) -> Sequence[Any]:
        if self._emit_mode == "running":
            return _rows(window.acc)
        if self._emit_mode == "final" or not all(window.acc):
            return ()
        rows, window.acc = _rows(window.acc), self._unseen()
        return rows

    def _unseen(self) -> Seen:
        return [[] for _ in range(self._side_count)]


def _rows(seen: Seen) -> Sequence[tuple[Any, ...]]:
    """Combine the values of all sides."""
    return list(product(*[values or (None,) for values in seen]))


class UserLogic(Accumulators):
    """What is in a window is a logic of the user's."""

    is_silent = False
    is_probed = True

    def __init__(self, builder: Callable[[Any], Any]) -> None:
        """Init.

        :arg builder: Makes a logic of a snapshot; of `None`, a new one.

        """
        self._builder = builder

    def insert(self, window: Window, value: Any) -> Iterable[Any]:
        """See `Accumulators.insert`."""
        if window.acc is UNBUILT:
            window.acc = self._builder(None)
        emits: Iterable[Any] = window.acc.on_value(value)
        return emits

    def merge(self, window: Window, other: Window) -> Iterable[Any]:
        """See `Accumulators.merge`."""
        emits: Iterable[Any] = window.acc.on_merge(other.acc)
        return emits

    def close(self, window: Window) -> Iterable[Any]:
        """See `Accumulators.close`."""
        emits: Iterable[Any] = window.acc.on_close()
        return emits

    def snapshot(self, acc: Any) -> Any:
        """See `Accumulators.snapshot`."""
        return acc.snapshot()

    def rebuilt(self, snapshot: Any) -> Any:
        """See `Accumulators.rebuilt`."""
        return self._builder(snapshot)
