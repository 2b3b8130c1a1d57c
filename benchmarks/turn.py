"""One turn of one side of a case, or a process of it: `python -m benchmarks.turn theirs|ours CASE ADDRESSES INDEX`.

Owns what is timed: the run of the flow, from its first call to its last, and nothing of what was made ready before. It
does not own the cases nor what is done with the times. Called by `pairs`, which reads the line of JSON that it prints.
"""

import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from benchmarks.cases import Case, Unit
from benchmarks.flows import Batches, Count, batches_of, flow_of
from bytewax_state import Settings, attach

Side: TypeAlias = Literal["theirs", "ours"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn gave, or one process of it."""

    began: float
    """By the clock of the machine, as is `ended`."""
    ended: float
    cpu_seconds: float
    emitted: int
    """Items that reached the sink: the same on both sides."""

    def cost(self, unit: Unit) -> float:
        """Say how many seconds all items took together."""
        return self.ended - self.began if unit == "items/s" else self.cpu_seconds


def together(parts: Sequence[Turn]) -> Turn:
    """Make one turn of what its processes gave.

    :arg parts: Processes.

    :returns: Turn.

    """
    return Turn(
        began=min(one.began for one in parts),
        ended=max(one.ended for one in parts),
        cpu_seconds=sum(one.cpu_seconds for one in parts),
        emitted=sum(one.emitted for one in parts),
    )


def run(side: Side, case: Case, addresses: list[str], index: int) -> Turn:
    """Run a case once, or one process of it.

    :arg side: `theirs` is Bytewax alone, if the case has one process.

    :arg case: Case.

    :arg addresses: Of all processes.

    :arg index: Of this process.

    :returns: Times, and what came out.

    """
    with TemporaryDirectory(prefix="benchmark-") as folder:
        sink, clock = Count(), _Clock()
        batches = batches_of(case.operator, case.items, case.keys, case.batch_size)
        flow = flow_of(case.operator, Batches(batches, len(addresses), clock.begin), sink)
        if side == "ours" or case.processes > 1:
            attach(flow, settings_of(case, Path(folder)))
        options = _options(case, Path(folder))
        # The input is none of the garbage that a run makes, so no collection in it should look through it.
        gc.collect()
        gc.freeze()
        if len(addresses) == 1:
            run_main(flow, **options)  # type: ignore[no-untyped-call]
        else:
            cluster_main(flow, addresses, index, **options)  # type: ignore[no-untyped-call]
        return clock.end(sink.items)


class _Clock:
    """Measures from the moment in which the first partition of the source is opened: in a cluster, that is after all
    processes have found each other.
    """

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        self._began = self._began or (time.perf_counter(), time.process_time())

    def end(self, emitted: int) -> Turn:
        assert self._began is not None
        wall, cpu = self._began
        return Turn(wall, time.perf_counter(), time.process_time() - cpu, emitted)


def settings_of(case: Case, folder: Path) -> Settings:
    """Choose the settings of our side.

    :arg case: Case; without recovery on either side there are no snapshots.

    :arg folder: Where all files go.

    :returns: Settings, with a cache that has room for every key, however unevenly they hash.

    """
    uri = str(folder / "snapshots") if case.recovery else "none"
    return Settings(backend=case.backend, uri=uri, dir=folder / "work", cache_entries=2 * case.keys)


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


if __name__ == "__main__":
    _, _side, _case, _addresses, _index = sys.argv
    assert _side in ("theirs", "ours")
    _turn = run(_side, Case(**json.loads(_case)), _addresses.split(","), int(_index))  # type: ignore[arg-type]
    print(json.dumps(asdict(_turn)))
