"""Workers of one flow whose deletions stall, or see an old list: whoever deletes meanwhile, all can be resumed.

Two workers with a key group each: the first is busy, the second quiet, so its versions go on naming what others wrote.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from bytewax_state import Settings
from bytewax_state.keygroups import group_of
from bytewax_state.snapshot.sweep import GRACE
from tests.dataflow.executions import NOW, STEP, Keep, storage
from tests.driver import Execution, Refs
from tests.faults import StaleStorage

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1, seconds=10)


def key_in(group: int, name: str) -> str:
    """Name a key of one of the two groups."""
    return next(key for number in count() if group_of(key := f"{name}.{number}", 2) == group)


def busy(name: str = "a") -> str:
    return key_in(0, name)


def quiet(name: str = "quiet") -> str:
    return key_in(1, name)


class StallingStorage(StaleStorage):
    """Lists may be on their way for long."""

    stalls: tuple[Callable[[], object], ...] = ()
    """What happens while this list, and the next ones, are on their way."""

    def list(self, prefix: str) -> list[str]:
        names = super().list(prefix)
        if self.stalls:
            stall, *self.stalls = self.stalls
            stall()
        return names


class World:
    """A storage, a clock, and the executions that were begun."""

    def __init__(self, folder: Path, lag: timedelta, deleted_too: bool, **settings: object) -> None:
        self.now = NOW
        self._begun: list[Execution] = []
        self._folder, self._numbers = folder, count(1)
        self._settings = {"uri": str(folder / "snapshots"), "key_groups": 2, "memory": "8MiB", "codec": "pickle"}
        self._settings |= settings
        self.storage = StallingStorage(storage(folder), lambda: self.now, lag, deleted_too)

    def begin(self, workers: int, refs: Refs | None = None, host: str = "work") -> Execution:
        run = Execution(
            STEP,
            Settings(dir=self._folder / host, **self._settings),
            Keep,
            workers,
            refs,
            now=lambda: self.now,
            token=lambda size: next(self._numbers).to_bytes(size, "big"),
            storage=lambda index: self.storage,
        )
        self._begun.append(run)
        run.open()
        return run

    def epoch(self, run: Execution, *keys: str, wait: timedelta = 3 * SECOND) -> Refs:
        """End an epoch with some keys, each with the time as its value."""
        self.now += wait
        run.batch([(key, self.now) for key in keys])
        return run.end_epoch()

    def close(self) -> None:
        while self._begun:
            self._begun.pop().close()


def value(run: Execution, key: str) -> object:
    return run.contents()[key][0]


def inheritance(world: World) -> tuple[Refs, object]:
    """Let one worker run, and return what two others inherit, and the value that only the quiet one of them needs."""
    old = world.begin(1)
    world.epoch(old, busy(), quiet())
    expected = value(old, quiet())
    refs = world.epoch(old, busy())
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
    first = world.begin(2, written)
    for number in range(40):
        world.epoch(first, busy(f"key{number}"), *([quiet("other")] if number < 3 else []))
    committed = world.epoch(first, busy(), quiet("other"), wait=HOUR)
    world.now += GRACE + SECOND
    refs: Refs = {}

    def take_over() -> None:
        newer = world.begin(2, committed, host="another")
        for wait in (3 * SECOND, 3 * SECOND, 3 * SECOND, HOUR, GRACE + SECOND):
            refs.update(world.epoch(newer, busy("b"), quiet("other"), wait=wait))

    world.storage.stalls = (*[lambda: None] * lists, take_over)
    world.epoch(first, busy())
    assert refs
    world.close()
    assert value(world.begin(2, refs, host="third"), quiet()) == expected


@pytest.mark.parametrize("deleted_too", [True, False])
@pytest.mark.parametrize("phase", range(0, 22, 4))
def test_workers_that_see_old_lists(phase: int, deleted_too: bool, worlds: list[World], tmp_path: Path) -> None:
    """Younger than the grace period, as of a network's file system; though each version may go with the next one."""
    world = World(tmp_path, 20 * SECOND, deleted_too, backend="rocksdb", retain_for="0s", retain_snapshots=1)
    worlds.append(world)
    written, expected = inheritance(world)
    world.now += GRACE
    both = world.begin(2, written)
    for number in range(90):
        # The quiet one ends a round and begins one, every 66 s, soon after the busy one has begun one or much later.
        now_and_then = [] if (number - phase) % 22 > 1 and number > 1 else [quiet(f"key{number}")]
        refs = world.epoch(both, busy(f"key{number}"), *now_and_then)
    world.close()
    assert value(world.begin(2, refs, host="another"), quiet()) == expected
