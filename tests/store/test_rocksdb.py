"""The RocksDB store: the contract with a roomy cache, a small one and none, and what is spilled when."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bytewax_state.store.base import WALK
from bytewax_state.store.visit import SHARE, TURN
from tests.contracts.store_contract import (
    NOW,
    SECOND,
    Box,
    BoxRows,
    Open,
    StoreContract,
    contents,
    put,
    rocksdb_store,
)

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
    store = rocksdb_store(100)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(1_000):
        put(part, f"k{number}", number)
        assert len(part.live) <= 100
    store.close()


def test_a_hot_key_is_not_spilled(tmp_path: Path) -> None:
    """It is serialised once for a freeze, not once for an access."""
    store = rocksdb_store(100)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(1_000):
        put(part, "hot", number)
        put(part, f"k{number}", number)
        assert "hot" in part.live
    store.close()


def test_what_cannot_be_spilled_stays(tmp_path: Path) -> None:
    """And does not keep others from being spilled, nor is it tried at every call."""
    store = rocksdb_store(10)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(200):
        put(part, f"n{number}", None)
    for number in range(200):
        put(part, f"k{number}", number)
    assert sum(part.live[key].value is None for key in part.live) == 200
    assert len(part.live) < 330
    rows = store._rows
    assert isinstance(rows, BoxRows)
    assert part.fetch(["k0"])["k0"].value == 0
    store.close()


def test_deleted_keys_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    """A tombstone is needed only until its row is gone."""
    store = rocksdb_store(10)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(3 * WALK):
        put(part, f"k{number}", number)
        del part.fetch([f"k{number}"])[f"k{number}"]
        part.settle()
    assert len(part.changed) <= WALK + 20
    assert contents(part) == {}
    store.close()


def test_timers_of_spilled_keys_are_served_some_at_a_time(tmp_path: Path) -> None:
    """A million keys may be due at the same minute."""
    store = rocksdb_store(10)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(2 * WALK + 100):
        put(part, f"k{number}", number, NOW + number % 7 * SECOND)
    served: list[str] = []
    while (due := part.next_due(lambda: NOW)) is not None and due <= NOW + 10 * SECOND:
        keys = part.pop_due(NOW + 10 * SECOND)
        assert len(keys) <= WALK + 20
        live = part.fetch(keys)
        for key in keys:
            del live[key]
            part.timers.drop(key)
            part.changed.add(key)
        part.settle()
        served += keys
    assert sorted(served) == sorted(f"k{number}" for number in range(2 * WALK + 100))
    store.close()


def test_a_spilled_timer_that_is_due_again_comes_back_later(tmp_path: Path) -> None:
    """Even if its logic is spilled between two notifications."""
    store = rocksdb_store(0)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    put(part, "a", 1, NOW - SECOND)
    for _ in range(3):
        assert part.pop_due(NOW) in ([], ["a"])
        put(part, "a", 1, NOW - SECOND)
    assert part.pop_due(NOW + SECOND) == ["a"]
    store.close()


@pytest.mark.parametrize("every", [2, 100, 10_000])
def test_the_walk_comes_to_all_that_matters_and_leaves_nothing_else_live(every: int, tmp_path: Path) -> None:
    """No object speaks for another one; what does not matter costs neither memory nor a write."""
    store = rocksdb_store(0)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(2 * WALK + 1):
        put(part, f"k{number}", number)
    store.freeze(tmp_path / "before")
    found: list[str] = []
    for keys in part.walk(lambda item: item.value % every == every - 1):
        assert len(part.live) == len(keys)
        found += keys
        part.settle()
    assert sorted(found) == sorted(f"k{number}" for number in range(every - 1, 2 * WALK + 1, every))
    assert part.live == {}
    assert store.freeze(tmp_path / "after").changed_bytes == 0
    store.close()


def test_a_visit_does_not_hold_the_flow(tmp_path: Path) -> None:
    """However many groups go on with theirs at once, and however slow an answer is."""
    store = rocksdb_store(0)(tmp_path / "live", True)
    for group in range(8):
        part = store.add(group, restored=False)
        for number in range(200):
            put(part, f"k{number}", number, NOW + 90 * SECOND)
    store.freeze(tmp_path / "image")
    store.close()
    store = rocksdb_store(0)(tmp_path / "image", False)
    rows = store._rows
    assert isinstance(rows, BoxRows)
    clock = [NOW]

    def answer(key: str, item: Box) -> datetime | None:
        clock[0] += timedelta(milliseconds=1)
        return item.due

    rows.answers = answer
    parts = [store.add(group, restored=True) for group in range(8)]
    while len(rows.asked) < 8 * 200:
        began, before = clock[0], len(rows.asked)
        for part in parts:
            part.visit(lambda: clock[0])
            assert part.live == {}
        assert len(rows.asked) - before <= TURN
        due = min(due for part in parts if (due := part.next_due(lambda: clock[0])) is not None)
        assert due - clock[0] >= SHARE * (clock[0] - began)
        clock[0] = due
    store.close()


def test_an_idle_clock_that_is_set_back_does_not_stop_a_visit(tmp_path: Path) -> None:
    """Or a restored object would wait to be asked for as long as the clock went back."""
    store = rocksdb_store(0)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(2 * TURN):
        put(part, f"k{number}", number, NOW + 90 * SECOND)
    store.freeze(tmp_path / "image")
    store.close()
    store = rocksdb_store(0)(tmp_path / "image", False)
    rows = store._rows
    assert isinstance(rows, BoxRows)
    part = store.add(0, restored=True)
    part.visit(lambda: NOW)
    part.visit(lambda: NOW - 3600 * SECOND)
    assert len(rows.asked) == 2 * TURN
    store.close()
