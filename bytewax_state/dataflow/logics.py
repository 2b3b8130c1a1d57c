"""A logic of the user's, or of one of Bytewax's operators, as a row of state.

Owns what may happen to a logic between memory and its row: serialised, rebuilt, or kept because it would not come back
the same. It does not own when: the store decides. Called by the states of a step.
"""

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from bytewax.errors import BytewaxRuntimeError
from bytewax.operators import StatefulBatchLogic, StatefulLogic, _StatefulLogic
from bytewax.operators.windowing import _EventClockLogic, _WindowLogic, _WindowSnapshot

from bytewax_state.keyed.probing import Probing
from bytewax_state.keyed.step_codec import StepCodec

Logic = StatefulBatchLogic[Any, Any, Any]

UTC = timezone.utc


class Logics:
    """The logics of one step on one worker, as bytes."""

    def __init__(self, codec: StepCodec, builder: Callable[[Any], Logic], expects_timers: bool) -> None:
        """Init.

        :arg codec: Makes bytes of what `snapshot` returns.

        :arg builder: The step's own builder.

        :arg expects_timers: Whether it is to be expected that one ever wants to be notified.

        """
        self.step_id = codec.step_id
        self._codec = codec
        self._builder = builder
        self._probing = Probing(codec, lambda: builder(None).snapshot())
        self._clock_floor: datetime | None = None
        self.expects_timers = expects_timers

    def build(self, key: str) -> Logic:
        """Build the logic of a key that has no state.

        :raises TypeError: If the builder returned something else.

        """
        return self._build(None)

    def dump(self, key: str, item: Logic) -> bytes:
        """See `Objects.dump`.

        :raises UsageError: If what `snapshot` returned cannot be serialised.

        """
        return self._codec.encode(key, self._snapshot(key, item))

    def load(self, key: str, data: bytes) -> Logic:
        """See `Objects.load`.

        :raises SnapshotError: If what was stored cannot be read back.

        :raises BytewaxRuntimeError: If the builder fails on it.

        """
        state = self._codec.decode(key, data)
        try:
            logic = self._build(state)
        except Exception as ex:
            raise builder_error(self.step_id, key) from ex
        self._hold_clock(logic)
        return logic

    def due(self, key: str, item: Logic) -> datetime | None:
        """See `Objects.due`; asks as Bytewax does.

        :raises BytewaxRuntimeError: If the logic fails, or answers what is no time in UTC.

        """
        try:
            due = item.notify_at()
            return None if due is None else plain_time(due)
        except Exception as ex:
            raise error_in(self.step_id, key, "notify_at") from ex

    def spill(self, key: str, item: Logic) -> bytes | None:
        """See `Objects.spill`."""
        if self._probing.never_spill:
            return None
        snapshot = self._snapshot(key, item)
        if _is_absent(snapshot):
            # A builder takes `None` for a new key.
            return None
        data = self._codec.try_encode(snapshot)
        if data is None:
            return None
        if not self._probing.comes_back(data, self._again, lambda: self._snapshot(key, item)):
            return None
        self._note_clock(item)
        return data

    def _build(self, state: Any) -> Logic:
        logic = self._builder(state)
        if not isinstance(logic, StatefulBatchLogic):
            # Bytewax's own words; it makes this check on the logic of a key, which is ours here.
            msg = "logic must subclass `bytewax.operators.StatefulBatchLogic`"
            raise TypeError(msg)
        return logic

    def _snapshot(self, key: str, item: Logic) -> Any:
        try:
            return item.snapshot()
        except Exception as ex:
            raise snapshot_error(self.step_id, key) from ex

    def _again(self, state: Any) -> Any:
        return self._build(state).snapshot()

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

    :returns: Whether it has an `on_eof` of its own; the one of a wrapped `StatefulLogic` counts.

    """
    if isinstance(logic, _StatefulLogic) and not _overrides_on_eof(logic, _StatefulLogic):
        return _overrides_on_eof(logic.logic, StatefulLogic)
    return _overrides_on_eof(logic, StatefulBatchLogic)


def plain_time(due: Any) -> datetime:
    """Make a time plain, as Bytewax does: a subclass may compare and subtract in ways of its own.

    :arg due: What `notify_at` returned.

    :returns: The same instant.

    :raises TypeError: If Bytewax does not take it either, but would name no key of the user's for it.

    """
    if type(due) is datetime and due.tzinfo is UTC:
        return due
    if not isinstance(due, datetime) or due.tzinfo != UTC:
        msg = f"`notify_at` was not a `datetime` in `timezone.utc` or `None`; got {due!r} instead"
        raise TypeError(msg)
    return datetime.combine(datetime.date(due), datetime.time(due), UTC)


def error_in(step_id: str, key: str, method: str) -> BytewaxRuntimeError:
    """Make the error that Bytewax raises where a method of a logic fails.

    :arg step_id: Full id of the core step.

    :arg key: Of the logic.

    :arg method: Name of the method.

    :returns: Error, to be raised from what was raised.

    """
    return BytewaxRuntimeError(f"error calling `StatefulBatchLogic.{method}` in step {step_id!r} for key {key!r}")


def snapshot_error(step_id: str, key: str) -> BytewaxRuntimeError:
    """Make the error that Bytewax raises where a logic gives no snapshot; see `error_in`."""
    return BytewaxRuntimeError(f"error calling `StatefulBatchLogic.snapshot` in {step_id!r} for key {key!r}")


def builder_error(step_id: str, key: str) -> BytewaxRuntimeError:
    """Make the error that names a key from whose state no logic can be built; see `error_in`."""
    return BytewaxRuntimeError(f"error calling the builder of step {step_id!r} with the state of key {key!r}")


def _overrides_on_eof(logic: object, base: type) -> bool:
    """Tell whether the method is not the base's: its class may have one, or the object itself."""
    return getattr(getattr(logic, "on_eof", None), "__func__", None) is not getattr(base, "on_eof")  # noqa: B009


def _is_absent(snapshot: Any) -> bool:
    """Tell whether a builder, or that of a window inside, would take a snapshot for none at all."""
    if isinstance(snapshot, _WindowSnapshot):
        return any(state is None for state in snapshot.logic_states.values())
    return snapshot is None
