"""The machine: rules that do at random, in any order, what the world can do.

Owns what is drawn and how often. What has to come of it, the world judges. Run by `test_machine` and `__main__`.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.faults import ALWAYS, Fault
from tests.model.audits import collect_garbage, restore_aside, settle
from tests.model.races import Move, RacingWorld
from tests.model.stalls import stall
from tests.model.tally import TALLY
from tests.model.world import Choices, CrashAt, Shape

KEYS = st.integers(0, 19).map("k{}".format)
VALUES = st.integers(0, 9)
SECONDS = st.sampled_from([1, 5, 20, 61, 130, 400])
CHOICES = st.builds(
    Choices,
    retain_for=st.sampled_from([0, 30, 120]),
    keep=st.integers(1, 3),
    lag=st.sampled_from([0, 0, 20]),
    signed=st.booleans(),
)
SHAPES = st.builds(
    Shape,
    workers=st.sampled_from([1, 2, 3, 1, 2, 4, 5, 6, 7, 8]),
    backend=st.sampled_from(["heap", "rocksdb"]),
    cache=st.integers(0, 5).map(lambda share: share * 8),
    small=st.sampled_from([0, 150, 8192]),
    due_at=st.none()
    | st.sampled_from(["cache flush before", "upload before", "upload after", "manifest write before", "row after"]),
)
SIDES = [" before", " after"]
SKIPS = st.sampled_from([0, 0, 0, 1, 2, 5])
IN_EPOCH = st.builds(
    lambda point, side, skip: CrashAt(point + side, 0 if point == "commit" else skip),
    st.sampled_from(
        [
            *("ref", "cache flush", "checkpoint", "upload", "manifest write", "row", "commit"),
            *("delete manifest", "delete file", "list"),
        ]
    ),
    st.sampled_from(SIDES),
    SKIPS,
)
IN_GC = st.builds(
    lambda point, side, skip: CrashAt(point + side, skip),
    st.sampled_from(["delete manifest", "delete file", "list"]),
    st.sampled_from(SIDES),
    st.integers(0, 4),
)
MOVES = st.builds(
    Move,
    who=st.sampled_from(["main", "zombie", "main", "zombie", "gc"]),
    calls=st.integers(1, 12),
    seconds=st.sampled_from([0, 0, 1, 61, 130]),
    until=st.none() | st.sampled_from(["claim before", "claim after", "list after", "delete file before"]),
)
IN_CLAIM = st.sampled_from(["read after", "claim before", "claim after", "look after"])
IN_ROUND = st.sampled_from(["list after", "delete manifest before", "delete manifest after", "delete file before"])
IN_RESTORE = st.builds(
    CrashAt,
    st.sampled_from(
        ["store opens", *(point + side for point in ("open", "read", "claim", "look", "fetch") for side in SIDES)]
    ),
    st.integers(0, 3),
)


def faults(verbs: dict[str, list[str]]) -> st.SearchStrategy[Fault]:
    """Draw one of the faults that each verb may have."""
    return st.builds(
        lambda kind, skip, times, transient: Fault(*kind, skip=skip, times=times, transient=transient),
        st.sampled_from([(verb, how) for verb, hows in verbs.items() for how in hows]),
        st.sampled_from([0, 0, 1, 3]),
        st.sampled_from([1, 2, ALWAYS]),
        st.booleans(),
    )


FAILS = ["before", "after", "throttled", "slow"]
EPOCH_FAULTS = faults(
    {
        "put_file": [*FAILS, "torn", "full"],
        "put": [*FAILS, "full"],
        "list": ["throttled"],
        "get": ["before", "corrupt"],
        "delete": FAILS,
    }
)
RESTORE_FAULTS = faults(
    {
        "put": [*FAILS, "full"],
        "get": [*FAILS, "corrupt"],
        "get_file": [*FAILS, "corrupt", "torn"],
        "size": FAILS,
    }
)
THEN = st.sampled_from(["go on", "go on", "crash"])
DISKS = st.sampled_from(["kept", "kept", "lost", "partly lost", "damaged"])
BACK = st.sampled_from([0, 0, 0, 1, 2, 5])
ORDER = st.integers(0, 7)

running = precondition(lambda self: self.world.running)
zombie_runs = precondition(lambda self: self.world.zombie_runs)
seldom = precondition(lambda self: self.turn % 3 == 0)
stopped = precondition(lambda self: not self.world.running)


class Machine(RuleBasedStateMachine):
    """One world; each rule is one of its verbs."""

    def __init__(self) -> None:
        super().__init__()
        self.world = RacingWorld(Choices(), TALLY)
        self.turn = 0
        self.fine = False
        """Whether all that was done had come to its end, and was checked."""

    @initialize(choices=CHOICES, shape=SHAPES)
    def begin(self, choices: Choices, shape: Shape) -> None:
        self.world.close()
        self.world = RacingWorld(choices, TALLY)
        self.count("begin")
        self.world.resume(shape)

    @running
    @rule(keys=st.lists(KEYS, min_size=1, max_size=6), value=VALUES, after=st.none() | SECONDS)
    def put(self, keys: list[str], value: int, after: int | None) -> None:
        self.count("put")
        for key in keys:
            self.world.put(key, value, after)

    @running
    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.count("delete")
        self.world.delete(key)

    @running
    @rule(key=KEYS)
    def forget_timer(self, key: str) -> None:
        self.count("forget timer")
        self.world.forget_timer(key)

    @running
    @rule(keys=st.lists(KEYS, max_size=4), after=st.integers(-5, 5), seconds=st.sampled_from([0, 5, 20]))
    def notify(self, keys: list[str], after: int, seconds: int) -> None:
        self.count("notify")
        for key in keys:
            self.world.put(key, 0, after)
        self.world.wait(seconds)
        self.world.notify()

    @rule(seconds=SECONDS)
    def wait(self, seconds: int) -> None:
        self.count("time passes")
        self.world.wait(seconds)

    @running
    @rule()
    def look(self) -> None:
        self.count("look")
        self.world.look()

    @running
    @rule(order=ORDER, keys=st.lists(KEYS, max_size=4), value=VALUES, after=st.none() | SECONDS)
    def end_epoch(self, order: int, keys: list[str], value: int, after: int | None) -> None:
        self.count("end epoch")
        for key in keys:
            self.world.put(key, value, after)
        self.world.end_epoch(order)

    @running
    @rule(rounds=st.integers(2, 5), seconds=SECONDS, key=KEYS, value=VALUES)
    def run_for_long(self, rounds: int, seconds: int, key: str, value: int) -> None:
        """Epoch after epoch, so that retention comes to its end."""
        self.count("run for long")
        for step in range(rounds):
            self.world.put(key, value + step, seconds)
            self.world.end_epoch()
            self.world.wait(seconds)

    @running
    @rule(order=ORDER, crash_at=IN_EPOCH, keys=st.lists(KEYS, max_size=4), value=VALUES)
    def crash_in_epoch(self, order: int, crash_at: CrashAt, keys: list[str], value: int) -> None:
        self.count("crash in epoch")
        for key in keys:
            self.world.put(key, value)
        self.world.end_epoch(order, crash_at)

    @running
    @rule()
    def kill(self) -> None:
        self.count("kill")
        self.world.kill()

    @running
    @rule(order=ORDER, fault=EPOCH_FAULTS, keys=st.lists(KEYS, max_size=4), value=VALUES)
    def fail_in_epoch(self, order: int, fault: Fault, keys: list[str], value: int) -> None:
        """Of the first epochs, the one that it strikes in; those of deletions come late."""
        self.count("fault in epoch")
        for _ in range(4):
            for key in keys:
                self.world.put(key, value)
            waiting = clone(fault)
            self.world.end_epoch(order, fault=waiting)
            if waiting.times != fault.times or not self.world.running:
                break
            self.world.wait(self.world.choices.retain_for + 61)

    @stopped
    @rule(shape=SHAPES, disk=DISKS, back=BACK)
    def resume(self, shape: Shape, disk: Any, back: int) -> None:
        self.count("resume")
        self.world.resume(shape, disk, back)

    @stopped
    @rule(shape=SHAPES, disk=DISKS, crash_at=IN_RESTORE)
    def crash_in_restore(self, shape: Shape, disk: Any, crash_at: CrashAt) -> None:
        self.count("crash in restore")
        self.world.resume(shape, disk, crash_at=crash_at)

    @stopped
    @rule(shape=SHAPES, disk=DISKS, fault=RESTORE_FAULTS)
    def fail_in_restore(self, shape: Shape, disk: Any, fault: Fault) -> None:
        self.count("fault in restore")
        self.world.resume(shape, disk, fault=clone(fault))

    @running
    @rule()
    def take_over(self) -> None:
        self.count("take over")
        self.world.take_over()

    @zombie_runs
    @rule(rounds=st.integers(1, 4), seconds=SECONDS, key=KEYS)
    def zombie_goes_on(self, rounds: int, seconds: int, key: str) -> None:
        self.count("zombie goes on")
        self.world.run_zombie(rounds, seconds, key)

    @zombie_runs
    @rule()
    def kill_zombie(self) -> None:
        self.count("zombie dies")
        self.world.kill_zombie()

    @rule(
        moves=st.lists(MOVES, min_size=1, max_size=12),
        shape=SHAPES,
        order=ORDER,
        key=KEYS,
        rounds=st.integers(1, 4),
        back=BACK,
        then=THEN,
    )
    def race(self, moves: list[Move], shape: Shape, order: int, key: str, rounds: int, back: int, then: Any) -> None:
        self.count("race")
        self.world.race(moves, shape, order, key, rounds, 0, back, then)

    @running
    @rule(
        gone=st.integers(0, 3),
        seconds=SECONDS,
        moves=st.lists(MOVES, min_size=3, max_size=12),
        shape=SHAPES,
        key=KEYS,
        back=BACK,
        then=THEN,
    )
    def late_resume(
        self, gone: int, seconds: int, moves: list[Move], shape: Shape, key: str, back: int, then: Any
    ) -> None:
        """The one that was taken for dead goes on for some epochs before anybody resumes, and then they race."""
        self.count("late resume")
        self.world.take_over()
        self.world.run_zombie(gone, seconds, key)
        self.world.race(moves, shape, 0, key, 3, seconds, back, then)

    @running
    @rule(gone=st.integers(0, 2), first=IN_CLAIM, second=IN_ROUND, shape=SHAPES, key=KEYS, then=THEN)
    def resume_while_deleting(self, gone: int, first: str, second: str, shape: Shape, key: str, then: Any) -> None:
        """Somebody resumes from what the zombie is about to delete, and each is caught in the middle."""
        self.count("resume_while_deleting")
        pause = self.world.choices.retain_for + 61
        self.world.take_over()
        self.world.run_zombie(gone, pause, key)
        moves = [
            Move("main", 1000, until=first),
            Move("zombie", 1000, until=second),
            Move("main", 1000),
            Move("zombie", 1000),
        ]
        self.world.race(moves, shape, 0, key, 6, pause, 0, then)

    @running
    @rule(
        busy=st.sampled_from([0, 0, 0, 40]),
        before=st.integers(0, 5),
        seconds=SECONDS,
        lists=st.integers(1, 8),
        rounds=st.integers(2, 6),
        shape=SHAPES,
        key=KEYS,
    )
    def stall(self, busy: int, before: int, seconds: int, lists: int, rounds: int, shape: Shape, key: str) -> None:
        """Somebody hangs in a deletion, behind a list, and goes on when another one has long taken over."""
        self.count("stall")
        stall(self.world, busy, before, seconds, lists, rounds, shape, key)

    @seldom
    @rule(nothing_runs=st.booleans(), crash_at=st.none() | IN_GC)
    def gc(self, nothing_runs: bool, crash_at: CrashAt | None) -> None:
        self.count("gc")
        self.world.gc(nothing_runs, crash_at)

    @precondition(lambda self: self.world.running and self.world.ordinary)
    @rule()
    def settle(self) -> None:
        self.count("settle")
        settle(self.world)

    @seldom
    @rule(back=BACK, shape=SHAPES, timers=st.booleans())
    def restore_aside(self, back: int, shape: Shape, timers: bool) -> None:
        self.count("restore aside")
        restore_aside(self.world, back, shape, timers)

    @invariant()
    def holds(self) -> None:
        self.world.check()
        self.fine = True

    def teardown(self) -> None:
        try:
            TALLY.add("totals", "examples")
            if self.fine:
                self.end()
        finally:
            self.world.close()

    def end(self) -> None:
        """Restore all that can be resumed from, and look at what is left when all garbage is collected."""
        for back in range(len(self.world.roots())):
            restore_aside(self.world, back, Shape(1 + back % 3, "rocksdb" if back % 2 else "heap"), timers=False)
        collect_garbage(self.world)
        self.world.check()
        restore_aside(self.world, 0, Shape(2, "rocksdb"), timers=True)

    def count(self, name: str) -> None:
        self.turn += 1
        self.fine = False
        TALLY.add("rules", name)
        TALLY.add("totals", "steps")


def clone(fault: Fault) -> Fault:
    """A fault counts down as it strikes; what was drawn has to stay as it was."""
    return Fault(fault.verb, fault.how, fault.name, fault.skip, fault.times, fault.transient)
