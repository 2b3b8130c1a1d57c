"""The RocksDB backend: the contract with a roomy cache, a small one and none, and what is spilled when."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bytewax_state.keyed.visit import SHARE, TURN
from bytewax_state.keygroups import group_of
from bytewax_state.store.column import RUN
from tests.contracts.store_contract import ALL, NOW, SECOND, Box, Open, StoreContract, rocksdb_store

pytestmark = pytest.mark.disk


class TestRoomyCache(StoreContract):
    """Everything stays live."""

    @pytest.fixture
    def open_store(self) -> Open:
        return rocksdb_store(10_000)


class TestSmallCache(StoreContract):
    """Most is spilled."""

    @pytest.fixture
    def open_store(self) -> Open:
        return rocksdb_store(3)


class TestNoCache(StoreContract):
    """Everything is spilled, always."""

    @pytest.fixture
    def open_store(self) -> Open:
        return rocksdb_store(0)


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    """However many keys there are."""
    store = rocksdb_store(100)(tmp_path / "live")
    for number in range(1_000):
        store.put(f"k{number}", number)
        assert len(store.live) <= 100
    store.close()


def test_a_hot_key_is_not_spilled(tmp_path: Path) -> None:
    """It is serialised once for a freeze, not once for an access."""
    store = rocksdb_store(100)(tmp_path / "live")
    for number in range(1_000):
        store.put("hot", number)
        store.put(f"k{number}", number)
        assert "hot" in store.live
    store.close()


def test_the_coldest_are_spilled(tmp_path: Path) -> None:
    """Those that were not used for longest, as long as others were used since."""
    store = rocksdb_store(100)(tmp_path / "live")
    warm = [f"warm{number}" for number in range(40)]
    for number in range(1_000):
        store.put(warm[number % 40], number)
        store.put(f"k{number}", number)
    assert store.live.keys() >= {*warm}
    store.close()


def test_what_cannot_be_spilled_stays(tmp_path: Path) -> None:
    """And does not keep others from being spilled, nor is it tried at every call."""
    store = rocksdb_store(10)(tmp_path / "live")
    for number in range(200):
        store.put(f"n{number}", None)
    for number in range(200):
        store.put(f"k{number}", number)
    assert sum(box.value is None for box in store.live.values()) == 200
    assert len(store.live) < 330
    assert store.fetch(["k0"])["k0"].value == 0
    store.close()


def test_deleted_keys_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    """A tombstone is needed only until its row is gone, and not at all where there is no row."""
    store = rocksdb_store(10)(tmp_path / "live")
    for number in range(3 * RUN):
        store.put(f"k{number}", number)
    for number in range(3 * RUN):
        store.delete(f"k{number}")
        store.put("new", number)
        store.delete("new")
    assert len(store.states.column.changed) + len(store.states.column._gone) <= 2 * (RUN + 20)
    assert store.contents() == {}
    store.close()


def test_timers_of_spilled_keys_are_served_some_at_a_time(tmp_path: Path) -> None:
    """A million keys may be due at the same minute."""
    store = rocksdb_store(10)(tmp_path / "live")
    for number in range(2 * RUN + 100):
        store.put(f"k{number}", number, NOW + number % 7 * SECOND)
    served: list[str] = []
    while (due := store.next_due(NOW + 10 * SECOND)) is not None and due <= NOW + 10 * SECOND:
        keys = store.pop_due(NOW + 10 * SECOND)
        assert len(keys) <= RUN + 20
        for key in keys:
            store.delete(key)
        served += keys
    assert sorted(served) == sorted(f"k{number}" for number in range(2 * RUN + 100))
    store.close()


def test_a_timer_is_not_lost_where_its_key_leaves_memory_while_others_are_served(tmp_path: Path) -> None:
    """In the midst of a visit, which takes what a row says for old: this one was written with no time any more."""
    store = rocksdb_store(10)(tmp_path / "live")
    for number in range(100):
        store.put(f"old{number}", number)
    store.freeze(tmp_path / "frozen")
    store.close()
    store = rocksdb_store(2 * RUN)(tmp_path / "frozen", ALL)
    keys = [f"k{number:04}" for number in range(2 * RUN)]
    for key in keys:
        store.put(key, 1, NOW)
    spilled = [f"n{number}" for number in range(RUN)]
    served: list[str] = []
    for run in store.states.pop_due(NOW, {0}):
        for key in spilled:
            store.put(key, 1)
        served += run
    assert served == keys
    store.close()


def test_keys_that_come_and_go_leave_nothing_in_memory(tmp_path: Path) -> None:
    """Though nothing is ever frozen, where others stay that nearly fill the cache, and some had been spilled."""
    store = rocksdb_store(100)(tmp_path / "live")
    for number in range(5 * RUN):
        store.put(f"spilled{number}", number, NOW + SECOND)
    for number in range(90):
        store.put(f"stays{number}", number, NOW + SECOND)
    for number in range(5 * RUN):
        for key in (f"spilled{number}", f"k{number}"):
            store.put(key, number, NOW + SECOND)
            store.delete(key)
    column, timers = store.states.column, store.states.timers
    noted = {name: len(getattr(column, name)) for name in ("live", "changed", "_fresh", "_gone", "_used")}
    noted |= {name: len(getattr(timers, name)) for name in ("_entries", "_stored", "_stale", "_order")}
    noted["heaps"] = sum(len(one._heap) + len(one._queued) for one in timers._timers.values())
    assert max(noted.values()) < 2 * RUN, noted
    store.close()


def test_a_spilled_timer_that_is_due_again_comes_back_later(tmp_path: Path) -> None:
    """Even if its logic is spilled between two notifications."""
    store = rocksdb_store(0)(tmp_path / "live")
    store.put("a", 1, NOW - SECOND)
    for _ in range(3):
        assert store.pop_due(NOW) in ([], ["a"])
        store.put("a", 1, NOW - SECOND)
    assert store.pop_due(NOW + SECOND) == ["a"]
    store.close()


@pytest.mark.parametrize("every", [2, 100, 10_000])
def test_the_walk_comes_to_all_that_matters_and_leaves_nothing_else_live(every: int, tmp_path: Path) -> None:
    """No object speaks for another one; what does not matter costs neither memory nor a write."""
    store = rocksdb_store(0)(tmp_path / "live", key_groups=4)
    for number in range(2 * RUN + 1):
        store.put(f"k{number}", number)
    store.freeze(tmp_path / "before")
    found: list[str] = []
    for keys in store.states.column.walk(lambda item: item.value % every == every - 1):
        assert len(store.live) == len(keys)
        found += keys
        store.settle()
    assert sorted(found) == sorted(f"k{number}" for number in range(every - 1, 2 * RUN + 1, every))
    assert store.live == {}
    assert store.freeze(tmp_path / "after").changed_bytes == 0
    store.close()


def test_the_walk_is_in_the_order_of_the_keys_where_all_fit_into_memory(tmp_path: Path) -> None:
    """Though some of them have yet to come there."""
    store = rocksdb_store(1_000)(tmp_path / "live", key_groups=4)
    keys = [f"k{number:03}" for number in range(500)]
    for key in keys:
        store.put(key, 1)
    store.freeze(tmp_path / "frozen")
    store.close()
    store = rocksdb_store(1_000)(tmp_path / "frozen", dict.fromkeys(range(4)), key_groups=4)
    for key in keys[::3]:
        store.get(key)
    assert [*store.states.column.walk(lambda item: True)] == [keys]
    store.close()


def test_a_visit_does_not_hold_the_flow(tmp_path: Path) -> None:
    """However many groups go on with theirs at once, and however slow an answer is."""
    store = rocksdb_store(0)(tmp_path / "live", key_groups=8)
    for number in range(1600):
        store.put(f"k{number}", number, NOW + 90 * SECOND)
    store.freeze(tmp_path / "image")
    store.close()

    def answer(key: str, item: Box) -> datetime | None:
        store.now += timedelta(milliseconds=1)
        return item.due

    store = rocksdb_store(0)(tmp_path / "image", dict.fromkeys(range(8)), key_groups=8, answers=answer)
    while len(store.boxes.asked) < 1600:
        began, before = store.now, len(store.boxes.asked)
        for group in range(8):
            store.states.visit(group)
            assert store.live == {}
        assert len(store.boxes.asked) - before <= TURN
        for due in [store.states._pace.next(store.now)] if store.states._visits else []:
            assert due - store.now >= SHARE * (store.now - began)
        store.now = store.states._pace.next(store.now)
    store.close()


def test_an_idle_clock_that_is_set_back_does_not_stop_a_visit(tmp_path: Path) -> None:
    """Or a restored object would wait to be asked for as long as the clock went back."""
    store = rocksdb_store(0)(tmp_path / "live")
    for number in range(2 * TURN):
        store.put(f"k{number}", number, NOW + 90 * SECOND)
    store.freeze(tmp_path / "image")
    store.close()
    store = rocksdb_store(0)(tmp_path / "image", ALL)
    for at in (NOW, NOW - 3600 * SECOND):
        store.now = at
        store.states.visit(0)
    assert len(store.boxes.asked) == 2 * TURN
    store.close()


def test_visits_end(tmp_path: Path) -> None:
    """With the last key of each group, so that rows are written without a mark again."""
    store = rocksdb_store(0)(tmp_path / "live", key_groups=4)
    keys = {group_of(key, 4): key for key in "abcdefghijkl"}
    for key in keys.values():
        store.put(key, 1)
    store.freeze(tmp_path / "image")
    store.close()
    store = rocksdb_store(0)(tmp_path / "image", dict.fromkeys(range(4)), key_groups=4)
    for group in range(4):
        assert store.states.next_of(group) is not None
        store.states.visit(group)
        assert store.states.next_of(group) is None
    store.close()
