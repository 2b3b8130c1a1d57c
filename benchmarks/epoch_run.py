"""One run of a flow whose every batch is an epoch, in a process of its own: `python -m benchmarks.epoch_run RUN`.

Owns the flow and what is timed: from when the source hands a batch over until it is asked for the next one, which
Bytewax does when the epoch is written everywhere. It does not own which runs are compared (`epochs`), which reads the
line of JSON that it prints.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from statistics import mean, median
from tempfile import TemporaryDirectory

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from benchmarks.apart import run_apart
from benchmarks.cases import Backend
from benchmarks.figures import Side
from benchmarks.flows import Count
from benchmarks.operators import Item
from bytewax_state import Settings, attach
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import Manifest, Stats
from bytewax_state.storage.uri import open_storage

CACHE_ENTRIES = 100_000
FIRST = 5
"""Epochs that are not measured: the first makes all keys."""

_SEED = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What to run: one epoch that makes all keys, and then some that each change a few, at random."""

    side: Side
    backend: Backend
    keys: int
    changed: int
    """Keys, in an epoch."""
    epochs: int
    """Without the first."""
    steps: int = 1
    """Stateful ones, one behind the other."""
    value_bytes: int = 0
    """Random ones, in the place of a number."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run gave."""

    mean_ms: float
    """Of an epoch, in all."""
    median_ms: float
    worst_ms: float
    manifest_bytes: float
    """Of an epoch and step, with the rows in it; 0 on their side, as what follows."""
    standstill_ms: float
    """Of an epoch, without what is done with its items: the median of a step."""
    worst_standstill_ms: float


def run_epochs(what: Run) -> Result:
    """Run in a fresh process; see `run_apart`."""
    return Result(**run_apart("benchmarks.epoch_run", json.dumps(asdict(what))))


def run(what: Run) -> Result:
    """Run the flow.

    :arg what: What to run.

    :returns: Times and bytes.

    """
    with TemporaryDirectory(prefix="epochs-") as name:
        folder, source = Path(name), _Epochs(what)
        (folder / "recovery").mkdir()
        init_db_dir(folder / "recovery", 1)  # type: ignore[no-untyped-call]
        flow = Dataflow("epochs")
        up: KeyedStream[int | bytes] = op.input("in", flow, source)
        for number in range(what.steps):
            up = op.stateful_map(f"latest{number}", up, lambda _state, value: (value, value))
        op.output("out", up, Count())
        settings = Settings(
            backend=what.backend,
            uri=str(folder / "snapshots"),
            dir=folder / "work",
            cache_entries=CACHE_ENTRIES,
            retain_snapshots=what.epochs + 2,
        )
        if what.side == "ours":
            attach(flow, settings)
        recovery = RecoveryConfig(folder / "recovery")  # type: ignore[no-untyped-call]
        run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)  # type: ignore[no-untyped-call]
        return _result(source.milliseconds[FIRST:], list(_stats(settings)) if what.side == "ours" else [])


def _result(times: list[float], stats: list[Stats]) -> Result:
    still = [(one.seconds.flush + one.seconds.freeze + one.seconds.publish) * 1e3 for one in stats] or [0.0]
    return Result(
        mean_ms=round(mean(times), 3),
        median_ms=round(median(times), 3),
        worst_ms=round(max(times), 3),
        manifest_bytes=round(mean([one.manifest_bytes for one in stats] or [0])),
        standstill_ms=round(median(still), 3),
        worst_standstill_ms=round(max(still), 3),
    )


def _stats(settings: Settings) -> Iterator[Stats]:
    """Read what the versions cost that are measured."""
    assert settings.uri is not None
    catalog = Catalog(open_storage(settings.uri, {}, 1))
    for prefix in catalog.steps():
        manifests: list[Manifest] = list(catalog.step(prefix).manifests())
        yield from (manifest.stats for manifest in manifests if manifest.version > FIRST)


class _Epochs(FixedPartitionedSource[Item, int]):
    def __init__(self, what: Run) -> None:
        self._what = what
        self.milliseconds: list[float] = []

    def list_parts(self) -> list[str]:
        return ["epochs"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_EpochsPartition":
        return _EpochsPartition(self._what, self.milliseconds)


class _EpochsPartition(StatefulSourcePartition[Item, int]):
    def __init__(self, what: Run, milliseconds: list[float]) -> None:
        self._what = what
        self._milliseconds = milliseconds
        self._random = Random(_SEED)
        self._epoch = 0
        self._handed = 0.0

    def next_batch(self) -> list[Item]:
        what = self._what
        if self._epoch > 0:
            self._milliseconds.append((time.perf_counter() - self._handed) * 1e3)
        if self._epoch > what.epochs:
            raise StopIteration
        numbers = range(what.keys) if self._epoch == 0 else self._random.sample(range(what.keys), what.changed)
        self._epoch += 1
        batch = [(f"key-{number:08d}", self._value()) for number in numbers]
        self._handed = time.perf_counter()
        return batch

    def snapshot(self) -> int:
        return self._epoch

    def _value(self) -> int | bytes:
        return self._random.randbytes(self._what.value_bytes) if self._what.value_bytes else self._epoch


if __name__ == "__main__":
    print(json.dumps(asdict(run(Run(**json.loads(sys.argv[1]))))))
