"""That the flows of the tests hold every stateful operator that Bytewax has."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import CodeType
from typing import Any

import bytewax.operators
import bytewax.operators as op
import bytewax.operators.windowing
import pytest
from bytewax.dataflow import Dataflow, Operator
from bytewax.testing import TestingSource

from bytewax_state import Settings
from bytewax_state.dataflow.attach import _stateful, stateful_steps
from bytewax_state.dataflow.execution import utc_now
from bytewax_state.dataflow.logic_processor import LogicProcessor
from bytewax_state.dataflow.swap import choose
from bytewax_state.keyed.collecting import CollectProcessor
from bytewax_state.keyed.folding import FoldProcessor
from bytewax_state.keyed.joining import JoinProcessor
from bytewax_state.keyed.mapping import MapProcessor
from bytewax_state.keyed.processor import Processor
from bytewax_state.keyed.windows import WindowProcessor
from bytewax_state.store.store import Store, heap
from tests.dataflow.flows import OPERATORS, flow_of

MODULES = (bytewax.operators, bytewax.operators.windowing)
CORE = bytewax.operators.stateful_batch
WINDOWED = {name for name in OPERATORS if name.endswith("window")}
SWAPPED: dict[str, type[Processor]] = {
    **dict.fromkeys(["stateful_map", "stateful_flat_map"], MapProcessor),
    **dict.fromkeys(["count_final", "fold_final", "max_final", "min_final", "reduce_final"], FoldProcessor),
    "collect": CollectProcessor,
    "join": JoinProcessor,
    **dict.fromkeys(WINDOWED, WindowProcessor),
}
"""Operators that run on plain values, and what runs them."""


def test_every_stateful_operator_is_there() -> None:
    """Whatever of Bytewax's modules may come down to the core step, by the names in its code."""
    found = {_step(function) for module in MODULES for function in vars(module).values() if _is_stateful(function)}
    assert {type(_outermost(operator)) for operator in OPERATORS} == found
    assert len(found) == 19


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_is_one_core_step(operator: str) -> None:
    """So one of `attach`'s stores is one operator."""
    assert len(stateful_steps(flow_of(operator, [], []))) == 1


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_on_plain_values_are_recognised(operator: str) -> None:
    """And no other is taken for one of them."""
    ((_, step, outer),) = _stateful(flow_of(operator, [], []).substeps)
    made = choose(step, outer, Settings(uri=None)).make(Store(None, heap, 128, range(128), {}), bytes(8), utc_now)
    assert type(made) is SWAPPED.get(operator, LogicProcessor)


class Interval(timedelta):
    """An interval of a class of somebody else's, which may add up to times of another class."""


def test_a_timeout_of_another_class_is_left_to_the_logics() -> None:
    """As what becomes of it is not known."""
    flow = Dataflow("flow")
    op.collect("s", op.input("inp", flow, TestingSource([])), Interval(days=1), 7)
    ((_, step, outer),) = _stateful(flow.substeps)
    made = choose(step, outer, Settings(uri=None)).make(Store(None, heap, 128, range(128), {}), bytes(8), utc_now)
    assert type(made) is LogicProcessor


@pytest.mark.parametrize("operator", OPERATORS)
def test_where_timers_are_expected(operator: str) -> None:
    """Not of the operators that have none, nor of builders that are classes without any."""
    ((_, step, outer),) = _stateful(flow_of(operator, [], []).substeps)
    is_timed = operator == "collect" or operator.endswith("window")
    assert choose(step, outer, Settings(uri=None)).is_timed == is_timed


def _outermost(operator: str) -> Operator:
    (step,) = (step for step in flow_of(operator, [], []).substeps if step.step_id == "flow.s")
    return step


def _step(function: Any) -> type[Operator]:
    return function._op_cls


def _is_stateful(function: Any) -> bool:
    return hasattr(function, "_op_cls") and CORE in _reached(function, {})


def _reached(function: Callable[..., Any], seen: dict[Any, None]) -> dict[Any, None]:
    """Collect what a function may call, of the two modules, and what that may call."""
    if function not in seen:
        seen[function] = None
        builder = getattr(function, "__wrapped__", function)
        for name in _names(builder.__code__):
            for module in (builder.__globals__, *map(vars, MODULES)):
                called = module.get(name)
                if hasattr(called, "__code__") and getattr(called, "__module__", "").startswith("bytewax.operators"):
                    _reached(called, seen)
    return seen


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)
