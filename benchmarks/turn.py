"""One turn of one side of a case, in a process of its own: `python -m benchmarks.turn theirs|ours CASE`.

Owns what is timed: the run of the flow, from its first call to its last, and nothing of what was made ready before. It
does not own the cases nor what is done with the times. Called by `pairs`, which reads the line of JSON that it prints.
"""

import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from benchmarks.cases import Case
from benchmarks.flows import Count, batches_of, flow_of
from bytewax_state import Settings, attach

Side: TypeAlias = Literal["theirs", "ours"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn gave."""

    seconds: float
    emitted: int
    """Items that reached the sink: the same on both sides."""


def run(side: Side, case: Case) -> Turn:
    """Run a case once.

    :arg side: `theirs` is Bytewax alone.

    :arg case: Case.

    :returns: Time, and what came out.

    """
    with TemporaryDirectory(prefix="benchmark-") as folder:
        sink = Count()
        flow = flow_of(case.operator, batches_of(case.operator, case.items, case.keys, case.batch_size), sink)
        if side == "ours":
            attach(flow, settings_of(case, Path(folder)))
        options = _recovery(case, Path(folder))
        # The input is none of the garbage that a run makes, so no collection in it should look through it.
        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        run_main(flow, **options)  # type: ignore[no-untyped-call]
        return Turn(time.perf_counter() - began, sink.items)


def settings_of(case: Case, folder: Path) -> Settings:
    """Choose the settings of our side.

    :arg case: Case; without recovery on either side there are no snapshots.

    :arg folder: Where all files go.

    :returns: Settings, with a cache that has room for every key, however unevenly they hash.

    """
    uri = "none" if case.epoch_seconds is None else str(folder / "snapshots")
    return Settings(backend=case.backend, uri=uri, dir=folder / "work", cache_entries=2 * case.keys)


def _recovery(case: Case, folder: Path) -> dict[str, Any]:
    if case.epoch_seconds is None:
        return {}
    partitions = folder / "recovery"
    partitions.mkdir()
    init_db_dir(partitions, 1)  # type: ignore[no-untyped-call]
    return {
        "epoch_interval": timedelta(seconds=case.epoch_seconds),
        "recovery_config": RecoveryConfig(partitions),  # type: ignore[no-untyped-call]
    }


if __name__ == "__main__":
    _, _side, _case = sys.argv
    assert _side in ("theirs", "ours")
    print(json.dumps(asdict(run(_side, Case(**json.loads(_case))))))  # type: ignore[arg-type]
