"""One execution of one step, driven as Bytewax drives it, on what really runs: `GroupLogic` and `StepWorker`.

Owns the order of Bytewax's calls, and the points between them. It does not own what the state should be (`line`).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bytewax.operators import StatefulBatchLogic

from bytewax_state.dataflow.group import Chunk, GroupLogic
from bytewax_state.dataflow.logics import Logic
from bytewax_state.dataflow.worker import Step, StepWorker
from bytewax_state.keygroups import group_of, names
from bytewax_state.settings import Settings
from bytewax_state.snapshot.layout import store_dir
from bytewax_state.snapshot.storage import Storage
from bytewax_state.store.base import Store
from bytewax_state.store.table import Table
from tests.model.pilot import Pilot
from tests.model.recovery import Recovery

FLOW = "flow"
STEP = "flow.step"
GROUPS = 8
NAMES = names(GROUPS)

Content = dict[str, tuple[int, datetime | None]]
"""Key to its value and when it wants to be notified."""


def due_by(now: datetime, content: Content) -> list[str]:
    """Name the keys that are due."""
    return sorted(key for key, (_, at) in content.items() if at is not None and at <= now)


def notified(content: Content, keys: Iterable[str]) -> Content:
    """Say what a notification of some keys makes of a content."""
    return content | {key: (content[key][0] + 1, None) for key in keys}


class Cell(StatefulBatchLogic[Any, Any, tuple[int, datetime | None]]):
    """The user's logic: a number, which a notification raises."""

    def __init__(self, state: tuple[int, datetime | None] | None) -> None:
        self.value: int | None
        self.value, self.due = state or (None, None)

    def on_batch(self, values: list[tuple[int | None, datetime | None]]) -> tuple[list[Any], bool]:
        self.value, due = values[-1]
        self.due = due or self.due
        return [], self.value is None

    def on_notify(self) -> tuple[list[Any], bool]:
        assert self.value is not None
        self.value, self.due = self.value + 1, None
        return [self.value], False

    def notify_at(self) -> datetime | None:
        return self.due

    def snapshot(self) -> tuple[int, datetime | None]:
        assert self.value is not None
        return self.value, self.due


_BUSY = ("compaction-pending", "num-running-compactions", "num-running-flushes")


class WatchedTable(Table):
    """A table whose writes and checkpoints are points."""

    __slots__ = ("_pilot",)

    def __init__(self, table: Table, pilot: Pilot) -> None:
        super().__init__(table.path, table._memory, table._db, table._files)
        self._pilot = pilot

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        with self._pilot.around("cache flush"):
            super().write(rows)

    def checkpoint(self, path: Path) -> None:
        with self._pilot.around("checkpoint"):
            self._calm()
            super().checkpoint(path)

    def _calm(self) -> None:
        """Wait for RocksDB's own threads, so that which files there are does not depend on how fast they are."""
        with self._opened() as db:
            db.flush()
            while any(db.property_int_value(f"rocksdb.{name}") for name in _BUSY):
                time.sleep(0.0002)


class WatchedWorker(StepWorker):
    """A worker whose table is watched."""

    def __init__(
        self,
        step: Step,
        index: int,
        count: int,
        now: Callable[[], datetime],
        token: Callable[[int], bytes],
        storage: Storage,
        pilot: Pilot,
    ) -> None:
        super().__init__(step, index, count, now, token, lambda _: storage)
        self.pilot = pilot
        self.index = index

    @property
    def store_id(self) -> str:
        return self._store_id

    @property
    def version(self) -> int:
        """Of the last freeze."""
        return self._store.version if self._store is not None else 0

    def durable(self) -> set[str]:
        """Name the files that the next version will not upload, as paths below the step."""
        return {entry.path for entry in self._history._durable.values()} if self._history is not None else set()

    def _new_store(self, table: Callable[[], Table]) -> Store[Logic]:
        self.pilot.reach("store opens")
        return super()._new_store(lambda: WatchedTable(table(), self.pilot))


@dataclass(frozen=True, slots=True)
class Setup:
    """What an execution begins with."""

    workers: int
    settings: Settings


