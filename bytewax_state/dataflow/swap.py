"""What runs a step: the one answer, found when the step is attached.

Owns the choice. A step of an operator of Bytewax's own is recognised by the operators around its core step; anything
else is run by its logics. Called by `attach`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.dataflow import f_repr
from bytewax.operators import _CollectState, _JoinState

from bytewax_state.codecs import codec
from bytewax_state.dataflow import windowing
from bytewax_state.dataflow.builders import may_notify
from bytewax_state.dataflow.logic_processor import LogicProcessor
from bytewax_state.dataflow.logics import Logics, error_in
from bytewax_state.keyed.collecting import CollectedValues, CollectProcessor
from bytewax_state.keyed.folding import FoldProcessor
from bytewax_state.keyed.joining import JoinProcessor
from bytewax_state.keyed.mapping import MapProcessor
from bytewax_state.keyed.processor import Processor
from bytewax_state.keyed.states import States
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.registry import State, logic_state, window_state
from bytewax_state.settings import Settings
from bytewax_state.store.store import Store


class MakeProcessor(Protocol):
    """Makes the processor of a step on one worker."""

    def __call__(self, store: Store, mark: bytes, now: Callable[[], datetime]) -> Processor:
        """Make it.

        :arg store: Where it keeps what it has.

        :arg mark: Eight bytes that no other store has.

        :arg now: Tells the time.

        """
        ...


@dataclass(frozen=True, slots=True)
class Runner:
    """What runs a step on each worker."""

    states: Mapping[str, State]
    """Name to state: what its rows hold."""
    is_timed: bool
    """Whether the step may have timers."""
    make: MakeProcessor


def choose(step: Any, outer: tuple[Any, ...], settings: Settings) -> Runner:
    """Choose what runs a step.

    :arg step: Core step of Bytewax's.

    :arg outer: The steps around it, innermost last.

    :arg settings: Of the step.

    :returns: What runs it.

    """
    return (
        _by_values(step.step_id, outer, settings)
        or _by_windows(step.step_id, outer, settings)
        or by_logics(step.step_id, step.builder, settings, _may_notify(step, outer))
    )


def by_logics(
    step_id: str,
    builder: Callable[[Any], Any],
    settings: Settings,
    expects_timers: bool = True,
) -> Runner:
    """Run a step by its logics.

    :arg step_id: Full id of the core step.

    :arg builder: Builds them.

    :arg settings: Of the step.

    :arg expects_timers: Whether it is to be expected that one of them ever does. If one does all the same, its key
        group may come to know of its first timers only when it is woken next.

    :returns: What runs it.

    """

    def make(store: Store, mark: bytes, now: Callable[[], datetime]) -> Processor:
        logics = Logics(StepCodec(step_id, codec(settings.codec)), builder, expects_timers)
        return LogicProcessor(States(store, settings.key_groups, logics, mark, now), logics, now)

    return Runner(logic_state(settings.codec), expects_timers, make)


def _by_values(step_id: str, outer: tuple[Any, ...], settings: Settings) -> Runner | None:
    """Run a step on plain values, if it is one of an operator of Bytewax's of which that is known."""
    if len(outer) < 2 or type(outer[-1]) is not class_of("stateful"):
        return None
    error_for = lambda key: error_in(step_id, key, "on_batch")  # noqa: E731
    if type(outer[-2]) is class_of("collect"):
        return _by_collecting(step_id, outer[-2], settings, error_for)
    processor = _PROCESSORS.get(type(outer[-2]))
    if processor is None:
        return None

    def make(store: Store, mark: bytes, now: Callable[[], datetime]) -> Processor:
        return processor(store, StepCodec(step_id, codec(settings.codec)), error_for, outer)

    return Runner(logic_state(settings.codec), False, make)


def _by_windows(step_id: str, outer: tuple[Any, ...], settings: Settings) -> Runner | None:
    """Run a step by its windows, if these and their clock are Bytewax's own."""
    if not windowing.is_known(outer):
        return None

    def make(store: Store, mark: bytes, now: Callable[[], datetime]) -> Processor:
        rows = StepCodec(step_id, codec(settings.codec))
        return windowing.processor_of(outer, store, settings, rows, mark, now)

    return Runner(window_state(windowing.kind_of(outer), settings.codec), True, make)


def _by_collecting(
    step_id: str, collect: Any, settings: Settings, error_for: Callable[[str], Exception]
) -> Runner | None:
    if (type(collect.timeout), type(collect.max_size)) != (timedelta, int):
        # A time to which another kind of interval is added may become one of another kind.
        return None

    def make(store: Store, mark: bytes, now: Callable[[], datetime]) -> Processor:
        values = CollectedValues(StepCodec(step_id, codec(settings.codec)), _CollectState)
        states = States(store, settings.key_groups, values, mark, now)
        return CollectProcessor(states, error_for, collect.timeout, collect.max_size, now)

    return Runner(logic_state(settings.codec), True, make)


def _map_processor(
    store: Store, codec: StepCodec, error_for: Callable[[str], Exception], outer: tuple[Any, ...]
) -> Processor:
    # The other operator is this one with a mapper that emits the one value of the user's mapper.
    is_flat = len(outer) < 3 or type(outer[-3]) is not class_of("stateful_map")
    operator = outer[-2] if is_flat else outer[-3]

    def expected(answer: object) -> str:
        return (
            f"return value of `mapper` {f_repr(operator.mapper)} in step {operator.step_id!r} must be a 2-tuple of "
            f"`(updated_state, {'emit_values' if is_flat else 'emit_value'})`; got a {type(answer)!r} instead"
        )

    return MapProcessor(store, codec, error_for, operator.mapper, is_flat, expected)


def _fold_processor(
    store: Store, codec: StepCodec, error_for: Callable[[str], Exception], outer: tuple[Any, ...]
) -> Processor:
    operator = outer[-2]
    # The other operators are this one, with a folder that begins with the first value, and then is the user's reducer.
    is_reduce = len(outer) > 2 and type(outer[-3]) is class_of("reduce_final")
    reducer = outer[-3].reducer if is_reduce else operator.folder
    return FoldProcessor(store, codec, error_for, operator.builder, operator.folder, reducer)


def _join_processor(
    store: Store, codec: StepCodec, error_for: Callable[[str], Exception], outer: tuple[Any, ...]
) -> Processor:
    join = outer[-2]
    return JoinProcessor(
        store, codec, error_for, len(join.sides.stream_ids), join.insert_mode, join.emit_mode, _JoinState
    )


def _may_notify(step: Any, outer: tuple[Any, ...]) -> bool:
    """Tell whether it is to be expected that a logic of a step ever wants to be notified; see `may_notify`."""
    is_wrapped = bool(outer) and type(outer[-1]) is class_of("stateful")
    return may_notify(outer[-1].builder if is_wrapped else step.builder)


def class_of(operator: str) -> Any:
    """Return the class of the steps that an operator of Bytewax's makes; `None` if there is none."""
    return getattr(getattr(op, operator, None), "_op_cls", None)


_PROCESSORS = {
    class_of("stateful_flat_map"): _map_processor,
    class_of("fold_final"): _fold_processor,
    class_of("join"): _join_processor,
}
"""Class of the steps of an operator to what makes the processor of one, given the steps around the core step."""
