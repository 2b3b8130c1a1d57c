"""Workers of one flow whose deletions stall, or see an old list: whoever deletes meanwhile, all can be resumed.

Two workers with a key group each: the first is busy, the second quiet, so its versions go on naming what others wrote.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from bytewax_state import Settings
from bytewax_state.dataflow.group import Chunk, GroupLogic
from bytewax_state.dataflow.worker import Step, StepWorker, storage_of
from bytewax_state.snapshot.retention import GRACE
from bytewax_state.snapshot.storage import Storage
from tests.dataflow.executions import IDS, NOW, Keep
from tests.faults import FaultyStorage

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1, seconds=10)
Refs = dict[int, bytes]
Logics = dict[int, GroupLogic]


class OldLists(FaultyStorage):
    """Lists are what they were some time ago; at once without what was deleted since, or with it."""

    def __init__(self, storage: Storage, now: Callable[[], datetime], lag: timedelta, deleted_too: bool) -> None:
        super().__init__(storage, ())
        self.stalls: list[Callable[[], object]] = []
        """What happens while this list, and the next ones, are on their way."""
        self._now, self._lag, self._deleted_too = now, lag, deleted_too
        self._made: dict[str, datetime] = {}
        self._gone: dict[str, datetime] = {}

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        self._made.setdefault(name, self._now())

    def put_file(self, local: Path, name: str) -> None:
        super().put_file(local, name)
        self._made.setdefault(name, self._now())

    def delete(self, names: object) -> None:
        some = list(names)  # type: ignore[call-overload]
        super().delete(some)
        for name in some:
            self._gone.setdefault(name, self._now())

    def list(self, prefix: str) -> list[str]:
        at = self._now() - self._lag
        shown = [name for name in sorted(self._made) if name.startswith(prefix) and self._made[name] <= at]
        names = [name for name in shown if not self._is_gone(name, at)]
        if self.stalls:
            self.stalls.pop(0)()
        return names

    def _is_gone(self, name: str, at: datetime) -> bool:
        return name in self._gone and (not self._deleted_too or self._gone[name] <= at)


class World:
    """A storage, a clock, and the workers that were begun."""

    def __init__(self, folder: Path, lag: timedelta, deleted_too: bool, **settings: object) -> None:
        self.now = NOW
        self.workers: list[StepWorker] = []
        self._folder, self._numbers = folder, count(1)
        self._settings = {"uri": str(folder / "snapshots"), "key_groups": 2, "memory": "8MiB", "codec": "pickle"}
        self._settings |= settings
        inner = storage_of(self._of("any"))
        self.storage = OldLists(inner, lambda: self.now, lag, deleted_too)

    def _of(self, host: str) -> Settings:
        return Settings(dir=self._folder / host, **self._settings)

    def begin(self, groups: dict[int, list[int]], refs: Refs | None = None, host: str = "work") -> Logics:
        """Begin an execution: worker indices to their groups; the logics by group."""
        logics = {}
        for index, own in groups.items():
            step = Step(*IDS, self._of(host), Keep)
            worker = StepWorker(
                step,
                index,
                len(groups),
                lambda: self.now,
                lambda size: next(self._numbers).to_bytes(size, "big"),
                lambda _: self.storage,
            )
            self.workers.append(worker)
            logics |= {group: GroupLogic(worker, None if refs is None else worker.note(refs[group])) for group in own}
        for group, logic in logics.items():
            logic.on_batch([Chunk(group, [])])
        return logics

    def epoch(self, logics: Logics, *items: tuple[int, str], wait: timedelta = 3 * SECOND) -> Refs:
        """End an epoch with some items, each with the time as its value."""
        self.now += wait
        for group, key in items:
            logics[group].on_batch([Chunk(group, [(key, self.now)])])
        return {group: logic.snapshot() for group, logic in logics.items()}

    def close(self) -> None:
        while self.workers:
            self.workers.pop().close()


def value(logics: Logics, group: int, key: str) -> object:
    part = logics[group]._slice
    assert part is not None
    return part.fetch([key])[key].snapshot()


def inheritance(world: World) -> tuple[Refs, object]:
    """Let one worker run, and return what two others inherit, and the value that only the quiet one of them needs."""
    old = world.begin({0: [0, 1]})
    world.epoch(old, (0, "a"), (1, "quiet"))
    expected = value(old, 1, "quiet")
    refs = world.epoch(old, (0, "a"))
    world.close()
    return refs, expected


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    made: list[World] = []
    yield made
    for one in made:
        one.close()


@pytest.mark.parametrize("lists", [0, 1])
def test_a_worker_that_hangs_between_list_and_read(lists: int, worlds: list[World], tmp_path: Path) -> None:
    """Another run takes over, and deletes all that was listed; it is the only one by then that names the old files."""
    world = World(tmp_path, lag=0 * SECOND, deleted_too=True, backend="rocksdb")
    worlds.append(world)
    written, expected = inheritance(world)
    first = world.begin({0: [0], 1: [1]}, written)
    for number in range(40):
        world.epoch(first, (0, f"key{number}"), *([(1, "other")] if number < 3 else []))
    committed = world.epoch(first, (0, "a"), (1, "other"), wait=HOUR)
    world.now += GRACE + SECOND
    newer: Logics = {}
    refs: Refs = {}

    def take_over() -> None:
        newer.update(world.begin({0: [0], 1: [1]}, committed, host="another"))
        for _ in range(3):
            world.epoch(newer, (0, "b"), (1, "other"))
        world.epoch(newer, (0, "b"), (1, "other"), wait=HOUR)
        refs.update(world.epoch(newer, (0, "b"), (1, "other"), wait=GRACE + SECOND))

    world.storage.stalls = [*[lambda: None] * lists, take_over]
    world.epoch({0: first[0]}, (0, "a"))
    assert refs
    world.close()
    assert value(world.begin({0: [0], 1: [1]}, refs, host="third"), 1, "quiet") == expected


@pytest.mark.parametrize("deleted_too", [True, False])
@pytest.mark.parametrize("phase", range(0, 22, 4))
def test_workers_that_see_old_lists(phase: int, deleted_too: bool, worlds: list[World], tmp_path: Path) -> None:
    """Younger than the grace period, as of a network's file system; though each version may go with the next one."""
    world = World(tmp_path, 20 * SECOND, deleted_too, backend="rocksdb", retain_for="0s", retain_snapshots=1)
    worlds.append(world)
    written, expected = inheritance(world)
    world.now += GRACE
    both = world.begin({0: [0], 1: [1]}, written)
    for number in range(90):
        # The quiet one ends a round and begins one, every 66 s, soon after the busy one has begun one or much later.
        quiet = [] if (number - phase) % 22 > 1 and number > 1 else [(1, f"key{number}")]
        refs = world.epoch(both, (0, f"key{number}"), *quiet)
    world.close()
    assert value(world.begin({0: [0], 1: [1]}, refs, host="another"), 1, "quiet") == expected