class Execution:
    """All workers of one execution."""

    def __init__(
        self,
        setup: Setup,
        refs: Mapping[int, bytes],
        epoch: int,
        now: Callable[[], datetime],
        token: Callable[[int], bytes],
        storage: Callable[[int], Storage],
        pilot: Pilot,
    ) -> None:
        """Begin, as Bytewax does while it builds: nothing is read yet.

        :arg setup: How many workers, with what.

        :arg refs: Key group to what Bytewax kept for it.

        :arg epoch: Where it resumes.

        :arg now: Tells the time.

        :arg token: Makes the random part of store ids.

        :arg storage: Gives that of the snapshots to a worker.

        :arg pilot: Told of each point.

        """
        step = Step(FLOW, STEP, setup.settings, Cell)
        self.setup = setup
        self.epoch = epoch
        self.pilot = pilot
        self.workers = [
            WatchedWorker(step, index, setup.workers, now, token, storage(index), pilot)
            for index in range(setup.workers)
        ]
        self.logics: dict[int, GroupLogic] = {}
        self.opened = False
        self.ancestors: set[str] = set()
        """Of its stores, when they began."""
        self.notified: list[str] = []
        """Keys that were due when it was opened."""
        self.began = now()
        self._now = now
        self._refs = refs
        self._awoken: set[int] = set()

    def stores(self) -> set[str]:
        return {worker.store_id for worker in self.workers}

    def open(self) -> None:
        """Load, then say hello to every group: the first one of a worker opens its store."""
        for group, ref in self._refs.items():
            worker = self.worker_of(group)
            self.logics[group] = GroupLogic(worker, worker.note(ref))
        for worker in self.workers:
            with self.pilot.around("open"):
                for group in self.groups_of(worker):
                    self.logics.setdefault(group, GroupLogic(worker, None))
                    self.notified += self.send(group, [])
        self.opened = True
        histories = [worker._history for worker in self.workers]
        self.ancestors = {one for it in histories if it is not None for one in it._origin.ancestors}

    def worker_of(self, group: int) -> WatchedWorker:
        return self.workers[group % len(self.workers)]

    def groups_of(self, worker: WatchedWorker) -> list[int]:
        """List the groups that Bytewax routes to a worker, in its order."""
        groups = [group for group in range(GROUPS) if self.worker_of(group) is worker]
        return sorted(groups, key=NAMES.__getitem__)

    def send(self, group: int, items: list[tuple[str, Any]]) -> list[str]:
        """Hand items to a group; name the keys that were notified."""
        chunk = Chunk(group, items)
        chunk.epoch = self.epoch
        self._awoken.add(group)
        emitted, _ = self.logics[group].on_batch([chunk])
        return [key for out in emitted for key, _ in out]

    def put(self, key: str, value: int | None, due: datetime | None = None) -> None:
        """Set a value, or with `None` delete the key; a due time replaces that of before."""
        self.send(group_of(key, GROUPS), [(key, (value, due))])

    def forget_timer(self, key: str) -> None:
        """Take the timer of a key away, as a step of ours may, and Bytewax's core step cannot."""
        logic = self.logics[group_of(key, GROUPS)]
        part = logic._slice
        assert part is not None
        cell = part.fetch([key]).get(key)
        if cell is not None:
            assert isinstance(cell, Cell)
            cell.due = None
            part.timers.drop(key)
            part.changed.add(key)
            logic._worker.changed = True
            self._awoken.add(part.group)
        part.settle()

    def notify(self) -> list[str]:
        """Notify every group that asked for it; name the keys that this reached."""
        keys: list[str] = []
        for group, logic in self.logics.items():
            due = logic.notify_at()
            if due is not None and due <= self._now():
                self._awoken.add(group)
                emitted, _ = logic.on_notify()
                keys += [key for out in emitted for key, _ in out]
        return sorted(keys)

    def snapshot(self, recovery: Recovery, order: list[int]) -> None:
        """End the epoch on all workers, one after the other, each of which then writes its rows.

        :arg recovery: Where to.

        :arg order: Of the workers.

        """
        for index in order:
            worker = self.workers[index]
            refs: dict[int, bytes] = {}
            for group in self.groups_of(worker):
                if group in self._awoken:
                    with self.pilot.around("ref"):
                        refs[group] = self.logics[group].snapshot()
            with self.pilot.around("row"):
                recovery.write(self.epoch, refs)

    def next_epoch(self) -> None:
        self.epoch += 1
        self._awoken.clear()

    def contents(self) -> Content:
        """Read everything."""
        found: Content = {}
        for logic in self.logics.values():
            part = logic._slice
            assert part is not None
            for keys in part.walk(lambda item: True):
                for key in keys:
                    cell = part.live[key]
                    assert isinstance(cell, Cell) and cell.value is not None
                    found[key] = cell.value, part.timers.get(key)
                part.settle()
        return found

    def due(self, now: datetime) -> list[str]:
        """Name the keys that the schedules have up to some time; it takes them off."""
        parts = [logic._slice for logic in self.logics.values()]
        return sorted(key for part in parts if part is not None for key in part.pop_due(now))

    def close(self) -> None:
        """End in order."""
        for worker in self.workers:
            worker.close()

    def kill(self) -> None:
        """End as by `kill -9`: what it had open is still there, half written."""
        self.pilot.dead = True
        self.close()
        root = self.setup.settings.dir
        for worker in self.workers:
            folder = store_dir(root, FLOW, STEP, worker.store_id)
            for part in ("live", "from-0/table"):
                (folder / part).mkdir(parents=True, exist_ok=True)
                (folder / part / "000007.sst").write_bytes(b"half a fi")
