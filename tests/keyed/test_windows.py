"""Windows on plain values: what Bytewax's own logics do, call by call, at any time, and whatever is spilled."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.operators.windowing import UTC_MAX, SessionWindower, SlidingWindower, TumblingWindower
from bytewax.testing import TestingSink, TestingSource, TimeTestingGetter
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state import Settings
from bytewax_state.dataflow.attach import _stateful
from bytewax_state.dataflow.execution import utc_now
from bytewax_state.dataflow.logic_processor import LogicProcessor
from bytewax_state.dataflow.swap import choose
from bytewax_state.keyed.plain import by_key
from bytewax_state.keyed.windows import WindowProcessor
from bytewax_state.store.store import Store, heap
from tests.dataflow.flows import START
from tests.keyed.windowing import BACKENDS, Definition, Items, Make, Ours, Plain, at

SECOND = timedelta(seconds=1)


class Telling(win.WindowLogic[Any, Any, Any]):
    """Tells of each call, and has nothing to say of itself at times."""

    def __init__(self, seen: list[Any] | None) -> None:
        self.seen = seen or []

    def on_value(self, value: Any) -> list[Any]:
        self.seen.append(value)
        return [("value", len(self.seen))] * (value[1] % 3)

    def on_merge(self, original: Any) -> list[Any]:
        self.seen += original.seen
        return [("merge", len(self.seen))]

    def on_close(self) -> list[Any]:
        return [("close", self.seen)]

    def snapshot(self) -> list[Any] | None:
        return None if len(self.seen) % 4 == 0 else list(self.seen)


def _join(insert_mode: Any, emit_mode: Any) -> Make:
    return lambda up, clock, windower, ordered: (
        win.join_window(
            "s", clock, windower, up, up, insert_mode=insert_mode, emit_mode=emit_mode, ordered=ordered
        ).down
    )


JOINS: dict[str, Make] = {
    f"join {insert} {emit}": _join(insert, emit)
    for insert in ("first", "last", "product")
    for emit in ("complete", "final", "running")
}
MAKES: dict[str, Make] = {
    "fold": lambda up, clock, windower, ordered: (
        win.fold_window("s", up, clock, windower, list, lambda acc, value: [*acc, value], list.__add__, ordered).down
    ),
    "max": lambda up, clock, windower, ordered: win.max_window("s", up, clock, windower).down,
    "user": lambda up, clock, windower, ordered: win.window("s", up, clock, windower, Telling, ordered).down,
    **JOINS,
}

ALIGNED = st.one_of(
    st.builds(TumblingWindower, st.sampled_from([7 * SECOND, 60 * SECOND]), st.just(at(-3))),
    st.builds(SlidingWindower, st.just(30 * SECOND), st.sampled_from([30 * SECOND, 11 * SECOND]), st.just(START)),
)
SESSIONS = st.builds(SessionWindower, st.sampled_from([0 * SECOND, 5 * SECOND, 20 * SECOND]))

FAMILIES = {"aligned": ALIGNED, "sessions": SESSIONS}

TIMES = {
    "event": {"wait": 0 * SECOND},
    "event, behind": {"wait": 15 * SECOND},
    "system": {"wait": None},
    "system asked late": {"to_system": lambda time: time + 9 * SECOND},
    "system never asked": {"to_system": lambda time: None},
    "own": {"own_time": True, "to_system": lambda time: None},
}


LOOKING = {"event", "event, behind", "system asked late"}
"""Bytewax looks at keys with old events at any time, and puts values into windows, which may be others later."""


@st.composite
def definitions(draw: st.DrawFn, make: str, family: st.SearchStrategy[Any], time: str) -> Definition:
    """Make a step."""
    return Definition(MAKES[make], draw(family), draw(st.booleans()), **TIMES[time])


def fed(make: str, items: Items) -> Items:
    """Make what the core step gets of some items: those of a join say of which side they are."""
    return [(key, (value[1] % 2, value)) for key, value in items] if make in JOINS else items


ITEMS = st.lists(st.tuples(st.sampled_from("abc"), st.tuples(st.integers(0, 60), st.integers(0, 9))), max_size=6)
CALLS = st.lists(st.tuples(ITEMS, st.integers(0, 20)), min_size=1, max_size=8)
"""Items, and by how many seconds the time goes on behind them."""
MAKE = st.one_of(st.sampled_from(sorted({*MAKES} - {*JOINS})), st.sampled_from(sorted(JOINS)))
BACKEND = st.sampled_from(sorted(BACKENDS))


@pytest.mark.parametrize("kind", ["fold", "max", "user", "join"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@given(
    data=st.data(),
    time=st.sampled_from(sorted(TIMES)),
    runs=st.lists(st.tuples(CALLS, BACKEND), min_size=1, max_size=3),
)
def test_each_call_gives_what_bytewax_gives(
    kind: str, family: Any, data: st.DataObject, time: str, runs: list[Any]
) -> None:
    """In its order, through executions that do not even agree on the windows, and whether there is an order."""
    clock = TimeTestingGetter(at(15))
    with TemporaryDirectory() as folder:
        plain, ours = Plain(clock), Ours(clock, Path(folder))
        make = data.draw(st.sampled_from([name for name in sorted(MAKES) if name.startswith(kind)]))
        definition = data.draw(definitions(make, family, time))
        for calls, backend in runs:
            if time not in LOOKING:
                definition = data.draw(definitions(make, family, time))
            plain.begin(definition)
            ours.begin(definition, backend)
            assert ours.activate([]) == plain.activate([])
            for items, seconds in calls:
                assert ours.activate(fed(make, items)) == plain.activate(fed(make, items))
                clock.advance(seconds * SECOND)
            assert ours.activate([]) == plain.activate([])
        # Over all keys they come in runs of what fits into memory.
        assert by_key(ours.end()) == by_key(plain.end())
        ours.store.close()


@given(
    data=st.data(),
    make=MAKE,
    family=st.sampled_from([*FAMILIES.values()]),
    time=st.sampled_from(["own", "system never asked"]),
    calls=st.lists(st.tuples(ITEMS, st.integers(-30, 20)), min_size=1, max_size=10),
    backend=BACKEND,
)
def test_a_time_that_goes_back(
    data: st.DataObject, make: str, family: Any, time: str, calls: list[Any], backend: str
) -> None:
    """Holds each watermark until it is as late again, as a look at a key would, which Bytewax may take at any time."""
    clock = TimeTestingGetter(at(300))
    definition = data.draw(definitions(make, family, time))
    with TemporaryDirectory() as folder:
        plain, ours = Plain(clock), Ours(clock, Path(folder))
        plain.begin(definition)
        ours.begin(definition, backend)
        for items, seconds in calls:
            assert ours.activate(fed(make, items)) == plain.activate(fed(make, items))
            clock.advance(seconds * SECOND)
        assert by_key(ours.end()) == by_key(plain.end())
        ours.store.close()


@given(
    data=st.data(),
    make=MAKE,
    family=st.sampled_from([*FAMILIES.values()]),
    runs=st.lists(st.tuples(CALLS, BACKEND), min_size=2, max_size=3),
)
def test_rows_of_the_logics_are_read(data: st.DataObject, make: str, family: Any, runs: list[Any]) -> None:
    """A key goes on from where Bytewax's logic left it."""
    clock = TimeTestingGetter(at(15))
    definition = data.draw(definitions(make, family, "own"))
    with TemporaryDirectory() as folder:
        plain, ours = Plain(clock), Ours(clock, Path(folder))
        for number, (calls, backend) in enumerate(runs):
            plain.begin(definition)
            ours.begin(definition, backend, by_logic=number == 0)
            for items, seconds in calls:
                assert ours.activate(fed(make, items)) == plain.activate(fed(make, items))
                clock.advance(seconds * SECOND)
        assert by_key(ours.end()) == by_key(plain.end())
        ours.store.close()


