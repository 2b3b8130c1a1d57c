"""What every store does, whatever it keeps in memory: one suite, run by each store's test module."""

import os
import pickle
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from bytewax_state.store.base import Slice, Store
from bytewax_state.store.heap import HeapStore
from bytewax_state.store.rocksdb import RocksDBStore
from bytewax_state.store.table import Memory, Table

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)


class Box:
    """A live object, which wants to be notified or not."""

    def __init__(self, value: object, due: datetime | None = None) -> None:
        self.value = value
        self.due = due


class BoxRows:
    """Boxes as rows; a box of `None` refuses to be spilled."""

    wakes = True

    def __init__(self) -> None:
        self.dumps = 0
        self.loads = 0
        self.answers: Callable[[str, Box], datetime | None] = lambda key, item: item.due
        """What objects say when they are asked when to notify them; a new version of a flow may say something else."""
        self.asked: list[str] = []

    def dump(self, key: str, item: Box) -> bytes:
        self.dumps += 1
        return pickle.dumps((item.value, item.due))

    def load(self, key: str, data: bytes) -> Box:
        self.loads += 1
        return Box(*pickle.loads(data))

    def due(self, key: str, item: Box) -> datetime | None:
        self.asked.append(key)
        return self.answers(key, item)

    def spill(self, key: str, item: Box) -> bytes | None:
        return None if item.value is None else self.dump(key, item)


Open = Callable[[Path, bool], Store[Box]]
Answers = Callable[[str, Box], datetime | None]


def open_store(table: Callable[[], Table], capacity: int | None) -> Store[Box]:
    """Make a heap store, or a RocksDB store that keeps so many objects live."""
    if capacity is None:
        return HeapStore(BoxRows(), table)
    return RocksDBStore(BoxRows(), table, capacity, 1, lambda count: None, lambda count: None, os.urandom(8))


def store_of(capacity: int | None) -> Open:
    return lambda path, create: open_store(lambda: Table.open(path, Memory.of(8 << 20), create), capacity)


heap_store, rocksdb_store = store_of(None), store_of


def put(part: Slice[Box], key: str, value: object, due: datetime | None = None) -> None:
    """Do what the logic of a key group does with a batch for one key."""
    live = part.fetch([key])
    live[key] = Box(value, due)
    if due is not None:
        part.timers.set(key, due, lambda: NOW)
    part.changed.add(key)
    part.settle()


def delete(part: Slice[Box], key: str) -> None:
    del part.fetch([key])[key]
    part.timers.drop(key)
    part.changed.add(key)
    part.settle()


def contents(part: Slice[Box]) -> dict[str, object]:
    """Read everything."""
    found: dict[str, object] = {}
    for keys in part.walk(lambda item: True):
        found |= {key: part.live[key].value for key in keys}
        part.settle()
    return found


