"""What a logic may answer when it is called: each time what Bytewax makes of it, though the logic was spilled."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.operators import StatefulLogic

from bytewax_state import Settings
from tests.dataflow.hazards import Count, Way, batched, cut
from tests.dataflow.runs import LONG, Batch, Run, Step, causes, results

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)
MOMENT = timedelta(seconds=0.02)
METHODS = ["on_batch", "on_notify", "on_eof"]


class Returns(Count):
    """Returns from one of its methods what the test wants; at once notified, once."""

    method = ""
    value: Any = None

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.count += 1
        return self._returned("on_batch")

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        self.count += 100
        return self._returned("on_notify")

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return self._returned("on_eof")

    def notify_at(self) -> datetime | None:
        return PAST if self.method == "on_notify" and self.count < 100 else None

    def _returned(self, method: str) -> Any:
        return self.value() if method == self.method else ([], False)


def _returning(method: str, value: Callable[[], Any]) -> Step:
    return batched(type("Returning", (Returns,), {"method": method, "value": staticmethod(value)}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("emit", [(1, 2), deque([1, 2]), range(2), b"ab", ()], ids=lambda emit: type(emit).__name__)
def test_emit_may_be_any_sequence(emit: Any, method: str, spilling: Settings) -> None:
    """As Bytewax takes it."""
    step = _returning(method, lambda: (emit, False))
    batches: list[Batch] = [[("a", 1)], MOMENT, [("b", 1)]]
    theirs = results(step, batches)
    assert results(step, batches, spilling) == theirs
    assert theirs.get("a ", []) == list(emit)


WRONG: dict[str, Callable[[], Any]] = {
    "generator": lambda: ((value for value in (1, 2)), False),
    "set": lambda: ({1, 2}, False),
    "str": lambda: ("ab", False),
    "nothing": lambda: (None, False),
    "int": lambda: ([], 1),
    "no-answer": lambda: ([], None),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_bytewax_does_not_take(wrong: str, method: str, spilling: Settings) -> None:
    """Gives its error, in its words, with the step and the user's key."""
    step = _returning(method, WRONG[wrong])
    theirs, ours = _failure(step, None), _failure(step, spilling)
    said = str(theirs[-2]).partition(": ")[2]
    assert said.startswith(("`emit` was not a `list`; got a", "`is_complete` was not a `bool`; got a"))
    assert isinstance(theirs[-1], TypeError)
    assert isinstance(ours[-1], TypeError)
    assert str(ours[-1]) == said
    assert _names(ours, method)


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_keeps_its_chain(method: str, spilling: Settings) -> None:
    """Also in a logic that was spilled: the original is there, and method, step and key are named."""

    def fail() -> Any:
        msg = "boom"
        raise ZeroDivisionError(msg)

    ours = _failure(_returning(method, fail), spilling)
    assert isinstance(ours[-1], ZeroDivisionError)
    assert _names(ours, method)


def _failure(step: Step, settings: Settings | None) -> list[BaseException]:
    """Run a step that fails, and return the chain of its error, the original last."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        results(step, [[("some key", 1)], MOMENT], settings)
    return list(causes(caught.value))


def _names(chain: list[BaseException], method: str) -> bool:
    return any(method in str(one) and "'flow.s'" in str(one) and "'some key'" in str(one) for one in chain)


class Completes(Count):
    """Ends with its third value, or where the values tell it to."""

    def __init__(self, state: Any = None) -> None:
        self.count, self.last = state or (0, None)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.last = values[-1]
        emit, _ = super().on_batch(values)
        return emit, self.count == 3

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        return [f"notified at {self.count}"], True

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [f"end at {self.count}"], self.last == "until the end"

    def notify_at(self) -> datetime | None:
        return PAST if self.last == "until notified" else None

    def snapshot(self) -> Any:
        return (self.count, self.last)


class HooksOfItsOwn(Count):
    """Gets its hooks when it is built, and has none in its class."""

    def __init__(self, state: int | None = None) -> None:
        super().__init__(state)
        self.on_eof = lambda: ([f"eof {self.count}"], False)  # type: ignore[method-assign]
        self.on_notify = lambda: ([f"notified {self.count}"], True)  # type: ignore[method-assign]
        self.notify_at = lambda: PAST if self.count == 3 else None  # type: ignore[method-assign]


class InnerHooks(StatefulLogic[Any, Any, Any]):
    """The same, for one item at a time."""

    def __init__(self, state: int | None = None) -> None:
        self.count = state or 0
        self.on_eof = lambda: ([f"eof {self.count}"], False)  # type: ignore[method-assign]
        self.on_notify = lambda: ([f"notified {self.count}"], True)  # type: ignore[method-assign]
        self.notify_at = lambda: PAST if self.count == 3 else None  # type: ignore[method-assign]

    def on_item(self, value: Any) -> tuple[Iterable[Any], bool]:
        self.count += 1
        return [self.count], False

    def snapshot(self) -> Any:
        return self.count


HOOKS: dict[str, Step] = {
    "batch": batched(HooksOfItsOwn),
    "wrapped": lambda up: op.stateful("s", up, InnerHooks),
}


@pytest.mark.parametrize("step", HOOKS.values(), ids=HOOKS)
def test_hooks_may_be_the_objects_own(step: Step, spilling: Settings) -> None:
    """Not only its class's."""
    batches = cut([(f"key{number % 5}", number) for number in range(17)])
    ours = results(step, batches, spilling)
    assert ours == results(step, batches)
    assert any("notified 3" in values for values in ours.values())
    assert any("eof 4" in values or "eof 1" in values for values in ours.values())


def test_a_key_that_is_complete_starts_anew(way: Way) -> None:
    """Whatever rows it had, and whichever call ended it."""
    items = [("a", 1), ("b", "until the end"), ("c", 1), ("c", "until notified"), *[("a", 1)] * 5, ("c", 1)]
    items += [("b", 1), ("a", 1), ("b", "until the end"), ("c", 1), ("a", 1), ("c", 1)]
    ours = way.results(batched(Completes), cut(items))
    assert ours == way.plain(batched(Completes), cut(items))
    assert [one for one in ours["a "] if isinstance(one, int)] == [1, 2, 3, 1, 2, 3, 1, 2]
    assert ours["c "].count("notified at 2") == 1


def test_a_key_may_start_anew_within_an_epoch(spilling: Settings) -> None:
    """Where the row that it had is still there."""
    batches = cut([(key, 1) for _ in range(8) for key in "aab"])
    assert results(batched(Completes), batches, spilling, [Run(interval=LONG)]) == results(batched(Completes), batches)


def test_a_key_that_ended_with_the_input_starts_anew(way: Way) -> None:
    """In the next execution."""
    items = [("a", "until the end"), ("b", 1)] * 8
    ours = way.results(batched(Completes), cut(items, 2))
    assert ours == way.plain(batched(Completes), cut(items, 2))
    assert ("rescaled" in way.name) == (ours["a "][:4] == [1, 2, "end at 2", 1])
