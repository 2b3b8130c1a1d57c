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
from bytewax_state.keyed.probing import Probing
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.keyed.windowed import Window, Windowed
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

    def __init__(
        self,
        codec: StepCodec,
        windowing: Windowing,
        converted: Callable[[str, Any], Windowed],
        insert_failed: Callable[[str], Exception],
        snapshot_failed: Callable[[str], Exception],
        builder_failed: Callable[[str], Exception],
    ) -> None:
        """Init.

        :arg codec: Makes bytes of accumulators and values.

        :arg windowing: What the step is.

        :arg converted: Makes a state of what the snapshot of Bytewax's logic for a key was, accumulators as stored.

        :arg insert_failed: Makes the error that names a key whose values cannot be put into windows.

        :arg snapshot_failed: Makes the error that names a key whose accumulators give no snapshot.

        :arg builder_failed: Makes the error that names a key whose accumulators cannot be rebuilt.

        """
        self._codec = codec
        self._windowing = windowing
        self._accumulators = windowing.accumulators
        self._converted = converted
        self._insert_failed = insert_failed
        self._snapshot_failed = snapshot_failed
        self._builder_failed = builder_failed
        self._probing = Probing(codec)

    def due(self, key: str, item: Windowed) -> datetime | None:
        """See `Objects.due`."""
        due = self._windowing.due(item)
        return None if due is None else from_microseconds(due)

    def dump(self, key: str, item: Windowed) -> bytes:
        """See `Objects.dump`."""
        return self._row(item, self._codec.encode(key, _packed(self._contents(key, item))))

    def spill(self, key: str, item: Windowed) -> bytes | None:
        """See `Objects.spill`."""
        if self._probing.never_spill:
            return None
        contents = self._contents(key, item)
        if any(snapshot is None for snapshot in contents[: len(item.windows)]):
            # It stands for a new accumulator, which this one is not.
            return None
        data = self._codec.try_encode(_packed(contents))
        return self._row(item, data) if data is not None and self._comes_back(key, item, data) else None

    def load(self, key: str, data: bytes) -> Windowed:
        """See `Objects.load`.

        :raises SnapshotError: If it cannot be read, or belongs to another kind of step.

        :raises BytewaxRuntimeError: If code of the user's fails on it.

        """
        if data[:1] == _HEAD[:1]:
            state = self._parsed(key, data)
        else:
            state = self._converted(key, self._codec.decode(key, data))
        try:
            for window in state.windows.values():
                window.acc = self._accumulators.rebuilt(window.acc)
        except Exception as ex:
            raise self._builder_failed(key) from ex
        self._windowing.windower.note_next(state)
        self._windowing.note_wake(state)
        return state

    def _contents(self, key: str, item: Windowed) -> list[Any]:
        """Return what is in the windows, as it is stored, and in the queue."""
        if self._windowing.is_lazy:
            # What is stored is what Bytewax would store: all values are in windows that can be. Elsewhere only an
            # earlier execution may have left such values, and what the windows emit for them would be lost here.
            try:
                self._windowing.insert(key, item, item.now + item.lead, [])
            except Exception as ex:
                raise self._insert_failed(key) from ex
            self._windowing.note_wake(item)
        snapshot = self._accumulators.snapshot
        try:
            found = [snapshot(window.acc) for window in item.windows.values()]
        except Exception as ex:
            raise self._snapshot_failed(key) from ex
        return [*found, *[value for _, value in item.queue]] if item.queue else found

    def _comes_back(self, key: str, item: Windowed, data: bytes) -> bool:
        if not self._accumulators.is_probed:
            return True
        rebuilt, snapshot, count = self._accumulators.rebuilt, self._accumulators.snapshot, len(item.windows)

        def again(packed: Any) -> Any:
            contents = _unpacked(packed, count + len(item.queue or ()))
            return _packed([snapshot(rebuilt(one)) for one in contents[:count]] + contents[count:])

        return self._probing.comes_back(data, again, lambda: _packed(self._contents(key, item)))

    def _row(self, item: Windowed, contents: bytes) -> bytes:
        return make_row(item, self._windowing.clock.stored(item), contents)

    def _parsed(self, key: str, data: bytes) -> Windowed:
        if data[:2] != _HEAD:
            msg = f"a row of windows has version {data[1]}; this version of bytewax_state reads {VERSION}; upgrade it"
            raise IncompatibleError(msg)
        try:
            now, lead, last_id, windows, queued, packed = msgpack.unpackb(data[2:])
            contents = _unpacked(self._codec.decode(key, packed), len(windows) + len(queued))
            state = self._windowing.clock.restored(now, lead)
            state.last_id = last_id
            for (number, begin, end, *merged), acc in zip(windows, contents, strict=False):
                state.windows[number] = Window(number, begin, end, acc, merged or None)
            state.queue = [*zip(queued, contents[len(windows) :], strict=True)] or None
        except (ValueError, TypeError) as ex:
            msg = f"a row of windows of {len(data)} bytes cannot be read: {ex}; restore an older snapshot"
            raise SnapshotCorruptError(msg) from ex
        return state


def _packed(contents: list[Any]) -> Any:
    """Make one value of all, as some may be parts of several."""
    return contents[0] if len(contents) == 1 else contents or None


def _unpacked(packed: Any, count: int) -> list[Any]:
    return [packed] if count == 1 else packed or []
