"""Values through the codecs and back, with their exact types and what they share."""

import math
import pickle
import sys
import threading
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from bytewax.operators.windowing import (
    UTC_MAX,
    UTC_MIN,
    WindowMetadata,
    _EventClockState,
    _SessionWindowerState,
    _SlidingWindowerState,
    _WindowSnapshot,
)
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.codecs import MSGPACK, PICKLE, codec, decode
from bytewax_state.errors import (
    IncompatibleError,
    UsageError,
)
from tests.values import (
    SHARED,
    SHARING,
    VALUES,
    Colour,
    Eastern,
    Frozen,
    Moment,
    NamedPair,
    Plain,
    PlainPair,
    Point,
    Size,
    Slotted,
    Text,
    comes_back,
    exact,
    shared,
)

CODECS = ("msgpack", "pickle")


@given(VALUES)
def test_values_come_back_with_their_exact_types(value: Any) -> None:
    """What goes in comes out, and a row says which codec to read it with."""
    for name, tag in (("msgpack", MSGPACK), ("pickle", PICKLE)):
        data = codec(name).encode(value)
        assert data[0] in (tag, PICKLE)
        assert data[1] == 1
        assert comes_back(value, name)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -0.0,
        math.nan,
        math.inf,
        2**63,
        2**64,
        -(2**63) - 1,
        1 << 5000,
        -(2**64),
        -128,
        128,
        -(2**127),
        "",
        "ünï\0",
        "a" * 70_000,
        b"\xc4",
        b"\xff" * 70_000,
        [],
        (),
        set(),
        frozenset(),
        {},
        [[]],
        ([], (), {}),
        {None: 1, True: 2, 2.5: 3, (1, 2): 4, b"b": 5, frozenset([1]): 6},
        {"b": 1, "a": 2},
        [1, (2, [3, (4,)])],
        datetime.min,
        datetime.max,
        datetime(2024, 10, 27, 2, 30, fold=1),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=timezone.utc),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "Zulu")),
        time(23, 59, 59, 999_999, fold=1, tzinfo=timezone.utc),
        timezone.utc,
        timezone(timedelta(hours=1), "CET"),
        ZoneInfo("Asia/Tokyo"),
        date.max,
        timedelta.min,
        timedelta.max,
        Decimal("-0.00"),
        Decimal("NaN123"),
        Decimal("-Infinity"),
        Decimal("1E+999999"),
        UUID(int=0),
        Frozen((1, 2), frozenset({Frozen(1)})),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_edges_come_back(value: Any) -> None:
    """The ends of each type's range."""
    assert comes_back(value)


@pytest.mark.parametrize("value", [None, True, -0.0, 2**64 - 1, -(2**63), "ünï\0", b"\xc4"], ids=repr)
def test_a_value_without_parts_is_messagepack(value: Any) -> None:
    """Any program can read it."""
    assert exact(msgpack.unpackb(SHARED.encode(value)[2:])) == exact(value)


def test_utc_stays_the_same_object() -> None:
    """Code compares zones by identity."""
    assert decode(SHARED.encode(datetime.now(timezone.utc))).tzinfo is timezone.utc
    assert decode(SHARED.encode(timezone.utc)) is timezone.utc


BUFFERS: list[Callable[[Any], Any]] = [
    lambda buffer: buffer,
    lambda buffer: [buffer],
    lambda buffer: [b"bytes", [1, {"key": [2.5, buffer]}]],
    lambda buffer: ({"key": (1, buffer)},),
    lambda buffer: Point(1, [Slotted(buffer)]),
    lambda buffer: {1: Frozen({2: buffer})},
]


@pytest.mark.parametrize("size", [0, 1, 300, 70_000])
@pytest.mark.parametrize("wrap", BUFFERS)
def test_a_bytearray_does_not_become_bytes(wrap: Callable[[Any], Any], size: int) -> None:
    """Msgpack takes it for bytes, silently, wherever it is."""
    assert comes_back(wrap(bytearray(size)))


@pytest.mark.parametrize("wrap", BUFFERS)
def test_a_memoryview_is_refused_rather_than_changed(wrap: Callable[[Any], Any]) -> None:
    """Msgpack takes it for bytes; pickle takes none."""
    with pytest.raises(UsageError, match="memoryview"):
        SHARED.encode(wrap(memoryview(b"bytes")))


@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"\ud800": 1}, ("\ud800", b"\xff")], ids=ascii)
def test_lone_surrogates_come_back(value: Any) -> None:
    """Such strings come from file names and broken JSON."""
    assert comes_back(value)


