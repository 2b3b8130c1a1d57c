"""One side of a pair, or a process of it: `python -m benchmarks.turn theirs|ours CASE ADDRESSES INDEX`.

Owns what is timed: from the moment in which all before a section is done, until that is so for the section. It prints a
line of JSON when it has warmed up, reads the sections from standard input, a line of JSON each, and answers with a line
for each; the last one goes from the beginning of the last section to the end of the run. It does not own the cases nor
what is done with the times. Called by `pairs`.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from benchmarks.cases import Case
from benchmarks.figures import Side
from benchmarks.flows import Batches, Count, Section, flow_of
from bytewax_state import Settings, attach


@dataclass(frozen=True, slots=True)
class Took:
    """What a section took, or all from there to the end of the run."""

    began: float
    """By the clock of the machine, as is `ended`."""
    ended: float
    cpu_seconds: float
    """Of all threads."""
    emitted: int
    """Items that reached the sink since the run began."""
    batch_ms: tuple[float, float, float]
    """Milliseconds until a batch was done: median, 99th percentile, longest."""


def run(side: Side, case: Case, addresses: list[str], index: int) -> Took:
    """Run a case, or one process of it.

    :arg side: `theirs` is Bytewax alone, if the case has one process.

    :arg case: Case.

    :arg addresses: Of all processes.

    :arg index: Of this process.

    :returns: What it took from the beginning of its last section to the end of the run.

    """
    with TemporaryDirectory(prefix="benchmark-") as folder:
        sink = Count()
        meter = _Meter(sink)
        source = Batches(case.feed, _sections(), meter, index, len(addresses))
        operator = (case.their_operator if side == "theirs" else None) or case.operator
        flow = flow_of(operator, source, sink)
        if side == "ours" or case.processes > 1:
            attach(flow, settings_of(case, Path(folder)))
        options = _options(case, Path(folder))
        if len(addresses) == 1:
            run_main(flow, **options)  # type: ignore[no-untyped-call]
        else:
            cluster_main(flow, addresses, index, **options)  # type: ignore[no-untyped-call]
        return meter.took()


def _sections() -> Iterator[Section]:
    for line in sys.stdin:
        yield Section(**json.loads(line))


class _Meter:
    def __init__(self, sink: Count) -> None:
        self._sink = sink
        self.begin()

    def begin(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._laps = [self._wall]

    def lap(self) -> None:
        self._laps.append(time.perf_counter())

    def end(self) -> None:
        _print(self.took())

    def took(self) -> Took:
        cpu = time.process_time() - self._cpu
        batches = [(end - begin) * 1e3 for begin, end in pairwise(self._laps)]
        return Took(self._wall, time.perf_counter(), cpu, self._sink.items, _percentiles(batches))


def _percentiles(batches: list[float]) -> tuple[float, float, float]:
    if len(batches) < 2:
        return (batches[0],) * 3 if batches else (0.0,) * 3
    cuts = quantiles(batches, n=100, method="inclusive")
    return cuts[49], cuts[98], max(batches)


def settings_of(case: Case, folder: Path) -> Settings:
    """Choose the settings of our side.

    :arg case: Case; without recovery on either side there are no snapshots.

    :arg folder: Where all files go.

    :returns: Settings.

    """
    uri = str(folder / "snapshots") if case.recovery else "none"
    return Settings(backend=case.backend, uri=uri, dir=folder / "work", cache_entries=int(case.cached * case.keys))


def _options(case: Case, folder: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if case.epoch_seconds is not None:
        options["epoch_interval"] = timedelta(seconds=case.epoch_seconds)
    if case.recovery:
        partitions = folder / "recovery"
        partitions.mkdir()
        init_db_dir(partitions, 1)  # type: ignore[no-untyped-call]
        options["recovery_config"] = RecoveryConfig(partitions)  # type: ignore[no-untyped-call]
    return options


def _print(took: Took) -> None:
    print(json.dumps(asdict(took)), flush=True)


if __name__ == "__main__":
    _, _side, _case, _addresses, _index = sys.argv
    assert _side in ("theirs", "ours")
    _print(run(_side, Case(**json.loads(_case)), _addresses.split(","), int(_index)))  # type: ignore[arg-type]
