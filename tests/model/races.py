"""A world with a zombie, and with somebody who runs `gc`: what they do, alone or in a race with the main timeline.

Owns the turns: in a race each of them does one call of the storage after the other, and whoever has begun something may
go on with it at any later time, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from bytewax_state.admin import garbage
from bytewax_state.errors import SnapshotMissingError
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.sweep import GRACE
from tests.model.guard import PREFIX
from tests.model.points import Crash, Points, Task
from tests.model.tally import Tally
from tests.model.timeline import Timeline
from tests.model.world import Choices, CrashAt, Shape, World

Then = Literal["go on", "crash"]


@dataclass(frozen=True, slots=True)
class Move:
    """A turn in a race."""

    who: Literal["main", "zombie", "gc"]
    calls: int
    """How many calls of the storage, or other points."""
    seconds: int = 0
    """That pass before."""
    until: str | None = None
    """The point where the turn ends, if it comes before the last call."""


class RacingWorld(World):
    """A world in which more than one may be at work."""

    def __init__(self, choices: Choices, tally: Tally) -> None:
        super().__init__(choices, tally)
        self.zombie: Timeline | None = None
        self.zombie_task: Task | None = None
        self.gc_task: Task | None = None

    def check(self) -> None:
        super().check()
        if self.zombie is not None and self.zombie.execution is not None and self.zombie_task is None:
            went_on = [name for name in self.objects.unclaimed if self.objects.size(name) is not None]
            stores = self.zombie.execution.stores()
            assert not [name for name in went_on if name.split("/")[3] in stores], "a zombie went on without its claim"

    def close(self) -> None:
        self.kill_zombie()
        self.kill_gc()
        super().close()

    def kill_gc(self) -> None:
        """Crash whoever collects garbage, wherever it is."""
        if self.gc_task is not None:
            self.gc_task.kill()
            self.gc_task = None

    def take_over(self) -> None:
        """Let the execution that runs go on as a zombie, with a copy of the recovery store, and its local disk."""
        assert self.main.execution is not None
        self.kill_zombie()
        self.ordinary = False
        self.zombie, self.main = self.main, self.main.fork(self.new_disk())
        assert self.zombie.execution is not None
        self.guard.zombies |= self.zombie.execution.versions()

    def kill_zombie(self) -> None:
        """Crash the zombie, wherever it is."""
        if self.zombie_task is not None:
            self.zombie_task.kill()
            self.zombie_task = None
        if self.zombie is not None and self.zombie.execution is not None:
            self.zombie.execution.kill()
            self.zombie.execution = None

    @property
    def zombie_runs(self) -> bool:
        return self.zombie is not None and self.zombie.execution is not None

    def run_zombie(self, rounds: int, seconds: int, key: str) -> None:
        """Let the zombie end some epochs."""
        self._zombie(rounds, seconds, key)
        assert self.zombie_task is not None
        self.zombie_task.finish()
        self._zombie_done()

    def _zombie(self, rounds: int, seconds: int, key: str) -> None:
        """Begin to let the zombie end some epochs, unless it is about to end one; each changes another key."""
        timeline = self.zombie
        assert timeline is not None and timeline.execution is not None
        points = timeline.execution.points

        def live() -> None:
            for number in range(rounds):
                self.put(another(key, number), number, timeline=timeline)
                self._end(timeline, number)
                points.reach("zombie epoch")
                self.clock.wait(seconds)

        if self.zombie_task is None:
            self.zombie_task = points.task = Task("zombie", live)

    def _zombie_done(self) -> None:
        timeline, task = self.zombie, self.zombie_task
        if task is not None and task.done:
            assert timeline is not None and timeline.execution is not None
            timeline.execution.points.task = self.zombie_task = None
            self._settle(timeline, task.error)

    def gc(self, nothing_runs: bool, crash_at: CrashAt | None = None) -> None:
        """Collect garbage by hand, from the recovery store of the main timeline and its copies.

        :arg nothing_runs: Whether to say so, if it is true.

        :arg crash_at: Where it crashes.

        """
        points = Points(self.tally)
        if crash_at is not None:
            points.crash_at(crash_at.point, crash_at.skip)
        try:
            self._gc(points, nothing_runs and not self.running)
        except Crash:
            self.tally.add("outcomes", "gc crashed")

    def _gc(self, points: Points, nothing_runs: bool) -> None:
        catalog = Catalog(self._observed(self.main, points, None), self.keys)
        roots = self.roots()
        refs = {ref for at in roots for ref in self.main.epochs[at].refs(self.keys)}
        now, execution = self.clock(), self.main.execution
        # What runs has to be younger than what is spared: it may not have written a row yet.
        age = timedelta(0) if nothing_runs or execution is None else now - execution.began + timedelta(seconds=1)
        step = catalog.step(PREFIX)
        try:
            todo = garbage.plan_step(step, refs, age, now)
        except SnapshotMissingError:
            assert self.choices.lag or self.guard.lost(refs)
            return
        todo.begin(catalog.storage)
        self._grace(points)
        done = todo.finish(catalog.storage, catalog.step(PREFIX))
        self.tally.add("outcomes", "objects deleted by gc", len(done.manifests) + len(done.files))

    def _grace(self, points: Points) -> None:
        until = self.clock() + GRACE
        points.reach("gc waits")
        self.clock.wait(max(0.0, (until - self.clock()).total_seconds()))

    def _gc_done(self) -> None:
        task = self.gc_task
        if task is not None and task.done:
            self.gc_task = None
            if task.error is not None and not isinstance(task.error, Crash):
                raise task.error

    def race(
        self, moves: Sequence[Move], shape: Shape, order: int, key: str, rounds: int, pause: int, back: int, then: Then
    ) -> None:
        """Let the main timeline, a zombie and `gc` run at once, one call of the storage after the other.

        The main timeline resumes if it is stopped, else it ends an epoch.

        :arg moves: Whose turn, for how many calls, after how many seconds.

        :arg shape: How the main timeline resumes.

        :arg order: The worker that ends the epoch first.

        :arg key: What the zombie changes.

        :arg rounds: How many epochs the zombie ends.

        :arg pause: Seconds between these.

        :arg back: How many epochs before the newest the main timeline resumes.

        :arg then: What becomes of the main timeline behind: it goes on, or crashes. Others just wait.

        """
        main = self._race_main(shape, order, back)
        if self.zombie_runs:
            self._zombie(rounds, pause, key)
        for move in moves:
            self.clock.wait(move.seconds)
            if move.who == "gc" and self.gc_task is None:
                points = Points(self.tally)
                self.gc_task = points.task = Task("gc", lambda points=points: self._gc(points, nothing_runs=False))
            task = {"main": main, "zombie": self.zombie_task, "gc": self.gc_task}[move.who]
            for _ in range(move.calls):
                if task is None or task.done:
                    break
                task.step()
                if task.at == move.until:
                    break
            self._zombie_done()
            self._gc_done()
            self.check()
        if then == "crash":
            main.kill()
        main.finish()
        timeline = self.main
        assert timeline.execution is not None
        timeline.execution.points.task = None
        self._settle(timeline, main.error)
        self._give_up_what_is_lost(timeline)

    def _race_main(self, shape: Shape, order: int, back: int) -> Task:
        timeline = self.main
        if timeline.execution is None:
            self._prepare("kept", back)
            self._begin(timeline, shape)
            assert timeline.execution is not None
            task = Task("main", partial(timeline.open, self.clock))
        else:
            task = Task("main", lambda: self._end(timeline, order))
        timeline.execution.points.task = task
        return task


def another(key: str, number: int) -> str:
    """Name a key that is some places further on; they are of all workers in turn."""
    return f"k{(int(key[1:]) + number) % 20}"