class StoreContract:
    """Subclasses give the fixture `open_store`."""

    @pytest.fixture
    def part(self, open_store: Open, tmp_path: Path) -> Slice[Box]:
        self.store = open_store(tmp_path / "live", True)
        return self.store.add(5, restored=False)

    def reopen(
        self, open_store: Open, tmp_path: Path, groups: tuple[int, ...] = (5,), answers: Answers | None = None
    ) -> list[Slice[Box]]:
        path = tmp_path / f"reopened-{len(list(tmp_path.iterdir()))}"
        self.store.freeze(path)
        self.store.close()
        self.store = open_store(path, False)
        self.rows.answers = answers or self.rows.answers
        return [self.store.add(group, restored=True) for group in groups]

    @property
    def rows(self) -> BoxRows:
        assert isinstance(self.store._rows, BoxRows)
        return self.store._rows

    @pytest.fixture(autouse=True)
    def closed(self, tmp_path: Path) -> Iterator[None]:
        yield
        # Before its folder goes: RocksDB waits a second for a file that it cannot make.
        if hasattr(self, "store"):
            self.store.close()

    def test_what_was_put_is_fetched(self, part: Slice[Box]) -> None:
        """A value is there as long as nobody deletes it, in memory or not."""
        for number in range(100):
            put(part, f"k{number}", number)
        assert {key: part.fetch([key])[key].value for key in ("k0", "k50", "k99")} == {"k0": 0, "k50": 50, "k99": 99}

    def test_a_key_without_a_value_is_missing(self, part: Slice[Box]) -> None:
        """A miss is a miss, before and after others were spilled."""
        put(part, "a", 1)
        assert "b" not in part.fetch(["b"])

    def test_a_deleted_key_does_not_come_back(self, part: Slice[Box], open_store: Open, tmp_path: Path) -> None:
        """Not from the table, whether it was frozen before or not, and not after a restart."""
        put(part, "frozen", 1)
        self.store.freeze(tmp_path / "frozen-1")
        put(part, "new", 2)
        for key in ("frozen", "new"):
            delete(part, key)
            assert key not in part.fetch([key])
        (again,) = self.reopen(open_store, tmp_path)
        assert contents(again) == {}

    def test_a_freeze_holds_everything_at_its_moment(self, part: Slice[Box], open_store: Open, tmp_path: Path) -> None:
        """Changes after it are not in it."""
        for number in range(50):
            put(part, f"k{number}", number)
        self.store.freeze(tmp_path / "frozen-1")
        put(part, "k1", "later")
        delete(part, "k2")
        self.store.close()
        self.store = open_store(tmp_path / "frozen-1", False)
        assert contents(self.store.add(5, restored=True)) == {f"k{number}": number for number in range(50)}

    def test_a_restored_store_goes_on(self, part: Slice[Box], open_store: Open, tmp_path: Path) -> None:
        """Restored values change, go, and are frozen again like any."""
        for number in range(50):
            put(part, f"k{number}", number)
        (again,) = self.reopen(open_store, tmp_path)
        put(again, "k1", "one")
        delete(again, "k2")
        (third,) = self.reopen(open_store, tmp_path)
        expected = {f"k{number}": number for number in range(50)} | {"k1": "one"}
        del expected["k2"]
        assert contents(third) == expected

    def test_groups_do_not_mix(self, part: Slice[Box], open_store: Open, tmp_path: Path) -> None:
        """The same key may be in two groups, as two steps' names may collide in a future state."""
        other = self.store.add(6, restored=False)
        put(part, "a", 5)
        put(other, "a", 6)
        assert [contents(one) for one in self.reopen(open_store, tmp_path, (5, 6))] == [{"a": 5}, {"a": 6}]

    def test_a_group_that_did_not_change_keeps_its_version(self, part: Slice[Box], tmp_path: Path) -> None:
        """A ref of an older version can be served by a newer manifest then."""
        other = self.store.add(6, restored=False)
        put(part, "a", 1)
        put(other, "a", 1)
        self.store.freeze(tmp_path / "1")
        put(part, "a", 2)
        assert self.store.freeze(tmp_path / "2").groups == {5: 2, 6: 1}
        assert self.store.freeze(tmp_path / "3").groups == {5: 2, 6: 1}

    def test_timers_come_when_due(self, part: Slice[Box]) -> None:
        """In the order of their times, each once."""
        for number in (3, 1, 2):
            put(part, f"k{number}", number, NOW + number * SECOND)
        assert part.next_due(lambda: NOW) is not None and part.next_due(lambda: NOW) <= NOW + SECOND
        assert part.pop_due(NOW) == []
        assert part.pop_due(NOW + 2 * SECOND) == ["k1", "k2"]

    def test_timers_survive_a_restart(self, part: Slice[Box], open_store: Open, tmp_path: Path) -> None:
        """With the time that was asked for last."""
        put(part, "moved", 1, NOW + SECOND)
        put(part, "dropped", 1, NOW + SECOND)
        self.store.freeze(tmp_path / "frozen-1")
        put(part, "moved", 1, NOW + 5 * SECOND)
        delete(part, "dropped")
        (again,) = self.reopen(open_store, tmp_path)
        again.visit_all()
        assert again.next_due(lambda: NOW) == NOW + 5 * SECOND
        assert again.pop_due(NOW + 4 * SECOND) == []
        assert again.pop_due(NOW + 5 * SECOND) == ["moved"]

    @pytest.mark.parametrize("after", [None, -SECOND, SECOND, 9 * SECOND])
    @pytest.mark.parametrize("before", [None, -SECOND, SECOND, 9 * SECOND])
    @pytest.mark.parametrize("touched", [False, True])
    def test_a_restored_object_says_itself_when_it_is_due(
        self,
        before: timedelta | None,
        after: timedelta | None,
        touched: bool,
        part: Slice[Box],
        open_store: Open,
        tmp_path: Path,
    ) -> None:
        """What it said in the execution before does not count, be it later, earlier or never."""
        for number in range(20):
            put(part, f"k{number:02}", number, before and NOW + before)
        answer = after and NOW + after
        (again,) = self.reopen(open_store, tmp_path, answers=lambda key, item: answer)
        for number in range(20 if touched else 0):
            again.fetch([f"k{number:02}"])
            again.settle()
        again.pop_due(NOW - 5 * SECOND)
        for at in (NOW, NOW + 5 * SECOND, NOW + 10 * SECOND):
            again.visit_all()
            due = answer is not None and at - 5 * SECOND < answer <= at
            assert sorted(again.pop_due(at)) == ([f"k{number:02}" for number in range(20)] if due else [])

    def test_each_restored_object_is_asked_once(self, part: Slice[Box], open_store: Open, tmp_path: Path) -> None:
        """Whether it is loaded, changed, spilled, deleted, notified or frozen before its turn; and no new one is."""
        keys = [f"k{number:02}" for number in range(40)]
        for key in keys:
            put(part, key, 1, NOW)
        (again,) = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 9 * SECOND)
        again.pop_due(NOW)
        for key in (*keys[::3], *keys[::3], "new", "l"):
            put(again, key, 2, NOW + SECOND)
        for key in (*keys[::4], "new"):
            delete(again, key)
        put(again, keys[4], 3)
        self.store.freeze(tmp_path / "frozen-1")
        for key in keys[::5]:
            again.fetch([key])
            again.settle()
        again.visit_all()
        contents(again)
        assert sorted(self.rows.asked) == keys

    def test_what_this_execution_wrote_keeps_its_timer(
        self, part: Slice[Box], open_store: Open, tmp_path: Path
    ) -> None:
        """Though the visit has yet to come to it: an object may keep its time to itself, and be spilled meanwhile."""
        keys = [f"k{number:02}" for number in range(20)]
        for key in keys:
            put(part, key, 1, NOW)
        (again,) = self.reopen(open_store, tmp_path, answers=lambda key, item: None)
        for key in keys:
            put(again, key, 2, NOW + SECOND)
        again.visit_all()
        assert again.pop_due(NOW) == []
        assert sorted(again.pop_due(NOW + SECOND)) == keys

    @pytest.mark.parametrize("visited", [0, 1, 10])
    def test_another_restart_asks_all_anew(
        self, visited: int, part: Slice[Box], open_store: Open, tmp_path: Path
    ) -> None:
        """Also in the middle of a visit, when some rows are of this execution and some of the one before."""
        keys = [f"k{number:02}" for number in range(20)]
        for key in keys:
            put(part, key, 1, NOW)
        (second,) = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 5 * SECOND)
        for key in keys[:visited]:
            put(second, key, 2, NOW + 2 * SECOND)
        (third,) = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 7 * SECOND)
        third.visit_all()
        assert third.pop_due(NOW + 6 * SECOND) == []
        assert sorted(third.pop_due(NOW + 7 * SECOND)) == keys
        assert sorted(self.rows.asked) == keys

    @pytest.mark.parametrize("touched", [False, True])
    def test_an_answer_that_is_the_old_one_leaves_no_trace(
        self, touched: bool, part: Slice[Box], open_store: Open, tmp_path: Path
    ) -> None:
        """No row is written, so that the next snapshot is as small as if nobody had asked; another one is."""
        for number in range(30):
            put(part, f"k{number}", number, None if number % 2 else NOW + SECOND)
        (again,) = self.reopen(open_store, tmp_path)
        for number in range(30 if touched else 0):
            again.fetch([f"k{number}"])
            again.settle()
        again.visit_all()
        assert self.store.freeze(tmp_path / "same").changed_bytes == 0
        (other,) = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 2 * SECOND)
        other.visit_all()
        assert self.store.freeze(tmp_path / "other").changed_bytes > 30 * 20

    def test_a_timer_that_is_due_again_waits_a_moment(self, part: Slice[Box]) -> None:
        """Or a window over old events would be notified at every activation."""
        put(part, "a", 1, NOW - SECOND)
        assert part.pop_due(NOW) == ["a"]
        part.fetch(["a"])
        part.timers.again("a", NOW - SECOND, NOW)
        assert part.pop_due(NOW) == []
        assert part.pop_due(NOW + SECOND) == ["a"]

    def test_changed_bytes_are_those_of_the_rows_that_changed(self, part: Slice[Box], tmp_path: Path) -> None:
        """Whether they left memory before the freeze or in it."""
        for number in range(100):
            put(part, f"k{number:03}", "x" * 100)
        first = self.store.freeze(tmp_path / "1").changed_bytes
        assert 100 * 100 < first < 100 * 160
        put(part, "k001", "y" * 100)
        assert 100 < self.store.freeze(tmp_path / "2").changed_bytes < 160
