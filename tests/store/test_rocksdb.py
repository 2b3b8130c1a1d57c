"""The RocksDB store: the contract with a roomy cache, a small one and none, and what is spilled when."""

from pathlib import Path

import pytest

from bytewax_state.store.base import WALK
from tests.contracts.store_contract import (
    NOW,
    SECOND,
    BoxRows,
    Open,
    StoreContract,
    contents,
    put,
    rocksdb_store,
)


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


def test_the_walk_rebuilds_nothing_if_nothing_matters(tmp_path: Path) -> None:
    """The end of input means nothing to most logics."""
    store = rocksdb_store(0)(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(500):
        put(part, f"k{number}", number)
    rows = store._rows
    assert isinstance(rows, BoxRows)
    before = rows.loads
    assert list(part.walk(lambda item: False)) == []
    assert rows.loads == before + 1
    store.close()
