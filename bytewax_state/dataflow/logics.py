"""A logic of the user's, or of one of Bytewax's operators, as a row of state.

Owns what may happen to a logic between memory and its row: serialised, rebuilt, or kept because it would not come back
the same. It does not own when: the store decides. Called by the stores, through `Rows`.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bytewax.errors import BytewaxRuntimeError
from bytewax.operators import StatefulBatchLogic, StatefulLogic, _StatefulLogic
from bytewax.operators.windowing import _EventClockLogic, _WindowLogic, _WindowSnapshot

from bytewax_state.codecs import Codec, decode
from bytewax_state.errors import BytewaxStateError, UsageError
from bytewax_state.likeness import Likeness, compare

logger = logging.getLogger("bytewax_state")

Logic = StatefulBatchLogic[Any, Any, Any]
Inner = StatefulLogic[Any, Any, Any]

PROBES = 16
"""How many of a step's first spills are rebuilt and serialised again, to see whether they come back the same."""


class LogicRows:
    """The logics of one step on one worker, as rows."""

    def __init__(self, step_id: str, builder: Callable[[Any], Logic], codec: Codec) -> None:
        """Init.

        :arg step_id: Full id of the core step.

        :arg builder: The step's own builder.

        :arg codec: Serialises what `snapshot` returns.

        """
        self._step_id = step_id
        self._builder = builder
        self._codec = codec
        self._probes = PROBES
        # Bytes of a logic in its initial state, once a probe showed that they rebuild it. They need no further probe.
        self._blank: bytes | None = None
        self._resident = False
        self._warned = False
        self._clock_floor: datetime | None = None
        self._inner_builder: Callable[[Any], Inner]
        self._build_inner = self._rebuild  # one object for all keys
        self.wakes = False
        """Whether logics of this step may want to be notified, as one had a `notify_at` of its own."""

    def build(self, key: str) -> Logic:
        """Build the logic of a key that has no state.

        :arg key: Key.

        :returns: Logic.

        :raises TypeError: If the builder returned something else.

        """
        return self._build(None)

    def dump(self, key: str, item: Logic) -> bytes:
        """See `Rows.dump`.

        :raises UsageError: If what `snapshot` returned cannot be serialised.

        """
        snapshot = self._snapshot(key, item)
        try:
            return self._codec.encode(snapshot)
        except UsageError as ex:
            msg = f"the snapshot of step {self._step_id!r} for key {key!r} cannot be stored: {ex}"
            raise UsageError(msg) from ex

    def load(self, key: str, data: bytes) -> Logic:
        """See `Rows.load`.

        :raises SnapshotError: If what was stored cannot be read back.

        :raises BytewaxRuntimeError: If the builder fails on it.

        """
        try:
            logic = self._build(decode(data))
        except BytewaxStateError as ex:
            msg = f"the state of step {self._step_id!r} for key {key!r} cannot be read back: {ex}"
            raise type(ex)(msg) from ex
        except Exception as ex:
            msg = f"error calling the builder of step {self._step_id!r} with the state of key {key!r}"
            raise BytewaxRuntimeError(msg) from ex
        self._hold_clock(logic)
        return logic

    def spill(self, key: str, item: Logic) -> bytes | None:
        """See `Rows.spill`."""
        if self._resident:
            return None
        snapshot = self._snapshot(key, item)
        if _is_absent(snapshot):
            # A builder takes `None` for a new key.
            return None
        try:
            data = self._codec.encode(snapshot)
        except UsageError as ex:
            self._warn("stays in memory for some keys, as their snapshots cannot be stored", ex)
            return None
        if self._probes > 0 and not self._comes_back(key, item, data):
            self._resident = True
            return None
        self._note_clock(item)
        return data

    def _build(self, state: Any) -> Logic:
        logic = self._builder(state)
        if not isinstance(logic, StatefulBatchLogic):
            # Bytewax's own words; it makes this check on the logic of a key, which is ours here.
            msg = "logic must subclass `bytewax.operators.StatefulBatchLogic`"
            raise TypeError(msg)
        if not self.wakes:
            self._note_class(logic)
        return logic

    def _note_class(self, logic: Logic) -> None:
        if type(logic) is not _StatefulLogic:
            self.wakes = _overrides(logic, StatefulBatchLogic, "notify_at")
            return
        # It builds its next one by itself, when one is discarded within a batch.
        self._inner_builder, logic.builder = logic.builder, self._build_inner
        self.wakes = _inner_wakes(logic.logic)

    def _rebuild(self, state: Any) -> Inner:
        inner = self._inner_builder(state)
        self.wakes = self.wakes or _inner_wakes(inner)
        return inner

    def _snapshot(self, key: str, item: Logic) -> Any:
        try:
            return item.snapshot()
        except Exception as ex:
            msg = f"error calling `StatefulBatchLogic.snapshot` in {self._step_id!r} for key {key!r}"
            raise BytewaxRuntimeError(msg) from ex

    def _comes_back(self, key: str, item: Logic, data: bytes) -> bool:
        """Tell whether a logic may be spilled: unless it is shown that another one would come back."""
        if data == self._blank:
            return True
        try:
            before = decode(data)
        except BytewaxStateError as ex:
            self._warn("stays in memory, as a stored snapshot of it cannot be read back", ex)
            return False
        try:
            again = self._build(decode(data)).snapshot()
        except Exception as ex:  # the user's code may raise anything
            self._warn("stays in memory, as its builder fails on its own snapshot; so will a resume", ex)
            return False
        found = compare(before, again)
        # A snapshot that is another one at each call, as it holds the time, says nothing of the builder.
        if found is Likeness.DIFFERENT and compare(before, self._snapshot(key, item)) is Likeness.SAME:
            self._warn(
                "stays in memory, as its builder does not rebuild what its snapshot says; nor will a resume", None
            )
            return False
        if found is Likeness.SAME and self._is_new(before):
            self._blank = data  # a builder that ignores its state has passed too
        else:
            self._probes -= 1
        return True

    def _is_new(self, snapshot: Any) -> bool:
        try:
            return compare(self._builder(None).snapshot(), snapshot) is Likeness.SAME
        except Exception:  # the user's code may raise anything
            return False

    def _warn(self, what: str, ex: Exception | None) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("the state of step %r %s%s", self._step_id, what, f": {ex!r}" if ex else "")

    def _note_clock(self, logic: Logic) -> None:
        """Remember how far the event clock of a window logic has come, which its snapshot does not say."""
        clock = getattr(logic, "clock", None)
        if isinstance(clock, _EventClockLogic) and (self._clock_floor is None or clock._system_now > self._clock_floor):
            self._clock_floor = clock._system_now

    def _hold_clock(self, logic: Logic) -> None:
        """Keep a rebuilt event clock from running backwards, which Bytewax asserts it does not.

        The system's clock may have been set back since the logic was spilled or the run was stopped.
        """
        clock = getattr(logic, "clock", None)
        if isinstance(logic, _WindowLogic) and isinstance(clock, _EventClockLogic):
            reached = clock.state.system_time_of_max_event
            floor = reached if self._clock_floor is None else max(reached, self._clock_floor)
            if clock._system_now < floor:
                clock._system_now = floor


def overrides_on_eof(logic: Logic) -> bool:
    """Tell whether the end of input means anything to a logic.

    :arg logic: Logic.

    :returns: Whether it has an `on_eof` of its own; the one of a wrapped `StatefulLogic` counts.

    """
    if isinstance(logic, _StatefulLogic):
        inner = logic.logic
        assert inner is not None  # or Bytewax would have discarded it
        return _overrides(inner, StatefulLogic, "on_eof")
    return _overrides(logic, StatefulBatchLogic, "on_eof")


def _inner_wakes(inner: Inner | None) -> bool:
    return _overrides(inner, StatefulLogic, "notify_at")


def _overrides(logic: object, base: type, method: str) -> bool:
    """Tell whether a method is not the base's: its class may have one, or the object itself, or neither."""
    found = getattr(logic, method, None)
    return getattr(found, "__func__", None) is not getattr(base, method)


def _is_absent(snapshot: Any) -> bool:
    """Tell whether a builder, or that of a window inside, would take a snapshot for none at all."""
    if isinstance(snapshot, _WindowSnapshot):
        return any(state is None for state in snapshot.logic_states.values())
    return snapshot is None
