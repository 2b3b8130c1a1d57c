"""Windows: Bytewax's windowing operators on plain values, with no logic for each key.

Owns what happens in which order to the values of a key, as Bytewax's window logic does it: late ones, inserts in the
order of their timestamps where that is asked for, merges, closed windows; and that a key is woken when its next window
closes, and not before. It does not own clocks, windows and accumulators, each of which is one of several kinds.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, TypeAlias

from bytewax_state.keyed.accumulators import Accumulators
from bytewax_state.keyed.clocks import Clock
from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.states import States
from bytewax_state.keyed.timed import TimedProcessor
from bytewax_state.keyed.windowed import (
    END,
    FORGOTTEN,
    NEVER,
    OUT_OF_RANGE,
    ROOM,
    Entry,
    Window,
    Windowed,
    first_of,
    microseconds,
)
from bytewax_state.keyed.windowers import Windower
from bytewax_state.store.timers import from_microseconds

ErrorFor: TypeAlias = Callable[[str, str], Exception]
"""From the key and the name of the method of Bytewax's logic in which a function of the user's failed."""

_timestamp_of = itemgetter(0)


@dataclass(slots=True)
class Windowing:
    """What a windowed step is."""

    clock: Clock
    windower: Windower
    accumulators: Accumulators
    is_ordered: bool
    """Whether values come into windows in the order of their timestamps."""
    metadata: Callable[[Window], Any]
    """Makes what is emitted of a closed window."""

    forget: int | None = None
    """How long a key is remembered that has nothing open; `None`: for ever."""
    is_lazy: bool = field(init=False)
    """Whether nobody can tell when values are put into windows, as long as that is before these close."""
    is_eager: bool = field(init=False)
    """Whether values are put into windows as they come."""

    def __post_init__(self) -> None:
        """Find out."""
        self.is_lazy = self.accumulators.is_silent and self.clock.is_plain and not self.windower.may_merge
        self.is_eager = not (self.is_lazy or self.is_ordered)

    def due(self, state: Windowed) -> int | None:
        """Say when to wake a key; `None`: never.

        :raises OverflowError: If Bytewax fails on it too, as it would look at the key after the last of all times.

        """
        if state.wake >= NEVER:
            return None if self.forget is None or not self.clock.is_system else min(state.now + self.forget, END)
        due = self._due(state)
        return due if due is not None and due <= END else None

    def _due(self, state: Windowed) -> int | None:
        if self.is_lazy and state.lead <= 0:
            # Bytewax would look from some time before on, again and again.
            return state.wake - state.lead
        asked = state.next_us - self.windower.tick
        if self.is_ordered and state.queue:
            # As in Bytewax, it is the one that came first, and not the one with the first timestamp.
            asked = min(asked, state.queue[0][0])
        if asked > END:
            raise OverflowError(OUT_OF_RANGE)
        return self.clock.due(state, asked, state.wake)

    def insert(self, key: str, state: Windowed, watermark: int, out: list[Item]) -> None:
        """Put values into windows whose turn has come.

        :arg out: Gets what is emitted.

        """
        open_for, insert = self.windower.open, self.accumulators.insert
        for at, value in self._ready(state, watermark):
            for window in open_for(state, at):
                for emit in insert(window, value):
                    out.append((key, (window.id, "E", emit)))  # noqa: PERF401  # a generator would cost a frame
        if self.windower.merges:
            merges, self.windower.merges = self.windower.merges, []
            for window, into in merges:
                out.extend([(key, (into.id, "E", emit)) for emit in self.accumulators.merge(into, window)])

    def _ready(self, state: Windowed, watermark: int) -> list[Entry]:
        """Take the values out of the queue whose turn has come, in their order."""
        queue = state.queue or []
        state.queue = None
        if not self.is_ordered:
            return queue
        ready = [entry for entry in queue if entry[0] <= watermark]
        if len(ready) < len(queue):
            state.queue = [entry for entry in queue if entry[0] > watermark]
            state.room = max(ROOM, 2 * len(state.queue))
        if len(ready) > 1:
            ready.sort(key=_timestamp_of)
        return ready

    def note_wake(self, state: Windowed) -> None:
        """Note at which watermark there is something to do."""
        state.wake = state.next_us
        if state.queue and self.is_lazy and state.lead <= 0:
            state.wake = min(state.wake, self.windower.closing(first_of(state.queue)))
        elif state.queue and self.is_ordered:
            state.wake = min(state.wake, first_of(state.queue))


class WindowProcessor(TimedProcessor[Windowed]):
    """Runs the windows of a step's keys on one worker; see `Processor`."""

    is_timed = True

    def __init__(
        self, states: States[Windowed], windowing: Windowing, error_for: ErrorFor, now: Callable[[], datetime]
    ) -> None:
        """Init.

        :arg states: Of the keys.

        :arg windowing: What the step is.

        :arg error_for: Makes the error that names a key.

        :arg now: Tells the time.

        """
        super().__init__(states, now)
        self._windowing = windowing
        self._clock = windowing.clock
        self._windower = windowing.windower
        self._accumulators = windowing.accumulators
        self._error_for = error_for

    def on_items(self, items: list[Item]) -> list[Item]:
        """See `Processor.on_items`."""
        self._clock.begin()
        return super().on_items(items)

    def _on_values(self, by_key: dict[str, list[Any]], out: list[Item]) -> None:
        """See `TimedProcessor._on_values`."""
        live, take, closing = self._column.live, self._clock.take, self._windower.closing
        is_lazy, is_eager = self._windowing.is_lazy, self._windowing.is_eager
        late: list[Entry] = []
        key = ""
        try:
            for key in sorted(by_key):
                state = live.get(key) or self._new(key)
                first = take(state, by_key[key], late)
                if late:
                    self._tell_late(key, late, out)
                if first < state.wake:
                    state.wake = min(state.wake, closing(first) if is_lazy else first)
                lead = state.lead
                if state.now + lead >= state.wake or is_eager or (is_lazy and _must_not_wait(state)):
                    self._flush(key, state, state.now + lead, out)
                if state.wake - lead < state.timer:
                    self._schedule(key, state)
        except Exception as ex:
            raise self._error_for(key, "on_batch") from ex

    def _new(self, key: str) -> Windowed:
        state = self._clock.new()
        self._column.add(key, state)
        return state

    def _tell_late(self, key: str, late: list[Entry], out: list[Item]) -> None:
        for at, value in late:
            out.extend([(key, (number, "L", value)) for number in self._windower.late(at)])
        late.clear()

    def _notify_due(self, now: datetime, groups: Collection[int], out: list[Item]) -> None:
        self._clock.begin()
        super()._notify_due(now, groups, out)

    def _notify(self, key: str, item: Windowed, now: datetime, out: list[Item]) -> None:
        self._timers.drop(key)
        self._column.change((key,))
        item.timer = NEVER
        due = self._windowing.due(item)
        if due is None or due > microseconds(now):
            # The timer was early. Bytewax would not look at the key yet, though it might find something.
            self._schedule(key, item)
            return
        if item.wake >= NEVER:
            # Nothing is open, and nothing came for so long that the key is to be forgotten.
            self._remove(key)
            return
        try:
            self._flush(key, item, self._clock.read(item) + item.lead, out)
        except Exception as ex:
            raise self._error_for(key, "on_notify") from ex
        due = self._windowing.due(item)
        if due is not None:
            item.timer = due
            self._timers.again(key, from_microseconds(due), now)

    def _minds_end(self, item: Windowed) -> bool:
        return bool(item.windows or item.queue)

    def _end(self, key: str, item: Windowed, out: list[Item]) -> None:
        self._column.change((key,))
        try:
            self._flush(key, item, END, out)
            self._schedule(key, item)
        except Exception as ex:
            raise self._error_for(key, "on_eof") from ex

    def _schedule(self, key: str, state: Windowed) -> None:
        """Schedule a key that may be scheduled already. A timer that is early is left alone: it costs a look."""
        due = self._windowing.due(state)
        if due is not None and due < state.timer:
            self._timers.set(key, from_microseconds(due), self._now)
            state.timer = due

    def _flush(self, key: str, state: Windowed, watermark: int, out: list[Item]) -> None:
        """Put values into windows whose turn has come, and close windows; a key of which nothing is left goes."""
        self._windowing.insert(key, state, watermark, out)
        if watermark >= state.next_us:
            for window in self._windower.close(state, watermark):
                for emit in self._accumulators.close(window):
                    out.append((key, (window.id, "E", emit)))  # noqa: PERF401  # a generator would cost a frame
                out.append((key, (window.id, "M", self._windowing.metadata(window))))
            if not state.queue and self._windower.is_empty(state):
                self._remove(key)
                state.timer = FORGOTTEN
        self._windowing.note_wake(state)


def _must_not_wait(state: Windowed) -> bool:
    """Tell whether values that may wait have to be put into windows all the same.

    They are too many; or the watermark is ahead of the time, so that it matters when Bytewax would look.
    """
    return state.lead > 0 or len(state.queue or ()) > state.room