@pytest.mark.parametrize(
    "value",
    [
        NamedPair(1, 2),
        PlainPair(1, NamedPair(2, 3)),
        Colour.RED,
        Size.SMALL,
        Text("text"),
        Moment(2024, 1, 1, tzinfo=timezone.utc),
        OrderedDict(b=1, a=2),
        defaultdict(list, {1: [2]}),
        Counter("abca"),
        deque([1, 2], maxlen=3),
        array("d", [1.5]),
        range(3),
        1 + 2j,
        ...,
        int,
        Plain([1, (2,)]),
        datetime(2024, 1, 1, tzinfo=Eastern()),
        UUID(int=5, is_safe=SafeUUID.safe),
        msgpack.Timestamp(1, 2),
        msgpack.ExtType(5, b"data"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_come_back_alone_and_inside(value: Any) -> None:
    """What MessagePack does not know is pickled, not turned into something near."""
    for wrapped in (value, [value], (1, value), {"key": value}, Point(value)):
        back = decode(SHARED.encode(wrapped))
        assert back == wrapped
    assert type(back.x) is type(value)


def test_safety_of_a_uuid_comes_back() -> None:
    """Equality does not look at it."""
    assert decode(SHARED.encode(UUID(int=5, is_safe=SafeUUID.safe))).is_safe is SafeUUID.safe


def test_name_of_an_offset_comes_back() -> None:
    """Equality does not look at it."""
    assert decode(SHARED.encode(timezone(timedelta(hours=1), "CET"))).tzname(None) == "CET"


def test_zone_from_outside_the_cache_comes_back() -> None:
    """Equality of zones is identity."""
    back = decode(SHARED.encode(datetime(2024, 7, 1, tzinfo=ZoneInfo.no_cache("Europe/Berlin"))))
    assert back.tzinfo.key == "Europe/Berlin"
    assert back.tzinfo is not ZoneInfo("Europe/Berlin")


def test_a_zone_that_this_system_lacks_is_named() -> None:
    """Small images come without time zones."""
    data = SHARED.encode(ZoneInfo("Europe/Berlin")).replace(b"Berlin", b"Berlyn")
    with pytest.raises(IncompatibleError, match=r"Europe/Berlyn.*tzdata"):
        decode(data)


def test_numpy_values_come_back() -> None:
    """Scalars do not become Python numbers."""
    numpy = pytest.importorskip("numpy")
    back = decode(SHARED.encode({"scalar": numpy.float64(1.5), "array": numpy.arange(3)}))
    assert type(back["scalar"]) is numpy.float64
    assert back["array"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("depth", [10, 500])
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {1: value}])
def test_deep_nesting_comes_back(wrap: Callable[[Any], Any], depth: int) -> None:
    """How much deeper pickle goes depends on the version of Python."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    assert_same_depth(decode(encode_deep(value)), value)


def encode_deep(value: Any) -> bytes:
    """Encode with room for pickle, which counts levels against Python's limit."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return SHARED.encode(value)
    finally:
        sys.setrecursionlimit(limit)


def assert_same_depth(value: Any, expected: Any) -> None:
    """Compare without recursion, from the outside in."""
    while isinstance(expected, (list, tuple, dict)) and expected:
        assert type(value) is type(expected)
        assert len(value) == len(expected) == 1
        value, expected = (one[1] if isinstance(one, dict) else one[0] for one in (value, expected))
    assert value == expected


def test_too_deep_nesting_is_the_flows_error() -> None:
    """What cannot be pickled either is refused, not half written."""
    value: Any = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(UsageError, match="cannot be serialised"):
        SHARED.encode(value)


def test_a_cycle_comes_back() -> None:
    """Pickle knows how."""
    value: list[Any] = [1]
    value.append(value)
    back = decode(SHARED.encode(value))
    assert back[1] is back


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("value", [lambda: 1, [lambda: 1], {"lock": threading.Lock()}, (x for x in ())])
def test_what_cannot_be_pickled_is_the_flows_error(name: str, value: Any) -> None:
    """The type is named; the codec goes on working."""
    with pytest.raises(UsageError, match="cannot be serialised"):
        codec(name).encode(value)
    assert comes_back((1, 2), name)


@given(SHARING)
def test_parts_that_are_one_object_stay_one(value: Any) -> None:
    """As pickle keeps them: a change of one shows in the other, after a resume too."""
    assert shared(decode(SHARED.encode(value))) == shared(pickle.loads(pickle.dumps(value)))


@given(st.one_of(VALUES, SHARING))
def test_no_value_is_much_larger_than_its_pickle(value: Any) -> None:
    """Nor where it holds an object many times."""
    assert len(SHARED.encode(value)) <= 1.3 * len(pickle.dumps(value)) + 2


def test_the_state_of_a_window_is_not_larger_than_its_pickle() -> None:
    """A sliding window holds each of its values once for each window that is open."""
    now = datetime(2024, 1, 1, tzinfo=timezone.utc)
    meta = {number: WindowMetadata(now, now + timedelta(minutes=number), {1, 2}) for number in range(60)}
    events = [{"user": "anna", "at": now + timedelta(seconds=second), "value": 1.5} for second in range(60)]
    for windower in (_SlidingWindowerState(meta), _SessionWindowerState(3, meta, [(0, 1)])):
        logics = {number: list(events) for number in meta}
        snapshot = _WindowSnapshot(_EventClockState(UTC_MIN, UTC_MAX), windower, logics, [(events[0], now)])
        data = SHARED.encode(snapshot)
        assert decode(data) == snapshot
        assert len(data) <= len(pickle.dumps(snapshot)) + 2
