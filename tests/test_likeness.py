"""Values compared by what pickle would write of them."""

import copy
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.likeness import Likeness, compare
from tests.values import SHARING, VALUES, Colour, Frozen, NamedPair, Slotted, exact


class Bag:
    """Says nothing of what equality is."""

    def __init__(self, *things: Any) -> None:
        """Init."""
        self.things = set(things)


class Lying(Bag):
    """Is equal to everything."""

    def __eq__(self, other: object) -> bool:
        """Lie."""
        return True

    __hash__ = None  # type: ignore[assignment]


class Failing(Bag):
    """Cannot be compared."""

    def __eq__(self, other: object) -> bool:
        """Fail."""
        msg = "boom"
        raise RuntimeError(msg)

    __hash__ = None  # type: ignore[assignment]


class Fixed(Bag):
    """Tells its things as a tuple, in the order of the set."""

    def __reduce__(self) -> Any:
        """Be made anew."""
        return Fixed, tuple(self.things)


def _ring(*values: Any) -> list[Any]:
    ring: list[Any] = list(values)
    ring.append({"around": [ring]})
    return ring


PAIRS: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "no equality": (Bag, 1, 2),
    "equal to everything": (Lying, 1, 2),
    "equality that fails": (Failing, 1, 2),
    "array": (lambda value: np.array([1, value]), 1, 2),
    "sign of zero": (lambda value: [value], 0.0, -0.0),
    "bool and int": (lambda value: {"x": value}, True, 1),
    "int and float": (lambda value: {"x": (value,)}, 1, 1.0),
    "list and tuple": (lambda value: {"x": value}, [1], (1,)),
    "bytes and bytearray": (lambda value: [value], b"a", bytearray(b"a")),
    "set of objects": (lambda value: {Frozen(value), Frozen(0)}, 1, 2),
    "key that is an object": (lambda value: {Frozen(value): 1}, 1, 2),
    "key and value": (lambda value: {value: 1, 3: 2}, 1, 2),
    "how often": (lambda value: [[1], [value]], 1, 2),
    "slots": (Slotted, 1, 2),
    "named tuple": (lambda value: NamedPair(value, 1), 1, 2),
    "default dict": (lambda value: defaultdict(list, {"x": [value]}), 1, 2),
    "deque": (lambda value: deque([1, value]), 1, 2),
    "counter": (lambda value: Counter({"x": value}), 1, 2),
    "decimal": (Decimal, "1.0", "1.00"),
    "zone": (lambda value: datetime(2024, 1, 1, tzinfo=value), timezone.utc, timezone(timedelta(hours=1))),
    "class": (lambda value: [value], Bag, Lying),
    "function": (lambda value: [value], copy.copy, copy.deepcopy),
    "enumeration": (lambda value: [value], Colour.RED, 1),
}


@pytest.mark.parametrize(("make", "value", "other"), PAIRS.values(), ids=PAIRS)
def test_what_is_the_same_and_what_is_not(make: Callable[..., Any], value: Any, other: Any) -> None:
    """However `==` behaves."""
    assert compare(make(value), make(value)) is Likeness.SAME
    assert compare(make(value), make(other)) is Likeness.DIFFERENT


@given(st.one_of(VALUES, SHARING))
def test_what_pickle_brings_back_is_the_same(value: Any) -> None:
    """Where it has no cycle."""
    assert compare(value, pickle.loads(pickle.dumps(value))) is Likeness.SAME


@given(VALUES, VALUES)
def test_values_are_the_same_if_they_are_so_exactly(one: Any, other: Any) -> None:
    """As found by another way, which knows the types that are drawn here."""
    if compare(one, other) is Likeness.SAME:
        assert repr(exact(_sorted(one))) == repr(exact(_sorted(other)))
    else:
        assert repr(exact(one)) != repr(exact(other))


def _sorted(value: Any) -> Any:
    """Put dicts into one order, which `exact` looks at."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: repr(exact(key)))}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_sorted, value))
    return value


def test_a_nan_is_like_itself() -> None:
    """It is not equal to itself."""
    assert compare([float("nan")], [float("nan")]) is Likeness.SAME


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, (2, 3)], [(3, 2), 1]),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (Fixed(1, 9, 17), Fixed(17, 9, 1)),
        ({"all": list({1, 9, 17})}, {"all": list({17, 9, 1})}),
        (_ring(1, 2), [1, 2]),
        ([lambda: 1], [lambda: 2]),
    ],
    ids=["list", "ordered dict", "reduced to a tuple", "list of a set", "ring", "unpicklable"],
)
def test_what_may_be_an_order_without_meaning_is_not_called_different(one: Any, other: Any) -> None:
    """Nor what cannot be looked into."""
    assert compare(one, other) is not Likeness.DIFFERENT


def test_a_ring_is_like_itself() -> None:
    """A cycle ends the walk, and not with an error."""
    assert compare(_ring(1, 2), _ring(1, 2)) is Likeness.SAME
    assert compare(_ring(1, 2), _ring(1, 3)) is not Likeness.SAME


def test_values_deeper_than_the_limit_are_unclear() -> None:
    """They end no flow."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert compare(deep, [deep]) is Likeness.UNCLEAR


def test_an_object_that_is_there_a_thousand_times_is_looked_at_once() -> None:
    """Each level here doubles what a walk without memory would have to do."""
    one: Any = [1]
    other: Any = [1]
    for _ in range(200):
        one, other = [one, one], [other, other]
    assert compare(one, other) is Likeness.SAME