@pytest.mark.parametrize("make", JOINS)
def test_sessions_that_merge(make: str, tmp_path: Path) -> None:
    """What each of them has seen of a side is seen by both, in the order that the mode says."""
    clock = TimeTestingGetter(at(15))
    definition = Definition(MAKES[make], SessionWindower(20 * SECOND), ordered=False, wait=1000 * SECOND)
    plain, ours = Plain(clock), Ours(clock, tmp_path)
    plain.begin(definition)
    ours.begin(definition, "heap")
    for items in ([(0, 0)], [(30, 2)], [(30, 1), (60, 3)], [(15, 4)], [(90, 5), (45, 6)]):
        batch = fed(make, [("a", item) for item in items])
        assert ours.activate(batch) == plain.activate(batch)
    assert ours.end() == plain.end()
    ours.store.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_key_without_sessions_is_forgotten(backend: str, tmp_path: Path) -> None:
    """After so long without an item, and not before; then its ids begin again, and nothing is late."""
    clock = TimeTestingGetter(at(0))
    definition = Definition(MAKES["fold"], SessionWindower(5 * SECOND), wait=SECOND)
    ours = Ours(clock, tmp_path, forget_sessions=timedelta(hours=1))
    ours.begin(definition, backend)
    keys = [f"key{number}" for number in range(20)]
    ours.activate([(key, (0, 0)) for key in keys])
    clock.advance(60 * SECOND)
    assert [number for _, (number, event, _) in ours.activate([]) if event == "M"] == [0] * len(keys)
    clock.advance(30 * SECOND)
    assert ours.activate([("key7", (0, 0))]) == [("key7", (-1, "L", (0, 0)))]
    ours.begin(definition, backend)
    clock.advance(timedelta(hours=1) - 20 * SECOND)
    assert ours.activate([]) == []
    ours.activate([("key8", (9000, 0))])
    assert ours.rows() == {"key7", "key8"}
    clock.advance(timedelta(hours=3))
    assert [number for _, (number, event, _) in ours.activate([]) if event == "M"] == [0]
    clock.advance(timedelta(hours=2))
    assert ours.activate([]) == []
    assert ours.rows() == set()
    ours.store.close()


