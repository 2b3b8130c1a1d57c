"""Values of every kind that a state may hold, and classes of a user's, for the tests of codecs."""

import enum
import math
from collections import namedtuple
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from bytewax_state.codecs import codec, decode


@dataclass
class Point:
    """A plain dataclass."""

    x: Any
    y: Any = 0


@dataclass(frozen=True)
class Frozen:
    """A frozen one, which can be a key."""

    x: Any
    y: Any = 0


@dataclass(slots=True)
class Slotted:
    """One without `__dict__`."""

    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    """One whose `__getstate__` was made by `dataclass`."""

    x: Any
    y: Any = 0


class NamedPair(NamedTuple):
    """A subclass of tuple."""

    x: Any
    y: Any


PlainPair = namedtuple("PlainPair", "x y")


class Colour(enum.Enum):
    """An enumeration."""

    RED = 1


class Size(enum.IntEnum):
    """A subclass of int."""

    SMALL = 1


class Text(str):
    """A subclass of str."""

    __slots__ = ()


class Moment(datetime):
    """A subclass of datetime."""


class Eastern(tzinfo):
    """A zone that nobody knows."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        """Return a constant."""
        return timedelta(hours=-5)

    def __eq__(self, other: object) -> bool:
        """Compare by type."""
        return type(other) is Eastern

    def __hash__(self) -> int:
        """Hash by type."""
        return 5


class Plain:
    """A class that is no dataclass."""

    def __init__(self, x: Any) -> None:
        """Init."""
        self.x = x

    def __eq__(self, other: object) -> bool:
        """Compare by state."""
        return type(other) is Plain and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class Failing:
    """A class whose instances cannot be read back."""

    def __reduce__(self) -> Any:
        """Name a function that fails."""
        return int, ("no number",)


SHARED = codec("msgpack")


def exact(value: Any) -> Any:
    """Put a value in terms that are equal only for values of the same types throughout, down to the bits."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [exact(part) for part in value]
    if kind in (set, frozenset):
        return kind, sorted(repr(exact(part)) for part in value)
    if kind is dict:
        return kind, [(exact(key), exact(part)) for key, part in value.items()]
    if kind in (Point, Frozen, Slotted, FrozenSlotted):
        return kind, exact(value.x), exact(value.y)
    if kind is float:
        return kind, "nan" if math.isnan(value) else value.hex()
    if kind in (datetime, time):
        return kind, value.replace(tzinfo=None), value.fold, repr(value.tzinfo), type(value.tzinfo)
    if kind is Decimal:
        return kind, value.as_tuple()
    return kind, value


def comes_back(value: Any, name: str = "msgpack") -> bool:
    """Tell whether a value comes back the same."""
    return bool(exact(decode(codec(name).encode(value))) == exact(value))


def shared(value: Any) -> Any:
    """Tell which parts of a value are one object: each part as the number of its object, in the order of a walk."""
    numbers: dict[int, int] = {}
    seen: list[Any] = []

    def walk(part: Any) -> None:
        if type(part) in (list, tuple, dict, set, frozenset, Point, Frozen, Slotted, FrozenSlotted):
            new = id(part) not in numbers
            seen.append(numbers.setdefault(id(part), len(numbers)))
            if new:
                for inner in _parts(part):
                    walk(inner)

    walk(value)
    return seen


def _parts(value: Any) -> list[Any]:
    if isinstance(value, (set, frozenset)):
        return []  # in no order
    if isinstance(value, dict):
        return [part for item in value.items() for part in item]
    return list(value) if isinstance(value, (list, tuple)) else [value.x, value.y]


ZONES = st.one_of(
    st.none(),
    st.just(timezone.utc),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]).map(ZoneInfo),
)
FOLDS = st.sampled_from([0, 1])
COMPARABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(st.characters()),
    st.binary(),
    st.builds(datetime.replace, st.datetimes(), tzinfo=ZONES, fold=FOLDS),
    st.builds(time.replace, st.times(), tzinfo=ZONES, fold=FOLDS),
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
HASHABLE = st.recursive(
    COMPARABLE,  # a set with a NaN in it is never equal to another
    lambda parts: st.one_of(
        st.tuples(parts, parts),
        st.frozensets(parts, max_size=3),
        st.builds(Frozen, parts, parts),
        st.builds(FrozenSlotted, parts, parts),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.one_of(COMPARABLE, st.just(math.nan), st.sampled_from(["NaN", "sNaN1", "-NaN"]).map(Decimal)),
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.lists(parts, max_size=4).map(tuple),
        st.sets(HASHABLE, max_size=3),
        st.frozensets(HASHABLE, max_size=3),
        st.dictionaries(HASHABLE, parts, max_size=3),
        st.builds(Point, parts, parts),
        st.builds(Frozen, parts, parts),
        st.builds(Slotted, parts, parts),
        st.builds(FrozenSlotted, parts, parts),
    ),
    max_leaves=12,
)
SHARING = VALUES.flatmap(
    lambda part: st.recursive(
        st.just(part),
        lambda parts: st.one_of(
            st.lists(parts, max_size=4),
            st.tuples(parts, parts),
            st.dictionaries(st.text(max_size=3), parts, max_size=4),
            st.builds(Point, parts, parts),
            parts.map(lambda inner: {"now": inner, "all": [inner, inner]}),
        ),
        max_leaves=6,
    )
)
"""Values that hold one object several times."""
