"""What every store does, whatever it keeps in memory: one suite, run by the test module of each backend."""

import os
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from bytewax_state.keyed.states import States
from bytewax_state.keygroups import group_of
from bytewax_state.store.store import Backend, Frozen, Store, heap, rocksdb
from bytewax_state.store.table import Memory, Table

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)


class Box:
    """A live object, which wants to be notified or not."""

    def __init__(self, value: object, due: datetime | None = None) -> None:
        self.value = value
        self.due = due


class Boxes:
    """What is known of boxes; one of `None` refuses to be spilled."""

    expects_timers = True

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


Answers = Callable[[str, Box], datetime | None]
Restored = Mapping[int, int | None]


class BoxStore:
    """A store of boxes, used as a processor uses it."""

    def __init__(
        self,
        table: Table,
        backend: Backend,
        key_groups: int,
        restored: Restored,
        answers: Answers | None = None,
        groups: Collection[int] | None = None,
    ) -> None:
        self.store = Store(table, backend, key_groups, range(key_groups) if groups is None else groups, restored)
        self.boxes = Boxes()
        self.boxes.answers = answers or self.boxes.answers
        self.now = NOW
        self.states = States(self.store, key_groups, self.boxes, os.urandom(8), lambda: self.now)
        self.states.restore()

    @property
    def live(self) -> dict[str, Box]:
        return self.states.column.live

    def get(self, key: str) -> Box | None:
        """Read a value, and spill what is too much afterwards."""
        found = self.fetch([key]).get(key)
        self.settle()
        return found

    def fetch(self, keys: Iterable[str]) -> dict[str, Box]:
        return self.states.column.fetch(dict.fromkeys(keys))

    def settle(self) -> None:
        self.states.settle()

    def put(self, key: str, value: object, due: datetime | None = None) -> None:
        """Do what a processor does with a batch for one key."""
        self.fetch([key])
        self.states.column.add(key, Box(value, due))
        if due is not None:
            self.states.timers.set(key, due, lambda: self.now)
        self.states.column.change([key])
        self.settle()

    def delete(self, key: str) -> None:
        self.fetch([key])
        self.states.column.remove(key)
        self.states.timers.drop(key)
        self.states.column.change([key])
        self.settle()

    def next_due(self, now: datetime) -> datetime | None:
        """Say when anything is due, or to be visited."""
        self.now = now
        groups = self.store.groups
        times = [self.states.next(group, groups, lambda one: now) for group in groups]
        return min((time for time in times if time is not None), default=None)

    def pop_due(self, now: datetime) -> list[str]:
        """Take keys that are due off the schedule, and return them in their order."""
        self.now = now
        found: list[str] = []
        for keys in self.states.pop_due(now, self.store.groups):
            for key in keys:
                self.states.timers.drop(key)
            self.states.column.change(keys)
            self.settle()
            found += keys
        return found

    def visit_all(self) -> None:
        self.states.visit_all()

    def contents(self) -> dict[str, object]:
        """Read everything."""
        found: dict[str, object] = {}
        for keys in self.states.column.walk(lambda item: True):
            found |= {key: self.live[key].value for key in keys}
            self.settle()
        return found

    def freeze(self, path: Path) -> Frozen:
        return self.store.freeze(path)

    def close(self) -> None:
        self.store.close()


