"""Windowers: which windows a timestamp is in, which of them merge, and which are over.

Owns what Bytewax's windowers of the same names do, on numbers. It does not own what is in a window (`accumulators`),
nor when a watermark comes somewhere (`clocks`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bytewax_state.keyed.windowed import END, NEVER, OUT_OF_RANGE, Window, Windowed

LATE_SESSION = -1
"""The id that stands for the session of a value that is late."""


class Windower(ABC):
    """What windows there are."""

    kind: str
    """What a row of such windows is called in a registry."""
    lag = 0
    """How far behind the end of a window the watermark is when it closes."""
    may_merge = False
    """Whether one window may be merged into another: after all values that were put into windows at once."""
    tick = 0
    """By how much earlier Bytewax would look whether the watermark is there."""

    def __init__(self) -> None:
        """Init."""
        self.merges: list[tuple[Window, Window]] = []
        """Windows that are no longer there, each with the one into which it is to be merged, since the last look."""

    @abstractmethod
    def open(self, state: Windowed, at: int) -> Sequence[Window]:
        """Find the windows that a timestamp is in, and open those that are not."""

    @abstractmethod
    def late(self, at: int) -> Sequence[int]:
        """Return the ids of windows that a timestamp would have been in."""

    @abstractmethod
    def closing(self, at: int) -> int:
        """Return the watermark at which the first window closes that a timestamp is in; it may be later."""

    @abstractmethod
    def is_empty(self, state: Windowed) -> bool:
        """Tell whether nothing of the windows of a key need be kept."""

    def close(self, state: Windowed, watermark: int) -> list[Window]:
        """Take away the windows that are over."""
        limit = watermark - self.lag
        closed = [window for window in state.windows.values() if window.close_us <= limit]
        for window in closed:
            del state.windows[window.id]
        self.note_next(state)
        return closed

    def note_next(self, state: Windowed) -> None:
        """Note when the first window closes."""
        state.next_us = min([window.close_us for window in state.windows.values()], default=NEVER) + self.lag


class Sliding(Windower):
    """Windows of one length, one of which begins at each multiple of an offset."""

    kind = "window"

    def __init__(self, length: int, offset: int, align_to: int) -> None:
        """Init.

        :arg length: Of a window; positive.

        :arg offset: From one to the next; positive.

        :arg align_to: Where window 0 begins.

        """
        super().__init__()
        self._length = length
        self._offset = offset
        self._align_to = align_to

    def open(self, state: Windowed, at: int) -> Sequence[Window]:
        """See `Windower.open`."""
        return [self._window(state, number) for number in self.late(at)]

    def late(self, at: int) -> Sequence[int]:
        """See `Windower.late`."""
        since = at - self._align_to
        return range((since - self._length) // self._offset + 1, since // self._offset + 1)

    def closing(self, at: int) -> int:
        """See `Windower.closing`."""
        # It begins more than a length before the end of the one before it, so after `at - length`.
        begun = (at - self._align_to - self._length) // self._offset + 1
        return self._align_to + begun * self._offset + self._length

    def is_empty(self, state: Windowed) -> bool:
        """See `Windower.is_empty`."""
        return not state.windows

    def _window(self, state: Windowed, number: int) -> Window:
        window = state.windows.get(number)
        if window is None:
            begin = self._align_to + number * self._offset
            end = begin + self._length
            if end > END:
                raise OverflowError(OUT_OF_RANGE)
            window = state.windows[number] = Window(number, begin, end)
            if end < state.next_us:
                state.next_us = end
        return window


class Tumbling(Sliding):
    """Sliding windows, each of which begins where the one before ends."""

    def open(self, state: Windowed, at: int) -> Sequence[Window]:
        """See `Windower.open`."""
        number = (at - self._align_to) // self._offset
        window = state.windows.get(number)
        return (self._window(state, number) if window is None else window,)


class Session(Windower):
    """Windows that end where nothing comes for some time."""

    kind = "session"
    may_merge = True
    tick = 1

    def __init__(self, gap: int) -> None:
        """Init.

        :arg gap: For how long nothing has to come; not negative.

        """
        super().__init__()
        self._gap = gap
        # A session is over once the watermark is more than a gap behind its last timestamp.
        self.lag = gap + 1

    def open(self, state: Windowed, at: int) -> Sequence[Window]:
        """See `Windower.open`."""
        gap = self._gap
        for window in state.windows.values():
            until, since = window.open_us - at, at - window.close_us
            if until <= 0 and since <= 0:
                return (window,)
            if 0 < until <= gap:
                window.open_us = at
            elif 0 < since <= gap:
                window.close_us = at
            else:
                continue
            self._merge(state)
            return (window,)
        state.last_id += 1
        window = state.windows[state.last_id] = Window(state.last_id, at, at)
        self.note_next(state)
        return (window,)

    def late(self, at: int) -> Sequence[int]:
        """See `Windower.late`."""
        return (LATE_SESSION,)

    def closing(self, at: int) -> int:
        """See `Windower.closing`."""
        return at + self.lag

    def is_empty(self, state: Windowed) -> bool:
        """See `Windower.is_empty`; ids must not come again, so the last one is always kept."""
        return False

    def _merge(self, state: Windowed) -> None:
        """Merge windows of which one has grown, into the earlier ones."""
        if len(state.windows) > 1:
            last, *others = sorted(state.windows.values(), key=_open_us)
            for window in others:
                if window.open_us - last.close_us > self._gap:
                    last = window
                    continue
                last.close_us = max(last.close_us, window.close_us)
                last.merged = [*(last.merged or ()), window.id]
                del state.windows[window.id]
                self.merges.append((window, last))
        self.note_next(state)


def _open_us(window: Window) -> int:
    return window.open_us
