"""What older versions of this package left behind is resumed from, whatever became of formats and codecs since."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dataflow.old import BATCHES, READ, settings, step
from tests.dataflow.runs import Job, Run, results

ARCHIVES = sorted((Path(__file__).parent.parent / "data").glob("snapshots-*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Unpack an archive."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def expected() -> dict[str, list[Any]]:
    """Return what plain Bytewax gives for the input that no archive has seen."""
    runs = [Run(stop=READ // 2), Run(stop=READ), Run(stop=READ + 2), Run()]
    whole, before = results(step, BATCHES, None, runs), results(step, BATCHES, None, runs[:2])
    return {key: values[len(before.get(key, ())) :] for key, values in whole.items()}


def test_there_is_something_to_read() -> None:
    """Or the other tests would test nothing."""
    assert ARCHIVES


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_old_snapshot_is_resumed_from(old: Path, backend: str, workers: int, expected: dict[str, list[Any]]) -> None:
    """By either store, on any number of workers, and then what these wrote of it."""
    job = Job(step, BATCHES, old)
    job.run(Run(stop=READ + 2, workers=workers), settings(old, backend))
    job.run(Run(), settings(old, backend))
    assert {key: sorted(values) for key, values in job.results().items()} == {
        key: sorted(values) for key, values in expected.items()
    }
