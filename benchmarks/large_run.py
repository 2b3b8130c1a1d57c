"""One run over a large state, in a process of its own: `python -m benchmarks.large_run RUN`.

Owns the flow, what is timed and how memory is measured, and it checks that no key's state was lost. It does not own
which runs follow each other. Called by `large_state`, which reads the line of JSON that it prints.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import gcd
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from benchmarks.cases import BATCH_SIZE
from benchmarks.flows import Item
from benchmarks.turn import Side
from bytewax_state import Settings, attach

VALUE_BYTES = 100
CACHE_ENTRIES = 100_000
MEMORY = "256MiB"

_STRIDE = 2_654_435_761  # Knuth's multiplicative hash: neighbours in time are no neighbours in the table


@dataclass(frozen=True, slots=True)
class Run:
    """What to run: items `[…, stop)` of an endless input that meets every key once, then all of them again."""

    side: Side
    keys: int
    stop: int
    seen_before: int
    """How often the keys of this run were met in earlier ones."""
    folder: str
    """Recovery partitions, snapshots and live tables; of the run that is resumed, if there was one."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave."""

    items: int
    first_item_seconds: float
    """From the start of the run until the first item came out of the step."""
    seconds: float
    peak_bytes: int
    """Most resident memory that the process ever had."""


def run(what: Run) -> Result:
    """Run the flow, on from where the last run in this folder ended.

    :arg what: What to run.

    :returns: Times and memory.

    :raises AssertionError: If a key has not the state that earlier runs left.

    """
    folder = Path(what.folder)
    partitions = folder / "recovery"
    if not partitions.exists():
        partitions.mkdir()
        init_db_dir(partitions, 1)  # type: ignore[no-untyped-call]
    sink = _Watch(what.seen_before + 1)
    flow = _flow(what, sink)
    if what.side == "ours":
        attach(flow, _settings(folder))
    began = time.perf_counter()
    run_main(flow, recovery_config=RecoveryConfig(partitions))  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - began
    return Result(sink.items, round(sink.first - began, 3), round(seconds, 3), peak_bytes())


def peak_bytes() -> int:
    """Return the most resident memory that this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike `ru_maxrss`, it does not count what the parent had when it forked.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _settings(folder: Path) -> Settings:
    return Settings(
        backend="rocksdb",
        uri=str(folder / "snapshots"),
        dir=folder / "work",
        cache_entries=CACHE_ENTRIES,
        memory=MEMORY,
    )


def _flow(what: Run, sink: "_Watch") -> Dataflow:
    flow = Dataflow("large_state")
    up = op.input("in", flow, _Numbers(what.keys, what.stop))
    op.output("out", op.stateful_map("latest", up, _keep_latest), sink)
    return flow


def _keep_latest(state: tuple[int, str] | None, value: str) -> tuple[tuple[int, str], int]:
    times = 1 if state is None else state[0] + 1
    return (times, value), times


class _Numbers(FixedPartitionedSource[Item, int]):
    """Makes its items when they are asked for: an input in memory would be measured with the state."""

    def __init__(self, keys: int, stop: int) -> None:
        assert gcd(keys, _STRIDE) == 1
        self._keys = keys
        self._stop = stop

    def list_parts(self) -> list[str]:
        return ["numbers"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_NumbersPartition":
        return _NumbersPartition(self._keys, self._stop, resume_state or 0)


class _NumbersPartition(StatefulSourcePartition[Item, int]):
    def __init__(self, keys: int, stop: int, at: int) -> None:
        self._keys = keys
        self._stop = stop
        self._at = at

    def next_batch(self) -> list[Item]:
        start, self._at = self._at, min(self._at + BATCH_SIZE, self._stop)
        if start == self._at:
            raise StopIteration
        return [self._item(index) for index in range(start, self._at)]

    def snapshot(self) -> int:
        return self._at

    def _item(self, index: int) -> Item:
        value = blake2b(index.to_bytes(8, "big"), digest_size=VALUE_BYTES // 2).hexdigest()
        return f"key-{index * _STRIDE % self._keys:010d}", value


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
        for key, times in items:
            assert times == sink.expected, f"{key} was met {times} times, expected {sink.expected}"


if __name__ == "__main__":
    print(json.dumps(asdict(run(Run(**json.loads(sys.argv[1]))))))
