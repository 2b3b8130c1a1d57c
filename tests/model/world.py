"""The world of the machine: one storage, one clock, the main timeline, and perhaps a zombie's.

Owns each thing that can happen, as a verb with plain arguments, so that a story can be told again (`test_seeds`).
What has to come of it is judged here, by `timeline` and by `guard`. Called by the machine.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import tenacity

from bytewax_state.errors import (
    BytewaxStateError,
    ConflictError,
    SnapshotMissingError,
)
from bytewax_state.settings import Settings, keys_of
from bytewax_state.storage.retrying import Retrying
from bytewax_state.storage.storage import Storage
from tests.faults import Fault, FaultyStorage, StaleStorage
from tests.model.clock import Clock, Tokens
from tests.model.execution import GROUPS, Execution, due_by, notified
from tests.model.guard import Guard, LastListing
from tests.model.objects import Objects
from tests.model.outcomes import ATTEMPTS, expected, survivable
from tests.model.points import Crash, ObservedStorage, Points
from tests.model.tally import Tally
from tests.model.timeline import Timeline
from tests.places import in_memory

Disk = Literal["kept", "lost", "partly lost", "damaged"]

MEMORY = 64 << 20
"""Bytes; so much that no table is flushed because of what others have in memory, which would not be the same again."""

SLOW = 90
"""How many seconds a slow call takes: longer than some retentions, and than the grace period."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What stays the same in one world."""

    retain_for: int = 0
    """Seconds."""
    keep: int = 1
    lag: int = 0
    """For how many seconds a list lacks what is new; less than retention's grace period."""
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """How an execution runs."""

    workers: int = 1
    backend: Literal["heap", "rocksdb"] = "heap"
    cache: int = 0
    """Live objects of a RocksDB store."""
    small: int = 0
    """Up to how many bytes of changes are part of a manifest; 0: each version has an image."""
    due_at: str | None = None
    """The point at which retention goes on; `None`: as soon as a version is published."""


@dataclass(frozen=True, slots=True)
class CrashAt:
    """Where to crash."""

    point: str
    skip: int = 0


