"""States that are hard to tell from others, or that hold one object twice: each time the results of plain Bytewax."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import numpy as np
import pytest

from bytewax_state import Settings
from tests.dataflow.flows import ITEMS, SLIDING, START, STOPPED
from tests.dataflow.hazards import Count, Way, batched, cut, noting, warnings
from tests.dataflow.runs import Step, results

BATCHES = cut(ITEMS[:130], 13)


def _aliased(state: Any, value: int) -> tuple[Any, int]:
    if state is None:
        now = [0]
        state = {"now": now, "all": [now]}
    state["now"][0] += value
    return state, state["all"][-1][0]


class Aliased(Count):
    """Has one object in two places of its snapshot."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        out = []
        for value in values:
            self.state, last = _aliased(self.state, value)
            out.append(last)
        return out, False

    def snapshot(self) -> Any:
        return self.state


class Marking(win.WindowLogic[Any, str, Any]):
    """Changes what it has, which other windows have too, with each value; tells it when it closes."""

    def __init__(self, seen: list[Any] | None) -> None:
        self.seen = seen or []

    def on_value(self, value: Any) -> Iterable[str]:
        for one in self.seen:
            one[0] += 1
        self.seen.append(value)
        return []

    def on_merge(self, original: Any) -> Iterable[str]:
        return []

    def on_close(self) -> Iterable[str]:
        return [str(self.seen)]

    def snapshot(self) -> Any:
        return list(self.seen)


def _overlapping(up: Any) -> Any:
    """Put each value, which is one object, into several windows."""
    clock = dataclasses.replace(STOPPED, ts_getter=lambda value: START + timedelta(seconds=value[1]))
    up = op.map("list", up, lambda item: (item[0], [0, item[1]]))
    return win.window("s", up, clock, SLIDING, Marking).down


SHARING: dict[str, Step] = {
    "stateful_map": lambda up: op.stateful_map("s", up, _aliased),
    "stateful_batch": batched(Aliased),
    "window": _overlapping,
}


@pytest.mark.parametrize("step", SHARING.values(), ids=SHARING)
def test_an_object_in_two_places_of_a_state_stays_one(step: Step, way: Way) -> None:
    """A change that is made in one place shows in the other, whatever became of the state in between."""
    assert way.results(step, BATCHES) == way.plain(step, BATCHES)


class Bag:
    """A state without an equality of its own, with a set that comes back in another order: it was large once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.numbers = set(range(2048))
        self.numbers -= self.numbers - {5, 9, 1030}
        self.numbers.add(4096)


class Touchy(Bag):
    """Cannot be compared."""

    def __eq__(self, other: object) -> bool:
        msg = "boom"
        raise RuntimeError(msg)

    __hash__ = None  # type: ignore[assignment]


class Unequal(Bag):
    """Is equal to nothing."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class Flattering(Bag):
    """Is equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Timed(Bag):
    """Holds the time when it is pickled."""

    def __reduce__(self) -> Any:
        return _timed, (self.count, time.perf_counter_ns())


def _timed(count: int, _: int) -> Timed:
    return Timed(count)


STATES: dict[str, Callable[[int], Any]] = {
    "no equality": Bag,
    "equality that fails": Touchy,
    "equal to nothing": Unequal,
    "equal to everything": Flattering,
    "array": lambda count: np.array([count, 1]),
    "nan": lambda count: (count, float("nan")),
    "list of a set": lambda count: [count, *{object.__repr__(object()) for _ in range(20)}],
    "time of the call": Timed,
}


def _count_of(state: Any) -> int:
    return int(state.count if isinstance(state, Bag) else state[0])


class Keeping(Count):
    """Keeps what it was rebuilt from, until the count changes."""

    def __init__(self, make: Callable[[int], Any], state: Any) -> None:
        super().__init__(None if state is None else _count_of(state))
        self.make, self.state = make, state

    def snapshot(self) -> Any:
        if self.state is None or _count_of(self.state) != self.count:
            self.state = self.make(self.count)
        return self.state


@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_a_state_is_spilled_however_it_compares(
    make: Callable[[int], Any], spilling: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory stays bounded, and nothing untrue is said of what a resume will do."""
    states: list[Any] = []
    step = batched(noting(lambda state: Keeping(make, state), states))
    ours = results(step, cut([("a", 1), ("b", 1)] * 40), spilling)
    assert ours == results(batched(Count), cut([("a", 1), ("b", 1)] * 40))
    assert {1, 39} <= {_count_of(state) for state in states if state is not None}
    assert ["it cannot be told" in one for one in warnings(caplog)] == [True] * (make is Timed)


@pytest.mark.parametrize("make", [Bag, Touchy, Flattering])
def test_a_builder_that_ignores_its_state_is_noticed_however_that_compares(
    make: Callable[[int], Any], spilling: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Equality with everything does not speak for it."""
    step, batches = batched(lambda state: Keeping(make, None)), cut([("a", 1), ("b", 1)] * 40)
    assert results(step, batches, spilling) == results(step, batches)
    (warning,) = warnings(caplog)
    assert "does not rebuild what its snapshot says; nor will a resume" in warning


def test_a_builder_that_changes_an_order_is_told_of(spilling: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """It may be without meaning, as that of a set is: the state is spilled, and no more is said than is known."""

    class Turning(Count):
        def __init__(self, state: Any) -> None:
            super().__init__(state and len(state))
            self.state = [*reversed(state or [])]

        def snapshot(self) -> Any:
            return [*self.state, *range(len(self.state), self.count)]

    results(batched(Turning), cut([("a", 1), ("b", 1)] * 20), spilling)
    (warning,) = warnings(caplog)
    assert "cannot be told whether it comes back the same" in warning
    assert "resume" not in warning
