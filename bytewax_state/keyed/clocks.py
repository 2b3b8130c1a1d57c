"""Clocks: what time it is for a key, and how far its watermark has come.

Owns what Bytewax's `EventClock` and `SystemClock` do, on numbers; and when the time comes at which a watermark has
arrived somewhere, which is known exactly, as watermarks go on with the system's time. It does not own what happens then
(`windows`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, TypeAlias

from bytewax_state.keyed.windowed import DAY, NEVER, SECOND, Entry, Windowed, microseconds, plain
from bytewax_state.store.timers import ORIGIN, from_microseconds

Now: TypeAlias = Callable[[], datetime]

ToSystem: TypeAlias = Callable[[datetime], datetime | None]
"""From a timestamp to the system's time at which to look whether the watermark has come that far; `None`: never."""


class Clock(ABC):
    """What time it is for a key. The system's time is read once for all keys of a call."""

    is_system = True
    """Whether it goes by the system's time."""
    is_plain = True
    """Whether timestamps are the system's times, as far as anybody asks for one at the time of the other."""

    def __init__(self, now: Now) -> None:
        """Init.

        :arg now: Tells the system's time.

        """
        self._now = now
        self._time = 0

    def begin(self) -> None:
        """Read the time; called before all else in each call of Bytewax's."""
        self._time = microseconds(self._now())

    def read(self, state: Windowed) -> int:
        """Return the time of a key."""
        now = self._time
        if now < state.now:
            # Bytewax holds it too.
            return state.now
        state.now = now
        return now

    @abstractmethod
    def new(self) -> Windowed:
        """Make the state of a key that has none."""

    @abstractmethod
    def restored(self, now: int, lead: int | None) -> Windowed:
        """Make the state of a key, of which all but its time is still to be added.

        :arg now: See `Windowed`.

        :arg lead: See `Windowed`; `None` if that was of another kind of clock.

        """

    @abstractmethod
    def stored(self, state: Windowed) -> int | None:
        """Return what `restored` takes for a lead."""

    @abstractmethod
    def take(self, state: Windowed, values: Sequence[Any], late: list[Entry]) -> int:
        """Take values into the queue of a key, unless they are late, and move its watermark on.

        :arg late: Gets those that are.

        :returns: The first timestamp of the others; `NEVER`: there is none.

        """

    @abstractmethod
    def due(self, state: Windowed, asked: int, wake: int) -> int | None:
        """Say when to look at a key without items.

        :arg asked: The timestamp for which Bytewax would look at it.

        :arg wake: The watermark at which something happens; not less.

        :returns: Time, which may be after the last that there is; `None`: never.

        """


class SystemTime(Clock):
    """The time at which an item comes is its timestamp, and the watermark."""

    def read(self, state: Windowed) -> int:
        """See `Clock.read`."""
        # It may go back, on a host whose clock is behind that of the run before. Bytewax keeps no time of this clock.
        # Were it held, windows would stand still until the host's clock is again as late.
        state.now = self._time
        return self._time

    def new(self) -> Windowed:
        """See `Clock.new`."""
        return Windowed(self._time, 0)

    def restored(self, now: int, lead: int | None) -> Windowed:
        """See `Clock.restored`; Bytewax keeps no state of such a clock."""
        return Windowed(now if lead is None else 0, 0)

    def stored(self, state: Windowed) -> None:
        """See `Clock.stored`."""
        return

    def take(self, state: Windowed, values: Sequence[Any], late: list[Entry]) -> int:
        """See `Clock.take`; none is late."""
        now = self.read(state)
        state.queue = [*(state.queue or ()), *((now, value) for value in values)]
        return now

    def due(self, state: Windowed, asked: int, wake: int) -> int | None:
        """See `Clock.due`."""
        return wake


class EventTime(Clock):
    """The watermark is behind the latest of the timestamps in the values, and goes on with the system's time."""

    def __init__(
        self, timestamp_of: Callable[[Any], datetime], wait: int, now: Now, to_system: ToSystem | None = None
    ) -> None:
        """Init.

        :arg timestamp_of: The user's.

        :arg wait: How far the watermark is behind the latest timestamp; not negative.

        :arg now: Tells the system's time.

        :arg to_system: The user's; `None`: timestamps are the system's times.

        """
        super().__init__(now)
        self._timestamp_of = timestamp_of
        self._wait = wait
        self.is_plain = to_system is None
        self._to_system = to_system

    def new(self) -> Windowed:
        """See `Clock.new`; its watermark is at the origin."""
        return Windowed(self._time, -self._time)

    def restored(self, now: int, lead: int | None) -> Windowed:
        """See `Clock.restored`."""
        if lead is not None:
            return Windowed(now, lead)
        self.begin()
        return self.new()

    def stored(self, state: Windowed) -> int:
        """See `Clock.stored`."""
        return state.lead

    def take(self, state: Windowed, values: Sequence[Any], late: list[Entry]) -> int:
        """See `Clock.take`."""
        now = self.read(state)
        watermark, first = now + state.lead, NEVER
        timestamp_of, wait, queue = self._timestamp_of, self._wait, state.queue
        if queue is None:
            queue = state.queue = []
        for value in values:
            time = timestamp_of(value)
            passed = (time if type(time) is datetime else plain(time)) - ORIGIN
            at = passed.days * DAY + passed.seconds * SECOND + passed.microseconds
            if at - wait > watermark:
                watermark = at - wait
            if at < watermark:
                late.append((at, value))
                continue
            queue.append((at, value))
            if at < first:
                first = at
        state.lead = watermark - now
        return first

    def due(self, state: Windowed, asked: int, wake: int) -> int | None:
        """See `Clock.due`."""
        # At the time that it asks for, Bytewax would look at the key, and from then on again and again, until the
        # watermark has arrived.
        looks = self._looks(asked)
        return None if looks is None else max(looks, wake - state.lead)

    def _looks(self, asked: int) -> int | None:
        if self._to_system is None:
            return asked
        time = self._to_system(from_microseconds(asked))
        return None if time is None else microseconds(time)


class UserTime(EventTime):
    """An event clock to which the user says what time it is.

    When that time comes in the system's time is not known. So a key is looked at when Bytewax would look at it, again
    and again.
    """

    def __init__(
        self, timestamp_of: Callable[[Any], datetime], wait: int, now: Now, to_system: ToSystem | None = None
    ) -> None:
        """Init; see `EventTime`.

        :arg now: The user's.

        """
        super().__init__(timestamp_of, wait, now, to_system)
        self.is_system = self.is_plain = False

    def begin(self) -> None:
        """See `Clock.begin`; as in Bytewax, the time is read for each key."""

    def new(self) -> Windowed:
        """See `Clock.new`."""
        self._time = _user_time(self._now())
        return super().new()

    def read(self, state: Windowed) -> int:
        """See `Clock.read`."""
        self._time = _user_time(self._now())
        return super().read(state)

    def due(self, state: Windowed, asked: int, wake: int) -> int | None:
        """See `Clock.due`."""
        return self._looks(asked)


def _user_time(time: datetime) -> int:
    """Turn a time into a number; it may be naive, as it is only compared with others of its kind."""
    return microseconds(time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc))
