"""Windowed steps of Bytewax's: whether they can run on plain values, and what its objects become then.

Owns what is known of Bytewax's clocks, windowers and operators, each of which is recognised by its class, compared
exactly; and the states that were made of snapshots of its window logics. It does not own what is done with them
(`keyed.windows`). Called by `swap`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from typing import Any

import bytewax.operators.windowing as win
from bytewax.operators import _get_system_utc, _identity
from bytewax.operators.windowing import _EventClockState, _SessionWindowerState, _SlidingWindowerState, _WindowSnapshot

from bytewax_state.dataflow.logics import builder_error, error_in, plain_time, snapshot_error
from bytewax_state.errors import IncompatibleError
from bytewax_state.keyed.accumulators import Accumulators, Fold, Join, UserLogic
from bytewax_state.keyed.clocks import Clock, EventTime, Now, SystemTime, UserTime
from bytewax_state.keyed.processor import Processor
from bytewax_state.keyed.states import States
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.keyed.window_rows import WindowRows
from bytewax_state.keyed.windowed import DAY, SECOND, Window, Windowed, microseconds
from bytewax_state.keyed.windowers import Session, Sliding, Tumbling, Windower
from bytewax_state.keyed.windows import Windowing, WindowProcessor
from bytewax_state.settings import Settings
from bytewax_state.store.store import Store
from bytewax_state.store.timers import from_microseconds

ZERO = timedelta(0)


def is_known(outer: tuple[Any, ...]) -> bool:
    """Tell whether a step can run on plain values.

    :arg outer: The steps around its core step, innermost last.

    """
    if not outer or type(outer[-1]) is not class_of("window"):
        return False
    return _windower(outer) is not None and _clock(outer, _get_system_utc) is not None


def kind_of(outer: tuple[Any, ...]) -> str:
    """Return what a row of a known step is called in its registry."""
    windower = _windower(outer)
    assert windower is not None
    return windower.kind


def processor_of(
    outer: tuple[Any, ...], store: Store, settings: Settings, codec: StepCodec, mark: bytes, now: Now
) -> Processor:
    """Make the processor of a known step on one worker.

    :arg settings: Of the step.

    :arg mark: Eight bytes that no other store has.

    :arg now: Tells the time.

    """
    windower, clock = _windower(outer), _clock(outer, now)
    assert windower is not None
    assert clock is not None
    forget = None if settings.forget_sessions is None else _duration(settings.forget_sessions)
    windowing = Windowing(clock, windower, _accumulators(outer), outer[-1].ordered, _metadata, forget)
    error_for = partial(error_in, codec.step_id)
    insert_failed = partial(error_for, method="on_batch")
    snapshot_failed, builder_failed = partial(snapshot_error, codec.step_id), partial(builder_error, codec.step_id)
    converted = partial(_converted, codec.step_id, windowing)
    rows = WindowRows(codec, windowing, converted, insert_failed, snapshot_failed, builder_failed)
    states = States(store, settings.key_groups, rows, mark, now)
    return WindowProcessor(states, windowing, error_for, now)


def class_of(operator: str) -> Any:
    """Return the class of the steps that a windowing operator of Bytewax's makes."""
    return getattr(getattr(win, operator), "_op_cls")  # noqa: B009  # a private name


def _windower(outer: tuple[Any, ...]) -> Windower | None:
    """Make a windower of Bytewax's; `None` if it is another one, or its numbers are such that it fails."""
    windower = outer[-1].windower
    if type(windower) is win.SessionWindower:
        return Session(_duration(windower.gap)) if type(windower.gap) is timedelta else None
    if type(windower) not in (win.TumblingWindower, win.SlidingWindower):
        return None
    length, align_to = windower.length, windower.align_to
    offset = windower.offset if type(windower) is win.SlidingWindower else length
    if not (_is_positive(length) and _is_positive(offset) and _is_plain(align_to)):
        return None
    if length == offset:
        return Tumbling(_duration(length), _duration(offset), microseconds(align_to))
    return Sliding(_duration(length), _duration(offset), microseconds(align_to))


def _clock(outer: tuple[Any, ...], now: Now) -> Clock | None:
    clock = outer[-1].clock
    if type(clock) is win.SystemClock:
        return SystemTime(now)
    wait = getattr(clock, "wait_for_system_duration", None)
    if type(clock) is not win.EventClock or type(wait) is not timedelta or wait < ZERO:
        return None
    to_system = None if clock.to_system_utc is _identity else partial(_plain_system_time, clock.to_system_utc)
    if clock.now_getter is _get_system_utc:
        return EventTime(clock.ts_getter, _duration(wait), now, to_system)
    return UserTime(clock.ts_getter, _duration(wait), clock.now_getter, to_system)


def _accumulators(outer: tuple[Any, ...]) -> Accumulators:
    operator = outer[-2] if len(outer) > 1 else None
    if operator is not None and type(operator) is class_of("fold_window"):
        return Fold(operator.builder, operator.folder, operator.merger)
    if operator is not None and type(operator) is class_of("join_window"):
        return Join(len(operator.sides.stream_ids), operator.insert_mode, operator.emit_mode)
    return UserLogic(outer[-1].builder)


def _duration(duration: timedelta) -> int:
    return duration.days * DAY + duration.seconds * SECOND + duration.microseconds


def _is_positive(duration: Any) -> bool:
    return type(duration) is timedelta and duration > ZERO


def _is_plain(time: Any) -> bool:
    return type(time) is datetime and time.tzinfo is timezone.utc


def _plain_system_time(to_system: Callable[[datetime], Any], timestamp: datetime) -> datetime | None:
    time = to_system(timestamp)
    return None if time is None else plain_time(time)


def _metadata(window: Window) -> win.WindowMetadata:
    return win.WindowMetadata(_time(window.open_us), _time(window.close_us), set(window.merged or ()))


_time = lru_cache(maxsize=1024)(from_microseconds)
"""Turns a number into a time; windows of many keys have the same."""


def _converted(step_id: str, windowing: Windowing, key: str, snapshot: Any) -> Windowed:
    """Make a state of what the snapshot of Bytewax's logic for a key was.

    :raises IncompatibleError: If that was of another windower, or of no window logic at all.

    """
    is_session = isinstance(windowing.windower, Session)
    state_class = _SessionWindowerState if is_session else _SlidingWindowerState
    theirs: Any = getattr(snapshot, "windower_state", snapshot)
    if type(snapshot) is not _WindowSnapshot or type(theirs) is not state_class:
        found = type(theirs).__name__
        msg = (
            f"the state of step {step_id!r} for key {key!r} is a {found}; expected a {state_class.__name__}: it has "
            "become a step of another kind; bring the step back as it was, or give the new one another step id"
        )
        raise IncompatibleError(msg)
    state = windowing.clock.restored(*_time_of(snapshot.clock_state))
    state.queue = [(microseconds(at), value) for value, at in snapshot.queue] or None
    state.last_id = getattr(theirs, "max_key", state.last_id)
    metas = getattr(theirs, "sessions" if is_session else "opened")
    for number, meta in metas.items():
        begin, end, merged = microseconds(meta.open_time), microseconds(meta.close_time), list(meta.merged_ids)
        state.windows[number] = Window(number, begin, end, snapshot.logic_states[number], merged or None)
    return state


def _time_of(clock_state: Any) -> tuple[int, int | None]:
    """Return what a clock keeps: its time, and its lead unless it is a system clock."""
    if type(clock_state) is not _EventClockState:
        return 0, None
    now = microseconds(clock_state.system_time_of_max_event)
    return now, microseconds(clock_state.watermark_base) - now
