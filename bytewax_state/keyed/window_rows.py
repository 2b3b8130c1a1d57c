"""Rows of windowed keys.

Owns their bytes, and that rows which Bytewax's window logics became are read too. It does not own the bytes of what is
in windows (`codecs`), nor what else a row says (`values`). Called by the states of a windowed step.

    tag (1: 3), version (1: 1), and in MessagePack a list: the clock's time, its lead (nil: a system clock), the newest
    id of a session, for each window a list (id, open, close, ids of those merged into it), for each queued value its
    timestamp, and the bytes of all accumulators and values: those of the one there is, or of a list
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgpack

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.keyed.windowed import Window, Windowed, first_of
from bytewax_state.keyed.windows import Windowing
from bytewax_state.store.timers import from_microseconds

TAG = 3
"""First byte of a row of ours; other ones are those of codecs."""

VERSION = 1

_HEAD = bytes((TAG, VERSION))


_pack: Callable[[Any], bytes] = msgpack.packb


def make_row(state: Windowed, lead: int | None, contents: bytes) -> bytes:
    """Make bytes of a state.

    :arg lead: See `Clock.stored`.

    :arg contents: Bytes of what is in its windows and its queue.

    """
    windows = [[one.id, one.open_us, one.close_us, *(one.merged or ())] for one in state.windows.values()]
    queued = [at for at, _ in state.queue or ()]
    return _HEAD + _pack([state.now, lead, state.last_id, windows, queued, contents])


class WindowRows:
    """The states of a windowed step on one worker as rows; see `Objects`."""

    expects_timers = True

    def __init__(self, codec: StepCodec, windowing: Windowing, converted: Callable[[str, Any], Windowed]) -> None:
        """Init.

        :arg codec: Makes bytes of accumulators and values.

        :arg windowing: What the step is.

        :arg converted: Makes a state of what the snapshot of Bytewax's logic for a key was, accumulators as stored.

        """
        self._codec = codec
        self._windowing = windowing
        self._converted = converted

    def due(self, key: str, item: Windowed) -> datetime | None:
        """See `Objects.due`."""
        due = self._windowing.due(item)
        return None if due is None else from_microseconds(due)

    def dump(self, key: str, item: Windowed) -> bytes:
        """See `Objects.dump`."""
        return self._row(item, self._codec.encode(key, self._contents(item)))

    def spill(self, key: str, item: Windowed) -> bytes | None:
        """See `Objects.spill`."""
        if any(map(self._windowing.accumulators.is_absent, [window.acc for window in item.windows.values()])):
            return None
        data = self._codec.try_encode(self._contents(item))
        return None if data is None else self._row(item, data)

    def load(self, key: str, data: bytes) -> Windowed:
        """See `Objects.load`.

        :raises SnapshotError: If it cannot be read, or belongs to another kind of step.

        """
        if data[:1] == _HEAD[:1]:
            state = self._parsed(key, data)
        else:
            state = self._converted(key, self._codec.decode(key, data))
        rebuilt = self._windowing.accumulators.rebuilt
        for window in state.windows.values():
            window.acc = rebuilt(window.acc)
        state.head = first_of(state.queue or ())
        self._windowing.windower.note_next(state)
        return state

    def _contents(self, item: Windowed) -> Any:
        """Return all values of a state, as one value: some may be parts of several others."""
        snapshot = self._windowing.accumulators.snapshot
        found = [snapshot(window.acc) for window in item.windows.values()]
        found += [value for _, value in item.queue or ()]
        return found[0] if len(found) == 1 else found or None

    def _row(self, item: Windowed, contents: bytes) -> bytes:
        return make_row(item, self._windowing.clock.stored(item), contents)

    def _parsed(self, key: str, data: bytes) -> Windowed:
        if data[:2] != _HEAD:
            msg = (
                f"a row of windows has version {data[1:2]!r}; this version of bytewax_state reads {VERSION}; upgrade it"
            )
            raise IncompatibleError(msg)
        try:
            now, lead, last_id, windows, queued, contents = msgpack.unpackb(data[2:])
            state = self._windowing.clock.restored(now, lead)
            state.last_id = last_id
            found = self._codec.decode(key, contents)
            values = [found] if len(windows) + len(queued) == 1 else found or ()
            accs, entries = values[: len(windows)], values[len(windows) :]
            for (number, begin, end, *merged), acc in zip(windows, accs, strict=True):
                state.windows[number] = Window(number, begin, end, acc, merged or None)
            state.queue = [*zip(queued, entries, strict=True)] or None
        except (ValueError, TypeError) as ex:
            msg = f"a row of windows of {len(data)} bytes cannot be read: {ex}; restore an older snapshot"
            raise SnapshotCorruptError(msg) from ex
        return state
