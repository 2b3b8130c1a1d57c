"""Accumulators: what is in a window.

Owns what becomes of the values that are put into a window. It does not own which window that is (`windowers`), nor the
bytes of an accumulator (`window_rows`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from bytewax_state.keyed.windowed import UNBUILT, Window


class Accumulators(ABC):
    """What to do with values in a window. All that may emit something return what they emit."""

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
        """Make what is stored of an accumulator: what the snapshot of Bytewax's logic would be."""

    @abstractmethod
    def rebuilt(self, snapshot: Any) -> Any:
        """Make an accumulator of what `snapshot` made."""

    def is_absent(self, acc: Any) -> bool:
        """Tell whether a rebuilt one would be a new one instead, as Bytewax takes `None` for nothing."""
        return acc is None


class Fold(Accumulators):
    """Values are folded, and come out when the window closes."""

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
