"""Runs one after the other in one process: each begins, whatever Bytewax still has of the one before."""

import gc
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest

from bytewax_state import Settings
from bytewax_state.dataflow.group import GroupLogic
from tests.dataflow.flows import ITEMS
from tests.dataflow.hazards import cut
from tests.dataflow.runs import Job, Run, results

BATCHES = cut(ITEMS[:60], 10)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_bytewax_keeps_of_a_run_on_threads_keeps_no_other_from_running(
    backend: str, workers: int, spilling: Settings, tmp_path: Path
) -> None:
    """Now and then it frees a logic of a thread late, or never, and no logic may be what the lock depends on."""
    kept: list[Any] = []

    def look(total: int | None, value: int) -> tuple[int, int]:
        if not kept:
            kept.extend(one for one in gc.get_objects() if type(one) is GroupLogic)
        return (total or 0) + value, (total or 0) + value

    job = Job(lambda up: op.stateful_map("s", up, look), BATCHES, tmp_path)
    chosen = spilling.model_copy(update={"backend": backend})
    job.run(Run(stop=3, workers=3), chosen)
    assert kept
    job.run(Run(workers=workers), chosen)
    assert job.results() == results(job.step, BATCHES)
