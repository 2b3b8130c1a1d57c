"""What processors have in common whose keys have a time of their own: notifications, visits, and the end of the input.

Owns in which order keys are notified, those first whose restored state was asked for its time just now. It does not own
what is done with a key (the processors), nor when a key is due (`states`).
"""

from abc import abstractmethod
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Generic, TypeVar

from bytewax_state.keyed.processor import Item, Processor
from bytewax_state.keyed.states import States

T = TypeVar("T")


class TimedProcessor(Processor, Generic[T]):
    """A processor over states that are notified; see `Processor`."""

    def __init__(self, states: States[T], now: Callable[[], datetime]) -> None:
        """Init.

        :arg states: Of the keys.

        :arg now: Tells the time.

        """
        self.states = states
        self._column = states.column
        self._timers = states.timers
        self._now = now

    def restore(self) -> None:
        """See `Processor.restore`."""
        self.states.restore()

    def visit(self, group: int) -> None:
        """See `Processor.visit`."""
        self.states.visit(group)

    def next_of(self, group: int) -> datetime | None:
        """See `Processor.next_of`."""
        return self.states.next_of(group)

    def next(self, group: int, awake: Collection[int], woken_at: Callable[[int], datetime]) -> datetime | None:
        """See `Processor.next`."""
        return self.states.next(group, awake, woken_at)

    def on_items(self, items: list[Item]) -> list[Item]:
        """See `Processor.on_items`."""
        out: list[Item] = []
        by_key = values_by_key(items)
        self._column.fetch(by_key)
        self._notify_asked(out)
        self._on_values(by_key, out)
        if not self._column.is_volatile:
            self._column.change(by_key)
            self.states.settle()
        return out

    def on_due(self, groups: Collection[int]) -> list[Item]:
        """See `Processor.on_due`."""
        out: list[Item] = []
        if not self._timers.is_empty:
            self._notify_due(self._now(), groups, out)
        return out

    def on_end(self) -> list[Item]:
        """See `Processor.on_end`; it comes to every state to which it matters, and spilled ones come back for it."""
        out: list[Item] = []
        now = self._now()
        self.states.visit_all()
        # As in Bytewax, what is due by now comes before the end.
        while self.states.is_due(now):
            self._notify_due(now, self.states.groups, out)
        for keys in self._column.walk(self._minds_end):
            for key in keys:
                self._end(key, self._column.live[key], out)
            self.states.settle()
        return out

    def _notify_due(self, now: datetime, groups: Collection[int], out: list[Item]) -> None:
        began, count = self._now(), 0
        for keys in self.states.pop_due(now, groups):
            for key in keys:
                self._notify(key, self._column.live[key], now, out)
            self.states.settle()
            count += len(keys)
        if count:
            self.states.hold.note(count, self._now() - began)

    def _notify_asked(self, out: list[Item]) -> None:
        """Notify those that are due of the restored states that a fetch has asked for their times."""
        if self.states.asked:
            now = self._now()
            for key in self.states.pop_asked(now):
                self._notify(key, self._column.live[key], now, out)

    def _remove(self, key: str) -> None:
        self._column.remove(key)
        self._timers.drop(key)

    @abstractmethod
    def _on_values(self, by_key: dict[str, list[Any]], out: list[Item]) -> None:
        """Take items in.

        :arg by_key: Fetched keys, in any order, each with its values in order.

        :arg out: Gets what is emitted.

        """

    @abstractmethod
    def _notify(self, key: str, item: T, now: datetime, out: list[Item]) -> None:
        """Notify a key, which is live.

        :arg out: Gets what is emitted.

        """

    @abstractmethod
    def _minds_end(self, item: T) -> bool:
        """Tell whether the end of input may mean anything to a state."""

    @abstractmethod
    def _end(self, key: str, item: T, out: list[Item]) -> None:
        """Tell a key, which is live, that the input has ended."""


def values_by_key(items: list[Item]) -> dict[str, list[Any]]:
    """Gather the values of each key, in their order."""
    if len(items) == 1:
        ((key, value),) = items
        return {key: [value]}
    by_key: dict[str, list[Any]] = {key: [value] for key, value in items}
    if len(by_key) == len(items):
        return by_key
    by_key.clear()
    for key, value in items:
        if key in by_key:
            by_key[key].append(value)
        else:
            by_key[key] = [value]
    return by_key
