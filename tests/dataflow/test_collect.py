"""`collect` in flows, by the clock: what it gives on plain Bytewax."""

import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import pytest

from bytewax_state import Settings
from tests.dataflow.hazards import Way
from tests.dataflow.runs import Batch, Job, Run, Step, results

SOON = timedelta(seconds=0.5)


def collected(timeout: timedelta, size: int = 100) -> Step:
    return lambda up: op.collect("s", up, timeout, size)


def test_a_list_is_emitted_after_its_timeout(way: Way) -> None:
    """And what comes later for the same key is in another one."""
    batches: list[Batch] = [
        [("a", 1), ("b", 2)],
        [("a", 3)],
        SOON * 1.5,
        [("a", 4), ("c", 5)],
        SOON * 1.5,
        [("b", 6)],
    ]
    expected = way.plain(collected(SOON), batches)
    assert expected == {"a ": [[1, 3], [4]], "b ": [[2], [6]], "c ": [[5]]}
    assert way.results(collected(SOON), batches) == expected


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_a_list_that_is_due_when_a_value_comes(backend: str, spilling: Settings) -> None:
    """Is emitted with that value, and not with what comes after it, though the timeout begins anew."""

    def work(item: tuple[str, int]) -> tuple[str, int]:
        time.sleep(0.8 if item[1] == 2 else 0)
        return item

    step: Step = lambda up: collected(SOON)(op.map("work", up, work))  # noqa: E731
    batches: list[Batch] = [[("a", 1)], [("a", 2)], [("a", 3)]]
    expected = results(step, batches)
    assert expected == {"a ": [[1, 2], [3]]}
    assert results(step, batches, spilling.model_copy(update={"backend": backend})) == expected


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("timeouts", [(timedelta(days=1), SOON), (SOON, timedelta(days=1))])
def test_another_timeout_after_a_resume(
    timeouts: tuple[timedelta, timedelta], backend: str, spilling: Settings, tmp_path: Path
) -> None:
    """Begins with the next value of a key; until then, its state tells when it is due."""
    batches: list[Batch] = [[("a", 1), ("b", 1)], [("a", 2)], SOON * 2, [("a", 3), ("b", 3)], [("b", 4)]]
    found = []
    for name, chosen in (("plain", None), ("ours", spilling.model_copy(update={"backend": backend}))):
        (tmp_path / name).mkdir()
        job = Job(collected(timeouts[0]), batches, tmp_path / name)
        job.run(Run(abort=2), chosen)
        job.step = collected(timeouts[1])
        job.run(Run(), chosen)
        found.append(job.results())
    assert found[0] == found[1]
    assert found[0]["a "] == ([[1, 2, 3]] if timeouts[1] == SOON else [[1, 2], [3]])
