"""When keys are notified: on time, whatever else is due, unless they were notified right now and are due again."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bytewax_state.keyed.hold import SECONDS_EACH, Hold
from bytewax_state.store.column import RUN
from bytewax_state.store.timer_rows import MAX_BEFORE_FRONTIER
from bytewax_state.store.timers import MIN_PAUSE
from tests.contracts.store_contract import NOW, SECOND, Box, BoxStore, heap_store, rocksdb_store

PAST = NOW - timedelta(days=1_000)
INSTANT = timedelta(milliseconds=1)


class Clock:
    """A store whose clock the test turns, as Bytewax calls it: after everything else, whatever is due."""

    def __init__(self, store: BoxStore) -> None:
        self.store = store
        self.timers = store.states.timers
        self.now = NOW
        self.again: dict[str, datetime] = {}
        """Keys that are due again right after they were notified, and for when they ask then."""

    def set(self, key: str, due: datetime) -> None:
        if key not in self.store.fetch([key]):
            self.store.states.column.add(key, Box(0))
        self.timers.set(key, due, lambda: self.now)
        self.store.states.column.change([key])
        self.store.settle()

    def touch(self, key: str) -> None:
        self.store.fetch([key])
        self.store.states.column.change([key])
        self.store.settle()

    def activate(self, after: timedelta = timedelta(0)) -> list[str]:
        """Notify what is due, some time later."""
        self.now += after
        due = self.store.next_due(self.now)
        if due is None or due > self.now:
            return []
        found: list[str] = []
        for keys in self.store.states.pop_due(self.now, self.store.store.groups):
            for key in keys:
                self.timers.drop(key)
                if key in self.again:
                    self.timers.again(key, self.again[key], self.now)
            self.store.states.column.change(keys)
            self.store.settle()
            found += keys
        return found

    def all_due(self) -> list[str]:
        """Notify until nothing is due, though no time passes."""
        found: list[str] = []
        while keys := self.activate():
            found += keys
        return found


@pytest.fixture(params=["heap", "roomy", "small", "none"])
def clock(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clock]:
    """Both stores, with room for all keys, for a few, and for none."""
    capacity = {"roomy": 1_000_000, "small": 3, "none": 0}
    opened = heap_store if request.param == "heap" else rocksdb_store(capacity[request.param])
    store = opened(tmp_path / "live")
    yield Clock(store)
    store.close()


@pytest.fixture
def busy(clock: Clock) -> Clock:
    """Thousands of keys are due again right after they were notified, as windows over old events are."""
    keys = [f"old{number}" for number in range(3 * RUN)]
    clock.again = dict.fromkeys(keys, PAST)
    for key in keys:
        clock.set(key, PAST + SECOND)
    assert sorted(clock.all_due()) == sorted(keys)
    return clock


@pytest.mark.parametrize("past", [False, True])
def test_a_new_timer_is_on_time_behind_a_large_pass(past: bool, busy: Clock) -> None:
    """Also one that is past when it is set, and lies between those that are held back."""
    busy.set("new", PAST if past else busy.now + INSTANT)
    assert "new" in busy.activate(INSTANT)


def test_a_new_timer_is_on_time_within_a_large_pass(busy: Clock) -> None:
    """It is not behind those that are due for the second time."""
    busy.now += busy.store.states.hold.pause(3 * RUN) + SECOND
    busy.activate()
    busy.set("new", busy.now)
    busy.set("old", PAST - SECOND)
    assert {"new", "old"} <= {*busy.activate()}


def test_a_timer_of_a_key_that_came_back_is_on_time(busy: Clock) -> None:
    """Its object was in memory meanwhile, and left it again."""
    busy.set("new", busy.now + SECOND)
    busy.touch("new")
    assert "new" not in busy.activate(SECOND - INSTANT)
    busy.touch("new")
    assert "new" in busy.activate(INSTANT)


def test_what_is_due_again_does_not_spin(busy: Clock) -> None:
    """Each key comes after a pause, and not before, however often there is something else to do."""
    counts: dict[str, int] = {}
    for number in range(100):
        busy.set(f"new{number}", busy.now)
        busy.touch("old7")
        for key in busy.activate(INSTANT):
            counts[key] = counts.get(key, 0) + 1
    old = sum(count for key, count in counts.items() if key.startswith("old"))
    assert [counts[f"new{number}"] for number in range(100)] == [1] * 100
    assert old <= 2 * RUN


def test_all_that_is_due_again_comes_again(busy: Clock) -> None:
    """None is forgotten, whether it was in memory or not, and whatever came between."""
    for round_ in range(3):
        busy.now += 2 * busy.store.states.hold.pause(3 * RUN) + SECOND
        busy.set(f"new{round_}", busy.now)
        busy.touch("old5")
        assert {*busy.again} <= {*busy.all_due()}


def test_what_is_due_again_waits_for_a_pause_though_it_is_touched(clock: Clock) -> None:
    """And no longer than that, though it is touched again and again."""
    clock.again = {"a": PAST}
    clock.set("a", PAST)
    assert clock.activate() == ["a"]
    for _ in range(9):
        clock.touch("a")
        assert clock.activate(MIN_PAUSE / 10) == []
    clock.touch("a")
    assert clock.activate(MIN_PAUSE / 10 + INSTANT) == ["a"]


@pytest.mark.parametrize("then", [timedelta(0), -SECOND])
def test_what_was_due_again_and_asks_anew_is_not_held_back(then: timedelta, clock: Clock) -> None:
    """For later, and then for at once: as if it had never been held back."""
    clock.again = {"a": PAST}
    clock.set("a", PAST)
    assert clock.activate() == ["a"]
    clock.set("a", clock.now + 10 * SECOND)
    clock.set("a", clock.now + then)
    assert clock.activate(INSTANT) == ["a"]


@pytest.mark.parametrize("back", [SECOND, timedelta(hours=1)])
def test_a_clock_that_is_set_back_makes_nothing_late(back: timedelta, busy: Clock) -> None:
    """New timers are due by the new time, neither late nor early, and pauses begin anew."""
    busy.now -= back
    busy.set("new", busy.now + SECOND / 2)
    busy.set("past", busy.now - SECOND)
    found = busy.activate(INSTANT)
    assert "past" in found
    assert "new" not in found
    found = []
    for _ in range(120):
        found += busy.activate(10 * INSTANT)
    assert found.count("new") == 1
    assert {*busy.again} <= {*found}


def test_what_is_remembered_of_spilled_keys_is_bounded(tmp_path: Path) -> None:
    """A clock that was set back by a year makes every new timer one that is before those that were due."""
    store = rocksdb_store(0)(tmp_path / "live")
    clock = Clock(store)
    clock.set("first", clock.now)
    assert clock.activate() == ["first"]
    clock.now -= timedelta(days=365)
    keys = [f"key{number}" for number in range(MAX_BEFORE_FRONTIER + 500)]
    for number, key in enumerate(keys):
        clock.set(key, clock.now + SECOND + number * INSTANT)
    assert len(clock.timers._spilled[0]._before_frontier) <= MAX_BEFORE_FRONTIER
    clock.activate(SECOND / 2)
    found = []
    for _ in range(300):
        found += clock.activate(SECOND / 10)
    assert sorted(found) == sorted(keys)
    assert len(store.contents()) == len(keys) + 1
    store.close()


def test_a_pause_grows_with_what_is_held_back(tmp_path: Path) -> None:
    """So that a worker is free for something else, most of the time."""
    store = rocksdb_store(0)(tmp_path / "live")
    clock = Clock(store)
    keys = [f"old{number}" for number in range(5 * RUN)]
    clock.again = dict.fromkeys(keys, PAST)
    for key in keys:
        clock.set(key, PAST)
    began = clock.now
    count = 0
    while clock.now < began + 5 * SECOND:
        count += len(clock.activate(10 * INSTANT))
    assert 4 / SECONDS_EACH < count < 6 / SECONDS_EACH
    store.close()


def test_a_pause_is_longer_than_what_it_is_between() -> None:
    """However long the keys take, and whatever the clock does meanwhile."""
    hold = Hold(range(8))
    for _ in range(10):
        hold.note(100, SECOND)
    assert hold.pause(100) > 2 * 8 * SECOND
    for _ in range(20):
        hold.note(100, -SECOND)
    assert hold.pause(100) == MIN_PAUSE