class Stamp(datetime):
    """Knows no time as early as the first, as some libraries' timestamps do not."""

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, datetime) and other.year == 1:
            raise OverflowError
        return super().__sub__(other)


def _stamped(value: Any) -> datetime:
    time = at(value[0])
    return Stamp.combine(time.date(), time.time(), time.tzinfo)


def _far(value: Any) -> datetime:
    return at(value[0]).replace(year=9000)


TOTAL = MAKES["fold"]
UNUSUAL = {
    "subclass": {"timestamp": _stamped},
    "subclass, asked": {"timestamp": _stamped, "to_system": lambda time: time},
    "far": {"timestamp": _far, "wait": timedelta.max},
    "far, asked": {"timestamp": _far, "wait": timedelta.max, "to_system": lambda time: time},
}


@pytest.mark.parametrize("unusual", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("windower", [TumblingWindower(7 * SECOND, START), SessionWindower(5 * SECOND)])
@pytest.mark.parametrize("by_logic", [True, False])
def test_unusual_timestamps(unusual: dict[str, Any], windower: Any, by_logic: bool, tmp_path: Path) -> None:
    """They may be of a subclass of `datetime`, and windows may be due after the last time that there is."""
    clock = TimeTestingGetter(at(15))
    definition = Definition(TOTAL, windower, **unusual)
    plain, ours = Plain(clock), Ours(clock, tmp_path)
    for run in range(2):
        plain.begin(definition)
        ours.begin(definition, "rocksdb-0", by_logic=by_logic and not run)
        for second in (1, 12, 3, 40):
            items = [("a", (second + 60 * run, 0))]
            assert ours.activate(items) == plain.activate(items)
            clock.advance(9 * SECOND)
    assert ours.end() == plain.end()
    ours.store.close()


@pytest.mark.parametrize("timestamp", [lambda value: value, lambda value: at(0).replace(tzinfo=None)])
def test_what_is_no_aware_time_names_the_key(timestamp: Callable[[Any], Any], tmp_path: Path) -> None:
    """As Bytewax does, where it takes it for a timestamp."""
    ours = Ours(TimeTestingGetter(at(15)), tmp_path)
    ours.begin(Definition(TOTAL, SessionWindower(SECOND), timestamp=timestamp), "heap")
    with pytest.raises(BytewaxRuntimeError, match=r"on_batch.*'a'"):
        ours.activate([("a", (0, 0))])
    ours.store.close()


@pytest.mark.parametrize("windower", [TumblingWindower(SECOND, START), SessionWindower(SECOND)])
def test_a_window_that_ends_after_the_last_time(windower: Any, tmp_path: Path) -> None:
    """It can never close, so that is an error, as in Bytewax; no value is left in it without a word."""
    clock = TimeTestingGetter(at(15))
    definition = Definition(TOTAL, windower, timestamp=lambda value: UTC_MAX)
    plain, ours = Plain(clock), Ours(clock, tmp_path)
    plain.begin(definition)
    ours.begin(definition, "heap")
    assert ours.activate([("a", (0, 0))]) == plain.activate([("a", (0, 0))])
    with pytest.raises(OverflowError):
        plain.end()
    with pytest.raises(BytewaxRuntimeError, match=r"on_eof.*'a'"):
        ours.end()
    ours.store.close()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("windower", [TumblingWindower(10 * SECOND, START), SessionWindower(5 * SECOND)])
def test_a_host_that_is_behind(windower: Any, backend: str, tmp_path: Path) -> None:
    """Goes by its own time, and not by that of the run before, and forgets no session for it."""
    clock = TimeTestingGetter(at(3600))
    plain, ours = Plain(clock), Ours(clock, tmp_path, forget_sessions=timedelta(hours=1))
    for back in (600, 0):
        plain.begin(Definition(TOTAL, windower, wait=None))
        ours.begin(Definition(TOTAL, windower, wait=None), backend)
        for number in range(6):
            assert ours.activate([("a", (number, 0))]) == plain.activate([("a", (number, 0))])
            clock.advance(4 * SECOND)
            assert ours.activate([]) == plain.activate([])
        clock.advance(60 * SECOND)
        assert ours.activate([]) == plain.activate([])
        assert ours.activate([("a", (9, 0))]) == plain.activate([("a", (9, 0))])
        clock.advance(-back * SECOND)
    assert ours.end() == plain.end()
    ours.store.close()


@pytest.mark.parametrize("backend", ["heap", "rocksdb-0"])
def test_a_folder_that_fails_on_values_that_waited(backend: str, tmp_path: Path) -> None:
    """It is told with step and key, though it is called as late as when bytes are made of the state."""

    def fail(acc: list[Any], value: Any) -> list[Any]:
        raise ZeroDivisionError

    def make(up: Any, clock: Any, windower: Any, ordered: bool) -> Any:
        return win.fold_window("s", up, clock, windower, list, fail, list.__add__, ordered).down

    ours = Ours(TimeTestingGetter(at(0)), tmp_path)
    definition = Definition(make, TumblingWindower(60 * SECOND, START), ordered=False)
    ours.begin(definition, backend)

    def put_and_freeze() -> None:
        ours.activate([("a", (0, 0))])
        ours.store.freeze(tmp_path / "frozen")

    with pytest.raises(BytewaxRuntimeError, match=r"on_batch.* in step 'flow\.s.*'a'"):
        put_and_freeze()
    ours.store.close()


def test_what_windows_emit_is_not_lost_to_a_freeze(tmp_path: Path) -> None:
    """Where a run without an order goes on with values that one with an order has left waiting."""
    clock = TimeTestingGetter(at(0))
    plain, ours = Plain(clock), Ours(clock, tmp_path)
    for ordered in (True, False):
        definition = Definition(MAKES["user"], TumblingWindower(60 * SECOND, START), ordered)
        plain.begin(definition)
        ours.begin(definition, "heap")
        items = [("a", (5, 1))] if ordered else []
        assert ours.activate(items) == plain.activate(items) == []
    ours.processor._column.change(["a"])
    ours.store.flush()
    assert ours.end() == plain.end() != []
    ours.store.close()


class OwnClock(win.EventClock[Any]):
    """Is not Bytewax's own, though nothing about it is another."""


class OwnWindower(SessionWindower):
    """Is not Bytewax's own either."""


def _clock(cls: type[win.EventClock[Any]], wait: timedelta = SECOND) -> win.EventClock[Any]:
    return cls(lambda value: at(value[0]), wait)


PLAIN = (_clock(win.EventClock), SessionWindower(SECOND))
UNKNOWN = {
    "clock": (_clock(OwnClock), PLAIN[1]),
    "wait": (_clock(win.EventClock, -SECOND), PLAIN[1]),
    "windower": (PLAIN[0], OwnWindower(SECOND)),
    "length": (PLAIN[0], TumblingWindower(0 * SECOND, START)),
    "alignment": (PLAIN[0], TumblingWindower(SECOND, START.replace(tzinfo=None))),
}


@pytest.mark.parametrize("parts", [PLAIN, *UNKNOWN.values()], ids=["plain", *UNKNOWN])
def test_what_is_not_known_is_run_by_bytewax(parts: tuple[Any, Any]) -> None:
    """Derived classes may do anything, and numbers that are out of range fail in Bytewax's own words."""
    flow = Dataflow("flow")
    op.output("out", win.collect_window("s", op.input("inp", flow, TestingSource([])), *parts).down, TestingSink([]))
    ((_, step, outer),) = _stateful(flow.substeps)
    made = choose(step, outer, Settings(uri=None)).make(Store(None, heap, 128, range(128), {}), bytes(8), utc_now)
    assert type(made) is (WindowProcessor if parts is PLAIN else LogicProcessor)