class World:
    """Everything there is."""

    def __init__(self, choices: Choices, tally: Tally) -> None:
        self.choices = choices
        self.tally = tally
        self.clock = Clock()
        self.tokens = Tokens()
        self.objects = Objects()
        self.shown = StaleStorage(self.objects, self.clock, timedelta(seconds=choices.lag))
        self.settings = Settings(
            uri="objects",
            key_groups=GROUPS,
            memory=MEMORY,
            upload_threads=1,
            retain_snapshots=choices.keep,
            retain_for=timedelta(seconds=choices.retain_for),
            signing_key="a key of the tests" if choices.signed else None,
        )
        self.keys = keys_of(self.settings)
        self.guard = Guard(self.objects, self.keys)
        self.folder = Path(tempfile.mkdtemp(prefix="bytewax-state-model-", dir=in_memory()))
        self.main = Timeline(self.new_disk())
        self.ordinary = True
        """Whether a running execution collects everything: there was no zombie, no step back and no new beginning."""

    # -- what is there

    @property
    def running(self) -> bool:
        return self.main.execution is not None

    def roots(self) -> list[int]:
        """Name the epochs of the main timeline that may be resumed from."""
        self.main.forget(self.clock(), self.settings.retain_for)
        return sorted(self.main.epochs)

    def check(self) -> None:
        """Check what has to hold at any time."""
        self.main.forget(self.clock(), self.settings.retain_for)
        found = self.guard.inspect(self.main)
        assert not found, "\n".join(found)

    def close(self) -> None:
        """Let go of everything."""
        if self.running:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- items, timers and time

    def put(self, key: str, value: int, after: int | None = None, timeline: Timeline | None = None) -> None:
        """Set a value; with `after`, ask to be notified that many seconds from now."""
        timeline = timeline or self.main
        due = None if after is None else self.clock() + timedelta(seconds=after)
        timeline.put(key, value, due, self.clock())
        before = timeline.current.get(key)
        scheduled = before[1] if before else None
        # A batch after which a logic asks for nothing leaves its schedule as it is, and so does one of a key that is
        # due.
        if due is None or (scheduled is not None and scheduled <= self.clock()):
            due = scheduled
        timeline.current[key] = value, due

    def delete(self, key: str) -> None:
        self.main.put(key, None, None, self.clock())
        self.main.current.pop(key, None)

    def forget_timer(self, key: str) -> None:
        assert self.main.execution is not None
        self.main.execution.forget_timer(key)
        if key in self.main.current:
            self.main.current[key] = self.main.current[key][0], None

    def wait(self, seconds: float) -> None:
        self.clock.wait(seconds)

    def notify(self) -> None:
        """Notify those that are due; all of them, and nobody else."""
        self.clock.wait(1)
        now = self.clock()
        assert self.main.execution is not None
        due = due_by(now, self.main.current)
        assert sorted(key for key, _ in self.main.execution.notify()) == due
        self.main.current = notified(self.main.current, due)
        self.tally.add("outcomes", "keys notified", len(due))

    def look(self) -> None:
        """Compare what runs with the model."""
        assert self.main.execution is not None
        assert self.main.execution.content() == self.main.current

    # -- epochs

    def end_epoch(self, order: int = 0, crash_at: CrashAt | None = None, fault: Fault | None = None) -> None:
        """End an epoch, and begin the next; or crash, or fail, in it.

        :arg order: The worker that ends first.

        :arg crash_at: Where to crash.

        :arg fault: What goes wrong in the storage.

        """
        timeline = self.main
        assert timeline.execution is not None
        self._try(timeline, lambda: self._end(timeline, order), crash_at, fault)

    def _end(self, timeline: Timeline, order: int) -> None:
        execution = timeline.execution
        assert execution is not None
        for index in range(execution.workers):
            refs = execution.snapshot((order + index) % execution.workers)
            with execution.points.around("row"):
                timeline.recovery.write(execution.epoch, refs)
        with execution.points.around("commit"):
            timeline.commit(execution.epoch, self.clock())
        execution.next_epoch()
        # An epoch takes some time, however little.
        self.clock.wait(0.01)

    def kill(self) -> None:
        """Crash between two calls."""
        assert self.main.execution is not None
        self.main.execution.kill()
        self.main.execution = None

    # -- restarts

    def resume(
        self,
        shape: Shape,
        disk: Disk = "kept",
        back: int = 0,
        crash_at: CrashAt | None = None,
        fault: Fault | None = None,
    ) -> None:
        """Start again.

        :arg shape: How.

        :arg disk: What became of the local one.

        :arg back: How many epochs before the newest, as far as the retention goes.

        :arg crash_at: Where to crash.

        :arg fault: What goes wrong in the storage.

        """
        self._prepare(disk, back)
        timeline = self.main
        self._begin(timeline, shape)
        execution = timeline.execution
        assert execution is not None
        self._try(timeline, partial(timeline.open, self.clock), crash_at, fault)
        if timeline.execution is None and crash_at is None and fault is None and self.choices.lag:
            # What is new may not be listed yet.
            self.clock.wait(self.choices.lag)
            self._begin(timeline, shape)
            self._try(timeline, partial(timeline.open, self.clock))
        self._give_up_what_is_lost(timeline)

    def _prepare(self, disk: Disk, back: int) -> None:
        roots = self.roots()
        resume = roots[max(0, len(roots) - 1 - back)]
        if resume != self.main.recovery.resume:
            self.ordinary = False
            self.tally.add("outcomes", "resumed from an earlier epoch")
            self.main.go_back(resume)
        if disk == "lost":
            self.main.folder = self.new_disk()
        elif disk != "kept":
            _spoil(self.main.folder, cut=disk == "damaged")

    def _begin(self, timeline: Timeline, shape: Shape) -> None:
        refs = timeline.recovery.load()
        self.clock.wait(0.01)
        settings = self.settings.model_copy(
            update={"backend": shape.backend, "cache_entries": shape.cache, "dir": timeline.folder}
        )
        points = Points(self.tally)
        storage = partial(self._storage, timeline, points)
        if not refs and timeline.stores:
            self.ordinary = False  # what has no ancestors is found by `gc` only
        timeline.current = dict(timeline.epochs[timeline.recovery.resume].state)
        timeline.execution = Execution(
            shape.workers,
            settings,
            refs,
            timeline.recovery.resume,
            self.clock,
            self.tokens,
            storage,
            points,
            shape.small,
            shape.due_at,
        )
        timeline.stores.update(timeline.execution.stores())
        self.tally.add("executions", f"{shape.workers} workers")
        self.tally.add("executions", shape.backend)

    def _give_up_what_is_lost(self, timeline: Timeline) -> None:
        """Begin anew, with an empty recovery directory, where a zombie could legally take the state away."""
        if timeline.execution is None and self.guard.lost(timeline.epochs[timeline.recovery.resume].refs(self.keys)):
            self.tally.add("outcomes", "state lost to a zombie, and said so")
            self.ordinary = False
            self.main = Timeline(self.new_disk())

    def _storage(self, timeline: Timeline, points: Points, index: int) -> Storage:
        faulty = FaultyStorage(self._observed(timeline, points, index), (), lambda: self.clock.wait(SLOW))
        faulty.plan = points.faults
        return Retrying(faulty, ATTEMPTS, tenacity.wait_none(), lambda seconds: None)

    def _observed(self, timeline: Timeline, points: Points, index: int | None) -> ObservedStorage:
        last = [LastListing(None)]

        def see(names: list[str]) -> None:
            execution = timeline.execution
            store_id = execution.stores()[index] if execution is not None and index is not None else None
            last[0] = LastListing(store_id, frozenset(names), self.clock())

        return ObservedStorage(self.shown, points, see, lambda name: self._judge(name, timeline, last[0]))

    def _judge(self, name: str, timeline: Timeline, last: LastListing) -> None:
        for one in (timeline, self.main):
            one.forget(self.clock(), self.settings.retain_for)
        self.guard.judge(name, timeline, self.main, last, self.settings.retain_for)

    # -- crashes and faults

    def _try(
        self, timeline: Timeline, what: Callable[[], None], crash_at: CrashAt | None = None, fault: Fault | None = None
    ) -> None:
        """Do something that may crash or fail; a timeline of which the execution ended has none."""
        execution = timeline.execution
        assert execution is not None
        if crash_at is not None:
            execution.points.crash_at(crash_at.point, crash_at.skip)
        if fault is not None:
            execution.points.faults.append(fault)
            times = fault.times
        error: BaseException | None = None
        try:
            what()
        except (Crash, BytewaxStateError) as ex:
            error = ex
        execution.points.cancel_crash()
        execution.points.faults.clear()
        self._settle(timeline, error, fault)
        if fault is not None:
            outcome = "survived" if timeline.execution else "ended"
            self.tally.add("faults", f"{fault.verb} {fault.how}: {'missed' if fault.times == times else outcome}")

    def _settle(self, timeline: Timeline, error: BaseException | None, fault: Fault | None = None) -> None:
        """Draw the conclusion from how something ended."""
        execution = timeline.execution
        assert execution is not None
        if error is None:
            return
        if isinstance(error, Crash):
            execution.kill()
        else:
            execution.close()
        timeline.execution = None
        if isinstance(error, BytewaxStateError):
            self._judge_error(timeline, error, fault)
        elif not isinstance(error, Crash):
            raise error

    def _judge_error(self, timeline: Timeline, ex: BytewaxStateError, fault: Fault | None) -> None:
        self.tally.add("errors", type(ex).__name__)
        lost = self.guard.lost(timeline.epochs[timeline.recovery.resume].refs(self.keys))
        if isinstance(ex, SnapshotMissingError) and lost and timeline is self.main:
            return
        if fault is not None:
            assert not survivable(fault), f"a retry should have survived {fault}: {ex!r}"
            assert isinstance(ex, expected(fault)), f"{fault} gave {ex!r}"
            return
        if timeline is not self.main and isinstance(ex, ConflictError):
            return  # its claim was deleted, as it was taken for dead
        # Without a fault, only a state that is gone ends an execution, or seems to be gone as a list is old.
        assert isinstance(ex, SnapshotMissingError) and self.choices.lag and timeline is self.main, repr(ex)

    def new_disk(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


def _spoil(folder: Path, cut: bool) -> None:
    """Lose every other file of the frozen images, or damage it."""
    for path in sorted(folder.rglob("frozen/*/*"))[::2]:
        if not cut:
            path.unlink()
            continue
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + b"?")
