"""Windows: Bytewax's windowing operators on plain values, with no logic for each key.

Owns what happens in which order to the values of a key, as Bytewax's window logic does it: late ones, inserts in the
order of their timestamps where that is asked for, merges, closed windows; and that a key is woken when its next window
closes, and not before. It does not own clocks, windows and accumulators, each of which is one of several kinds.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, TypeAlias

from bytewax_state.keyed.accumulators import Accumulators
from bytewax_state.keyed.clocks import Clock
from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.states import States
from bytewax_state.keyed.timed import TimedProcessor
from bytewax_state.keyed.windowed import END, NEVER, Entry, Window, Windowed, first_of, microseconds
from bytewax_state.keyed.windowers import Windower
from bytewax_state.store.timers import from_microseconds

ErrorFor: TypeAlias = Callable[[str, str], Exception]
"""From the key and the name of the method of Bytewax's logic in which a function of the user's failed."""

_timestamp_of = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Windowing:
    """What a windowed step is."""

    clock: Clock
    windower: Windower
    accumulators: Accumulators
    is_ordered: bool
    """Whether values come into windows in the order of their timestamps."""
    metadata: Callable[[int, int, Collection[int]], Any]
    """Makes what is emitted of a closed window: from when it opened, when it closed, and what was merged into it."""

    def due(self, state: Windowed) -> int | None:
        """Say when to wake a key; `None`: never."""
        asked, wake = state.next_us - self.windower.tick, state.next_us
        if self.is_ordered and state.queue:
            # As in Bytewax, it is the one that came first, and not the one with the first timestamp.
            asked, wake = min(asked, state.queue[0][0]), min(wake, state.head)
        return None if wake >= NEVER else self.clock.due(state, asked, wake)


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
        self._is_ordered = windowing.is_ordered
        self._error_for = error_for

    def on_items(self, items: list[Item]) -> list[Item]:
        """See `Processor.on_items`."""
        self._clock.begin()
        return super().on_items(items)

    def _on_values(self, by_key: dict[str, list[Any]], out: list[Item]) -> None:
        """See `TimedProcessor._on_values`."""
        live = self._column.live
        key = ""
        try:
            for key in sorted(by_key):
                self._take(key, live.get(key), by_key[key], out)
        except Exception as ex:
            raise self._error_for(key, "on_batch") from ex

    def _take(self, key: str, state: Windowed | None, values: Sequence[Any], out: list[Item]) -> None:
        if state is None:
            state = self._clock.new()
            self._column.add(key, state)
        late: list[Entry] = []
        entries, watermark = self._clock.take(state, values, late)
        for at, value in late:
            out.extend((key, (number, "L", value)) for number in self._windower.late(at))
        self._flush(key, state, entries, watermark, out)
        if self._is_empty(state):
            self._remove(key)
        else:
            self._schedule(key, state)

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
        try:
            self._flush(key, item, [], self._clock.watermark(item), out)
        except Exception as ex:
            raise self._error_for(key, "on_notify") from ex
        if self._is_empty(item):
            self._remove(key)
            return
        due = self._windowing.due(item)
        if due is not None:
            item.timer = due
            self._timers.again(key, from_microseconds(due), now)

    def _minds_end(self, item: Windowed) -> bool:
        return bool(item.windows or item.queue)

    def _end(self, key: str, item: Windowed, out: list[Item]) -> None:
        try:
            self._flush(key, item, [], END, out)
        except Exception as ex:
            raise self._error_for(key, "on_eof") from ex
        self._column.change((key,))
        if self._is_empty(item):
            self._remove(key)
        else:
            self._schedule(key, item)

    def _is_empty(self, state: Windowed) -> bool:
        return not state.queue and self._windower.is_empty(state)

    def _schedule(self, key: str, state: Windowed) -> None:
        """Schedule a key that may be scheduled already. A timer that is early is left alone: it costs a look."""
        due = self._windowing.due(state)
        if due is None:
            self._timers.drop(key)
            state.timer = NEVER
        elif due < state.timer:
            self._timers.set(key, from_microseconds(due), self._now)
            state.timer = due

    # -- what happens to values

    def _flush(self, key: str, state: Windowed, entries: list[Entry], watermark: int, out: list[Item]) -> None:
        """Put values into windows whose turn has come, and close windows."""
        if self._is_ordered or state.queue:
            entries = self._ready(state, entries, watermark)
        open_for, insert = self._windower.open, self._accumulators.insert
        for at, value in entries:
            for window in open_for(state, at):
                for emit in insert(window, value):
                    out.append((key, (window.id, "E", emit)))  # noqa: PERF401  # a generator would cost a frame
        if self._windower.merges:
            self._merge(key, out)
        if watermark >= state.next_us:
            for window in self._windower.close(state, watermark):
                _emit(key, window, self._accumulators.close(window), out)
                meta = self._windowing.metadata(window.open_us, window.close_us, window.merged or ())
                out.append((key, (window.id, "M", meta)))

    def _ready(self, state: Windowed, entries: list[Entry], watermark: int) -> list[Entry]:
        """Queue values, and take those out whose turn has come, in their order."""
        queue = [*(state.queue or ()), *entries]
        if not self._is_ordered:
            # An earlier execution was.
            ready, rest = queue, list[Entry]()
        else:
            ready = sorted((entry for entry in queue if entry[0] <= watermark), key=_timestamp_of)
            rest = [entry for entry in queue if entry[0] > watermark]
        state.queue, state.head = rest or None, first_of(rest)
        return ready

    def _merge(self, key: str, out: list[Item]) -> None:
        merges = self._windower.merges
        self._windower.merges = []
        for window, into in merges:
            _emit(key, into, self._accumulators.merge(into, window), out)


def _emit(key: str, window: Window, emits: Iterable[Any], out: list[Item]) -> None:
    out.extend((key, (window.id, "E", emit)) for emit in emits)
