"""A processor: what a step on one worker does with its keys. Items in, rows and timers by way of the store, items out.

Owns the calls that whoever runs a step makes. It does not own when they come (the adapter of Bytewax's calls), nor
where state lives (the store). The key groups of a worker share its processor.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeAlias

Item: TypeAlias = tuple[str, Any]
"""Key and value."""


class Processor(ABC):
    """What a step does. For one thread at a time. One that has no timers inherits all that is about them."""

    is_timed = False
    """Whether anything may ever be due."""

    @abstractmethod
    def restore(self) -> None:
        """Take over what an earlier execution left. Called once, before all else."""

    @abstractmethod
    def on_items(self, items: list[Item]) -> list[Item]:
        """Take items in.

        :arg items: At least one, in order.

        :returns: Items to emit: key by key in the order of the keys, as Bytewax's.

        """

    def on_due(self, groups: Collection[int]) -> list[Item]:
        """Do what is due by now.

        :arg groups: Only for keys of these key groups.

        :returns: Items to emit, in the order of their keys; more may be due, which `next` tells.

        """
        return []

    def on_end(self) -> list[Item]:
        """Take note that the input has ended. May come more than once.

        :returns: Items to emit, in the order of their keys, in runs of what fits into memory.

        """
        return []

    def visit(self, group: int) -> None:  # noqa: B027  # there may be nothing to do
        """Go on with what is to be done once for each restored key of a key group.

        :arg group: One that may change now.

        """

    def next_of(self, group: int) -> datetime | None:
        """Say when a key group wants a call of `on_due` or `visit`; `None`: never."""
        return None

    def next(self, group: int, awake: Collection[int], woken_at: Callable[[int], datetime]) -> datetime | None:
        """Say when the worker wants a call of `on_due`, or a key group one of `visit`; see `TimerQueue.next`."""
        return None
