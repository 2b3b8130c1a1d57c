"""Steps in a row on Bytewax itself, the upper ones emitting from their timers: each alarm comes once, and in time.

That no group changes without being awake, the execution asserts at the end of each epoch; here, who is.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, cluster_main, run_main

from bytewax_state import Settings, attach
from bytewax_state.dataflow import attach as attaching
from bytewax_state.dataflow.execution import Execution
from bytewax_state.dataflow.group import GroupLogic
from bytewax_state.dataflow.lanes import Chunk
from tests.dataflow.alarms import SLOW, Log, now, steps, value

IDLE = 1.6
"""How many seconds nothing comes at the end: longer than an alarm takes that only waits for its turn."""

LATE = 1.0
"""Seconds: a tick, and what a machine that has other things to do needs besides."""


@dataclass(frozen=True)
class Case:
    """A flow, and how it runs."""

    workers: int = 1
    interval: float = 0.1
    """Of the epochs, in seconds."""
    key_groups: int = 128
    count: int = 2
    """How many steps there are."""
    sleeps: bool = False
    """Whether the source says when it is to be asked again; else it is asked all the time."""
    slow: float = 0
    """How many seconds a snapshot takes on one of the workers."""
    backend: str = "heap"


CASES = {
    "one-worker": Case(),
    "one-worker-and-long-epochs": Case(interval=10),
    "one-worker-and-an-epoch-for-each-item": Case(interval=0, sleeps=True, key_groups=16),
    "one-worker-and-a-long-sleep": Case(interval=10, sleeps=True, count=3, backend="rocksdb"),
    "one-group": Case(key_groups=1, backend="rocksdb"),
    "two-workers-one-of-them-slow": Case(workers=2, slow=0.05, count=3, key_groups=16),
    "three-workers-one-of-them-slow": Case(workers=3, slow=0.02, interval=0, key_groups=7, sleeps=True),
    "three-workers-and-long-epochs": Case(workers=3, interval=10, backend="rocksdb", key_groups=16),
    "five-workers-and-three-groups": Case(workers=5, key_groups=3, sleeps=True, interval=1),
    "seventeen-workers": Case(workers=17, interval=2, key_groups=20, sleeps=True, count=1),
}


Bursts = Iterator[list[Any] | float]
"""Items, and pauses in seconds."""


class Source(DynamicSource[Any]):
    """Gives bursts on each worker, and nothing at all at the end."""

    def __init__(self, bursts: Callable[[int, int], Bursts], sleeps: bool) -> None:
        self._bursts = bursts
        self._sleeps = sleeps

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Partition":
        return _Partition(chain(self._bursts(worker_index, worker_count), [IDLE]), self._sleeps)


def at_random(worker: int, workers: int) -> Bursts:
    """Make single items, bursts and pauses."""
    random, number = Random(worker), 0
    for burst in range(40 // workers + 2):
        keys = [SLOW if burst % 5 == 0 else f"k{random.randrange(200)}" for _ in range(random.choice([1, 1, 3, 40]))]
        yield [value(key, f"{worker}-{at}") for at, key in enumerate(keys, number)]
        number += len(keys)
        yield 0.25 if burst % 20 == 19 else random.choice([0, 0.005, 0.02])


def woken_before(worker: int, workers: int) -> Bursts:
    """Make items for groups that were woken some time before in the same epoch, and are due in a later one."""
    for seconds in (60, 0.4):
        yield [(f"k{number}", (f"k{number}", f"{worker}-{number} {seconds}", seconds)) for number in range(40)]
        yield 0.05


class _Partition(StatelessSourcePartition[Any]):
    def __init__(self, bursts: Bursts, sleeps: bool) -> None:
        self._bursts = bursts
        self._sleeps = sleeps
        self._at = now()

    def next_batch(self) -> list[Any]:
        if now() < self._at:
            return []
        burst = next(self._bursts)
        if isinstance(burst, list):
            return burst
        self._at = now() + timedelta(seconds=burst)
        return []

    def next_awake(self) -> datetime | None:
        return self._at if self._sleeps else None


class Heart(threading.Thread):
    """Beats, and notes for how long at most it did not: a machine that is busy with other things stops workers too."""

    def __init__(self) -> None:
        super().__init__()
        self._stopped = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(0.01):
            last, before = time.monotonic(), last
            self.longest = max(self.longest, last - before)

    def __enter__(self) -> "Heart":
        self.start()
        return self

    def __exit__(self, *ex: object) -> None:
        self._stopped.set()
        self.join()


def play(case: Case, bursts: Callable[[int, int], Bursts], folder: Path) -> tuple[Log, float, timedelta]:
    """Run a case; return what came of it, how long that took, in seconds, and how late an alarm may have come."""
    settings = Settings(
        backend=case.backend,
        uri=str(folder / "snapshots"),
        dir=folder / "work",
        cache_entries=2,
        memory="8MiB",
        key_groups=case.key_groups,
    )
    flow, log = Dataflow("flow"), Log()
    up = op.input("in", flow, Source(bursts, case.sleeps))
    op.output("out", steps(up, log, case.count, case.slow), TestingSink([]))
    attach(flow, settings)
    (folder / "recovery").mkdir()
    init_db_dir(folder / "recovery", 1)
    began, interval = time.monotonic(), timedelta(seconds=case.interval)
    recovery = RecoveryConfig(str(folder / "recovery"), None)
    with Heart() as heart:
        if case.workers == 1:
            run_main(flow, epoch_interval=interval, recovery_config=recovery)
        else:
            cluster_main(
                flow, [], 0, worker_count_per_proc=case.workers, epoch_interval=interval, recovery_config=recovery
            )
    return log, time.monotonic() - began, timedelta(seconds=LATE + case.slow + 3 * heart.longest)


@pytest.fixture(autouse=True)
def anchors(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often anchors were notified; and all that are called are watched."""
    counted: Counter[str] = Counter()

    class Watched(GroupLogic):
        """Knows by itself whether Bytewax will ask it for a ref."""

        def __init__(self, execution: Execution, group: int | None) -> None:
            super().__init__(execution, group)
            self.called: set[int] = vars(execution).setdefault("called", set())

        def on_batch(self, values: list[Chunk]) -> Any:
            self.called.add(values[0][0])
            return super().on_batch(values)

        def on_notify(self) -> Any:
            group, groups = self._group, self._execution.groups
            assert group is not None
            self.called.add(group)
            counted[self._execution.step.id.step_id] += group == groups[-1]
            return super().on_notify()

        def on_eof(self) -> Any:
            self.called |= set() if self._group is None else {self._group}
            return super().on_eof()

        def snapshot(self) -> bytes:
            assert self._execution.awake == self.called
            assert self._group is not None
            self.called.discard(self._group)
            return super().snapshot()

    monkeypatch.setattr(attaching, "GroupLogic", Watched)
    return counted


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_alarm_comes_once_and_in_time(case: Case, anchors: Counter[str], tmp_path: Path) -> None:
    """And no worker is notified more often than ticks and alarms are."""
    log, seconds, late = play(case, at_random, tmp_path)
    assert len(log.asked) > 100
    assert log.again() == []
    assert log.early() == []
    assert log.late(late) == []
    ticks = 10 * seconds * case.count * min(case.workers, case.key_groups)
    assert anchors.total() < ticks + len(log.asked) / 2


@pytest.mark.parametrize("sleeps", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_alarm_comes_in_time_whose_group_was_woken_long_before(workers: int, sleeps: bool, tmp_path: Path) -> None:
    """Bytewax is told when a group is due as the group is woken; what is set later in that epoch it is not told of."""
    log, _, late = play(Case(workers, interval=0.3, count=1, sleeps=sleeps), woken_before, tmp_path)
    assert len(log.asked) == 80 * workers
    assert log.late(late) == []
