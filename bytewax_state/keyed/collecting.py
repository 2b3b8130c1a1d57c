"""Collecting: `collect` on plain values and timers.

Owns what Bytewax's operator of this name does. It does not own where the values live, nor when a key is due (`states`).

What is collected of a key is a list: when the key is due, and behind that the values.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias

from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.states import States
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.keyed.timed import TimedProcessor

Collected: TypeAlias = list[Any]


class CollectState(Protocol):
    """What Bytewax's logic keeps of a key."""

    acc: list[Any]
    """The values."""
    timeout_at: datetime | None
    """When it is due."""


class CollectedValues:
    """What is known of the values of a key; see `Objects`."""

    expects_timers = True

    def __init__(self, codec: StepCodec, make_state: Callable[[list[Any], datetime | None], CollectState]) -> None:
        """Init.

        :arg codec: Makes bytes of what a logic's snapshot would be.

        :arg make_state: Makes that.

        """
        self._codec = codec
        self._make_state = make_state

    def dump(self, key: str, item: Collected) -> bytes:
        """See `Objects.dump`."""
        return self._codec.encode(key, self._snapshot(item))

    def spill(self, key: str, item: Collected) -> bytes | None:
        """See `Objects.spill`."""
        return self._codec.try_encode(self._snapshot(item))

    def load(self, key: str, data: bytes) -> Collected:
        """See `Objects.load`; of `None`, Bytewax makes what a key has that is new."""
        snapshot: CollectState | None = self._codec.decode(key, data)
        return [None] if snapshot is None else [snapshot.timeout_at, *snapshot.acc]

    def due(self, key: str, item: Collected) -> datetime | None:
        """See `Objects.due`."""
        due: datetime | None = item[0]
        return due

    def _snapshot(self, item: Collected) -> CollectState:
        return self._make_state(item[1:], item[0])


class CollectProcessor(TimedProcessor[Collected]):
    """Collects the values of each of a step's keys on one worker; see `Processor`."""

    is_timed = True

    def __init__(
        self,
        states: States[Collected],
        error_for: Callable[[str], Exception],
        timeout: timedelta,
        max_size: int,
        now: Callable[[], datetime],
    ) -> None:
        """Init.

        :arg states: Where the values are kept.

        :arg error_for: Makes the error that names a key which could not be scheduled.

        :arg timeout: How long after the last value a key is due.

        :arg max_size: How many values are emitted at once, even if the key is not due.

        :arg now: Tells the time.

        """
        super().__init__(states, now)
        self._error_for = error_for
        self._timeout = timeout
        self._max_size = max_size

    def _on_values(self, by_key: dict[str, list[Any]], out: list[Item]) -> None:
        """See `TimedProcessor._on_values`."""
        live, max_size, now = self._column.live, self._max_size, self._now()
        keys = sorted(by_key)
        due = self._due(keys[0], now)
        for key in keys:
            values = by_key[key]
            item = live.get(key)
            if item is None:
                item = [due]
                self._column.add(key, item)
            else:
                item[0] = due
            if len(item) + len(values) <= max_size:
                item += values
            else:
                self._fill(key, item, values, out)
            if len(item) == 1:
                self._remove(key)
            else:
                self._put_off(key, due, now)

    def _due(self, key: str, now: datetime) -> datetime:
        """Say when keys are due that get a value now.

        :arg key: The first of them.

        """
        try:
            return now + self._timeout
        except OverflowError as ex:
            raise self._error_for(key) from ex

    def _fill(self, key: str, item: Collected, values: list[Any], out: list[Item]) -> None:
        """Collect values of which some are emitted at once."""
        for value in values:
            item.append(value)
            if len(item) > self._max_size:
                out.append((key, item[1:]))
                del item[1:]

    def _put_off(self, key: str, due: datetime, now: datetime) -> None:
        """Schedule a key. As in Bytewax, one that is due already is notified, once its values have come."""
        if not self._timers.is_due(key, now):
            self._timers.set(key, due, self._now)

    def _notify(self, key: str, item: Collected, now: datetime, out: list[Item]) -> None:
        self._end(key, item, out)

    def _minds_end(self, item: Collected) -> bool:
        return True

    def _end(self, key: str, item: Collected, out: list[Item]) -> None:
        out.append((key, item[1:]))
        self._remove(key)
