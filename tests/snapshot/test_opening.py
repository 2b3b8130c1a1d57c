"""What a step opens is let go of in order: the table first, and after it the folder that the table lies in."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bytewax_state import Settings
from bytewax_state.errors import SnapshotCorruptError, SnapshotMissingError
from bytewax_state.snapshot.layout import StepId
from bytewax_state.snapshot.lock import FileLock
from bytewax_state.store.table import Table
from tests.dataflow.executions import Keep
from tests.driver import Execution, Refs

pytestmark = [
    pytest.mark.disk,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files"),
]

GROUPS = 4


class Job:
    """A step that has run on two workers, so that one worker restores it from two stores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refs: Refs = {}
        with closing(self.execution(workers=2)) as run:
            run.open()
            run.batch([(f"k{number}", number) for number in range(20)])
            self.refs = run.end_epoch()

    def execution(self, workers: int = 1, watch: Callable[[Table], Table] = lambda table: table) -> Execution:
        settings = Settings(
            uri=str(self.folder / "snapshots"), dir=self.folder / "work", key_groups=GROUPS, memory="8MiB"
        )
        return Execution(StepId("flow", "flow.s"), settings, Keep, workers, self.refs, watch=watch)

    def open_tables(self) -> list[str]:
        """Name the files that this process has open of tables, but not the locks of folders."""
        names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return [name for name in names if name.startswith(str(self.folder / "work")) and not name.endswith(".lock")]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.fixture
def left(job: Job, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collects what is open of tables when a folder is unlocked."""
    found: list[list[str]] = []
    release = FileLock.release

    def watched(lock: FileLock) -> None:
        if lock.is_held:
            found.append(job.open_tables())
        release(lock)

    monkeypatch.setattr(FileLock, "release", watched)
    return found


def test_a_table_is_closed_before_its_folder_is_unlocked(job: Job, left: list[list[str]]) -> None:
    """At the end of a run: whoever locks the folder next may throw away what lies in it."""
    with closing(job.execution()) as run:
        run.open()
        assert job.open_tables()
    assert left[-1] == []


@pytest.mark.parametrize("missing", range(GROUPS))
def test_a_step_without_a_ref_of_a_key_group_opens_nothing(missing: int, job: Job, left: list[list[str]]) -> None:
    """It is refused before anything is restored, whichever key group comes first."""
    del job.refs[missing]
    with closing(job.execution()) as run, pytest.raises(SnapshotMissingError, match="no row for key group"):
        run.open()
    assert left == []


def test_a_restore_that_fails_half_way_has_its_table_closed(job: Job, left: list[list[str]]) -> None:
    """The table was open, and rows of the other store were to be put into it."""
    for path in (job.folder / "snapshots").rglob("*.sst"):
        if "-w001-" in str(path):
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    for path in (job.folder / "work").rglob("frozen"):
        path.rename(path.with_name("lost"))
    with closing(job.execution()) as run, pytest.raises(SnapshotCorruptError):
        run.open()
    assert left[-1] == []


def test_a_store_that_cannot_be_made_leaves_no_table_open(job: Job, left: list[list[str]]) -> None:
    """Whatever it fails over."""

    def fail(table: Table) -> Table:
        raise KeyError

    with closing(job.execution(watch=fail)) as run, pytest.raises(KeyError):
        run.open()
    assert left[-1] == []