class Open:
    """Opens stores of one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __call__(
        self, path: Path, restored: Restored | None = None, key_groups: int = 1, answers: Answers | None = None
    ) -> BoxStore:
        """Open a new table, or a frozen one that has the rows of some key groups."""
        table = Table.open(path, Memory.of(8 << 20), create=restored is None)
        return BoxStore(table, self.backend, key_groups, restored or {}, answers)


heap_store = Open(heap)


def rocksdb_store(capacity: int) -> Open:
    """Keep so many boxes in memory."""
    return Open(rocksdb(capacity, lambda count: None, lambda count: None))


ALL: Restored = {0: None}
"""Of a store with one key group, whose keys nobody counted."""


class StoreContract:
    """Subclasses give the fixture `open_store`."""

    @pytest.fixture
    def store(self, open_store: Open, tmp_path: Path) -> BoxStore:
        self.last = open_store(tmp_path / "live")
        return self.last

    def reopen(self, open_store: Open, tmp_path: Path, answers: Answers | None = None) -> BoxStore:
        path = tmp_path / f"reopened-{len(list(tmp_path.iterdir()))}"
        self.last.freeze(path)
        self.last.close()
        self.last = open_store(path, ALL, answers=answers)
        return self.last

    @pytest.fixture(autouse=True)
    def closed(self, tmp_path: Path) -> Iterator[None]:
        yield
        # Before its folder goes: RocksDB waits a second for a file that it cannot make.
        if hasattr(self, "last"):
            self.last.close()

    def test_what_was_put_is_fetched(self, store: BoxStore) -> None:
        """A value is there as long as nobody deletes it, in memory or not."""
        for number in range(100):
            store.put(f"k{number}", number)
        assert {key: store.fetch([key])[key].value for key in ("k0", "k50", "k99")} == {"k0": 0, "k50": 50, "k99": 99}

    def test_a_key_without_a_value_is_missing(self, store: BoxStore) -> None:
        """A miss is a miss, before and after others were spilled."""
        store.put("a", 1)
        assert "b" not in store.fetch(["b"])

    def test_a_deleted_key_does_not_come_back(self, store: BoxStore, open_store: Open, tmp_path: Path) -> None:
        """Not from the table, whether it was frozen before or not, and not after a restart."""
        store.put("frozen", 1)
        store.freeze(tmp_path / "frozen-1")
        store.put("new", 2)
        for key in ("frozen", "new"):
            store.delete(key)
            assert key not in store.fetch([key])
        again = self.reopen(open_store, tmp_path)
        assert again.contents() == {}

    def test_a_freeze_holds_everything_at_its_moment(self, store: BoxStore, open_store: Open, tmp_path: Path) -> None:
        """Changes after it are not in it."""
        for number in range(50):
            store.put(f"k{number}", number)
        store.freeze(tmp_path / "frozen-1")
        store.put("k1", "later")
        store.delete("k2")
        store.close()
        self.last = open_store(tmp_path / "frozen-1", ALL)
        assert self.last.contents() == {f"k{number}": number for number in range(50)}

    def test_a_restored_store_goes_on(self, store: BoxStore, open_store: Open, tmp_path: Path) -> None:
        """Restored values change, go, and are frozen again like any."""
        for number in range(50):
            store.put(f"k{number}", number)
        again = self.reopen(open_store, tmp_path)
        again.put("k1", "one")
        again.delete("k2")
        third = self.reopen(open_store, tmp_path)
        expected = {f"k{number}": number for number in range(50)} | {"k1": "one"}
        del expected["k2"]
        assert third.contents() == expected

    def test_a_group_is_restored_without_the_others(self, open_store: Open, tmp_path: Path) -> None:
        """As these may be another worker's."""
        self.last = open_store(tmp_path / "live", key_groups=8)
        keys = [f"k{number}" for number in range(100)]
        for key in keys:
            self.last.put(key, key, NOW + SECOND)
        self.last.freeze(tmp_path / "frozen")
        self.last.close()
        self.last = open_store(tmp_path / "frozen", {2: None, 5: None}, key_groups=8)
        ours = [key for key in keys if group_of(key, 8) in (2, 5)]
        assert 0 < len(ours) < 100
        assert self.last.contents() == {key: key for key in ours}
        self.last.visit_all()
        assert self.last.pop_due(NOW + SECOND) == sorted(ours)

    def test_a_group_that_did_not_change_keeps_its_version(self, open_store: Open, tmp_path: Path) -> None:
        """A ref of an older version can be served by a newer manifest then."""
        self.last = store = open_store(tmp_path / "live", key_groups=2)
        keys = {group_of(key, 2): key for key in "abcdefgh"}
        for key in keys.values():
            store.put(key, 1)
        store.freeze(tmp_path / "1")
        store.put(keys[0], 2)
        assert store.freeze(tmp_path / "2").groups == {0: 2, 1: 1}
        assert store.freeze(tmp_path / "3").groups == {0: 2, 1: 1}

    def test_timers_come_when_due(self, store: BoxStore) -> None:
        """Each once."""
        for number in (3, 1, 2):
            store.put(f"k{number}", number, NOW + number * SECOND)
        assert (store.next_due(NOW) or NOW) <= NOW + SECOND
        assert store.pop_due(NOW) == []
        assert store.pop_due(NOW + 2 * SECOND) == ["k1", "k2"]

    def test_timers_survive_a_restart(self, store: BoxStore, open_store: Open, tmp_path: Path) -> None:
        """With the time that was asked for last."""
        store.put("moved", 1, NOW + SECOND)
        store.put("dropped", 1, NOW + SECOND)
        store.freeze(tmp_path / "frozen-1")
        store.put("moved", 1, NOW + 5 * SECOND)
        store.delete("dropped")
        again = self.reopen(open_store, tmp_path)
        again.visit_all()
        assert again.next_due(NOW) == NOW + 5 * SECOND
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
        store: BoxStore,
        open_store: Open,
        tmp_path: Path,
    ) -> None:
        """What it said in the execution before does not count, be it later, earlier or never."""
        for number in range(20):
            store.put(f"k{number:02}", number, before and NOW + before)
        answer = after and NOW + after
        again = self.reopen(open_store, tmp_path, answers=lambda key, item: answer)
        for number in range(20 if touched else 0):
            again.fetch([f"k{number:02}"])
            again.settle()
        again.pop_due(NOW - 5 * SECOND)
        for at in (NOW, NOW + 5 * SECOND, NOW + 10 * SECOND):
            again.visit_all()
            due = answer is not None and at - 5 * SECOND < answer <= at
            assert sorted(again.pop_due(at)) == ([f"k{number:02}" for number in range(20)] if due else [])

    def test_each_restored_object_is_asked_once(self, store: BoxStore, open_store: Open, tmp_path: Path) -> None:
        """Whether it is loaded, changed, spilled, deleted, notified or frozen before its turn; and no new one is."""
        keys = [f"k{number:02}" for number in range(40)]
        for key in keys:
            store.put(key, 1, NOW)
        again = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 9 * SECOND)
        again.pop_due(NOW)
        for key in (*keys[::3], *keys[::3], "new", "l"):
            again.put(key, 2, NOW + SECOND)
        for key in (*keys[::4], "new"):
            again.delete(key)
        again.put(keys[4], 3)
        again.freeze(tmp_path / "frozen-1")
        for key in keys[::5]:
            again.fetch([key])
            again.settle()
        again.visit_all()
        again.contents()
        assert sorted(self.last.boxes.asked) == keys

    def test_what_this_execution_wrote_keeps_its_timer(self, store: BoxStore, open_store: Open, tmp_path: Path) -> None:
        """Though the visit has yet to come to it: an object may keep its time to itself, and be spilled meanwhile."""
        keys = [f"k{number:02}" for number in range(20)]
        for key in keys:
            store.put(key, 1, NOW)
        again = self.reopen(open_store, tmp_path, answers=lambda key, item: None)
        for key in keys:
            again.put(key, 2, NOW + SECOND)
        again.visit_all()
        assert again.pop_due(NOW) == []
        assert sorted(again.pop_due(NOW + SECOND)) == keys

    @pytest.mark.parametrize("visited", [0, 1, 10])
    def test_another_restart_asks_all_anew(
        self, visited: int, store: BoxStore, open_store: Open, tmp_path: Path
    ) -> None:
        """Also in the middle of a visit, when some rows are of this execution and some of the one before."""
        keys = [f"k{number:02}" for number in range(20)]
        for key in keys:
            store.put(key, 1, NOW)
        second = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 5 * SECOND)
        for key in keys[:visited]:
            second.put(key, 2, NOW + 2 * SECOND)
        third = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 7 * SECOND)
        third.visit_all()
        assert third.pop_due(NOW + 6 * SECOND) == []
        assert sorted(third.pop_due(NOW + 7 * SECOND)) == keys
        assert sorted(self.last.boxes.asked) == keys

    @pytest.mark.parametrize("touched", [False, True])
    def test_an_answer_that_is_the_old_one_leaves_no_trace(
        self, touched: bool, store: BoxStore, open_store: Open, tmp_path: Path
    ) -> None:
        """No row is written, so that the next snapshot is as small as if nobody had asked; another one is."""
        for number in range(30):
            store.put(f"k{number}", number, None if number % 2 else NOW + SECOND)
        again = self.reopen(open_store, tmp_path)
        for number in range(30 if touched else 0):
            again.fetch([f"k{number}"])
            again.settle()
        again.visit_all()
        assert again.freeze(tmp_path / "same").changed_bytes == 0
        other = self.reopen(open_store, tmp_path, answers=lambda key, item: NOW + 2 * SECOND)
        other.visit_all()
        assert other.freeze(tmp_path / "other").changed_bytes > 30 * 20

    def test_a_timer_that_is_due_again_waits_a_moment(self, store: BoxStore) -> None:
        """Or a window over old events would be notified at every activation."""
        store.put("a", 1, NOW - SECOND)
        assert store.pop_due(NOW) == ["a"]
        store.fetch(["a"])
        store.states.timers.again("a", NOW - SECOND, NOW)
        assert store.pop_due(NOW) == []
        assert store.pop_due(NOW + SECOND) == ["a"]

    def test_changed_bytes_are_those_of_the_rows_that_changed(self, store: BoxStore, tmp_path: Path) -> None:
        """Whether they left memory before the freeze or in it."""
        for number in range(100):
            store.put(f"k{number:03}", "x" * 100)
        first = store.freeze(tmp_path / "1").changed_bytes
        assert 100 * 100 < first < 100 * 160
        store.put("k001", "y" * 100)
        assert 100 < store.freeze(tmp_path / "2").changed_bytes < 160
