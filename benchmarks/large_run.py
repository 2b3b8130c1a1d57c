"""One run over a large state, in a process of its own: `python -m benchmarks.large_run RUN`.

Owns the flow, what is timed and how memory is measured, and it checks that no key's state was lost. It does not own
which runs follow each other. Called by `large_state`, `resume`, `memory` and `pauses`, which read the line of JSON that
it prints.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import shake_128
from math import gcd
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from benchmarks.apart import run_apart
from benchmarks.cases import BATCH_SIZE, Backend
from benchmarks.figures import Side
from benchmarks.operators import Item
from bytewax_state import Settings, attach

CACHE_ENTRIES = 100_000
MEMORY = "256MiB"

_DIGITS = 4
_STRIDE = 2_654_435_761  # Knuth's multiplicative hash: neighbours in time are no neighbours in the table


@dataclass(frozen=True, slots=True)
class Run:
    """What to run: items `[…, stop)` of an endless input that meets every key once, then all of them again."""

    side: Side
    keys: int
    stop: int
    seen_before: int
    """How often the keys of this run were met in earlier ones; `-1`: they are met more than once in this one."""
    folder: str
    """Recovery partitions, snapshots and live tables; of the run that is resumed, if there was one."""
    backend: Backend = "rocksdb"
    value_bytes: int = 100
    """Length of the text that is a key's state; 0: it is a number."""
    recovery: bool = True
    """Whether there are snapshots, and Bytewax has a recovery directory."""
    epoch_seconds: float = 10.0
    """Length of an epoch: Bytewax's default."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave."""

    items: int
    first_item_seconds: float
    """From the start of the run until the first item came out of the step."""
    seconds: float
    peak_bytes: int
    """Most resident memory that the process ever had."""
    batch_ms: float
    """Median CPU time of the worker until a batch was done: what else the machine does is no pause."""
    longest_batch_ms: float


def run(what: Run) -> Result:
    """Run the flow, on from where the last run in this folder ended.

    :arg what: What to run.

    :returns: Times and memory.

    :raises AssertionError: If a key has not the state that earlier runs left.

    """
    folder = Path(what.folder)
    sink, numbers = _Watch(what.seen_before + 1), _Numbers(what)
    flow = _flow(what, numbers, sink)
    if what.side == "ours":
        attach(flow, _settings(what, folder))
    recovery = _recovery(folder / "recovery") if what.recovery else None
    began = time.perf_counter()
    run_main(flow, epoch_interval=timedelta(seconds=what.epoch_seconds), recovery_config=recovery)  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - began
    return Result(
        items=sink.items,
        first_item_seconds=round(sink.first - began, 4) if sink.items else 0.0,
        seconds=round(seconds, 3),
        peak_bytes=peak_bytes(),
        batch_ms=round(median(numbers.batch_ms or [0.0]), 2),
        longest_batch_ms=round(max(numbers.batch_ms, default=0.0), 2),
    )


def run_large(what: Run) -> Result:
    """Run in a fresh process.

    :arg what: What to run.

    :returns: What it gave.

    :raises RunFailedError: If it ends with an error.

    """
    return Result(**run_apart("benchmarks.large_run", json.dumps(asdict(what))))


def _recovery(partitions: Path) -> RecoveryConfig:
    if not partitions.exists():
        partitions.mkdir()
        init_db_dir(partitions, 1)  # type: ignore[no-untyped-call]
    return RecoveryConfig(partitions)  # type: ignore[no-untyped-call]


def peak_bytes() -> int:
    """Return the most resident memory that this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike `ru_maxrss`, it does not count what the parent had when it forked.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _settings(what: Run, folder: Path) -> Settings:
    return Settings(
        backend=what.backend,
        uri=str(folder / "snapshots") if what.recovery else "none",
        dir=folder / "work",
        cache_entries=CACHE_ENTRIES,
        memory=MEMORY,
    )


def _flow(what: Run, numbers: "_Numbers", sink: "_Watch") -> Dataflow:
    flow = Dataflow("large_state")
    mapper = _keep_latest if what.value_bytes else _count
    op.output("out", op.stateful_map("latest", op.input("in", flow, numbers), mapper), sink)
    return flow


def _keep_latest(state: str | None, value: str) -> tuple[str, int]:
    """Keep a text of the value's length, which begins with how often the key was met."""
    times = 1 if state is None else int(state[:_DIGITS]) + 1
    return f"{times:0{_DIGITS}}{value[_DIGITS:]}", times


def _count(state: int | None, _value: str) -> tuple[int, int]:
    times = (state or 0) + 1
    return times, times


class _Numbers(FixedPartitionedSource[Item, int]):
    """Makes its items when they are asked for: an input in memory would be measured with the state."""

    def __init__(self, what: Run) -> None:
        assert gcd(what.keys, _STRIDE) == 1
        self._what = what
        self.batch_ms: list[float] = []

    def list_parts(self) -> list[str]:
        return ["numbers"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_NumbersPartition":
        return _NumbersPartition(self._what, resume_state or 0, self.batch_ms)


class _NumbersPartition(StatefulSourcePartition[Item, int]):
    """The first batch has one item: what comes out first does not wait for others."""

    def __init__(self, what: Run, at: int, batch_ms: list[float]) -> None:
        self._what = what
        self._at = at
        self._batch_ms = batch_ms
        self._size = 1
        self._asked: float | None = None

    def next_batch(self) -> list[Item]:
        now = time.thread_time()
        if self._asked is not None:
            # With what it takes to make its items: then too a collector of garbage may run.
            self._batch_ms.append((now - self._asked) * 1e3)
        start, self._at = self._at, min(self._at + self._size, self._what.stop)
        if start == self._at:
            raise StopIteration
        self._asked = now if self._size == BATCH_SIZE else None
        self._size = BATCH_SIZE
        return [self._item(index) for index in range(start, self._at)]

    def snapshot(self) -> int:
        return self._at

    def _item(self, index: int) -> Item:
        return f"key-{index * _STRIDE % self._what.keys:010d}", _text(index, self._what.value_bytes)


def _text(index: int, length: int) -> str:
    """Make a text which hardly any compression makes smaller."""
    return "" if length == 0 else shake_128(index.to_bytes(8, "big")).hexdigest(length // 2)


class _Watch(DynamicSink[Any]):
    """Notes when the first item comes, and checks each."""

    def __init__(self, expected: int) -> None:
        self.items = 0
        self.first = 0.0
        self.expected = expected

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_WatchPartition":
        return _WatchPartition(self)


class _WatchPartition(StatelessSinkPartition[Any]):
    def __init__(self, sink: _Watch) -> None:
        self._sink = sink

    def write_batch(self, items: list[Any]) -> None:
        sink = self._sink
        if not sink.items:
            sink.first = time.perf_counter()
        sink.items += len(items)
        for key, times in items if sink.expected else ():
            assert times == sink.expected, f"{key} was met {times} times, expected {sink.expected}"


if __name__ == "__main__":
    print(json.dumps(asdict(run(Run(**json.loads(sys.argv[1]))))))
