"""The local folder of a store: who holds it, and what of those before is left in it, when."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bytewax_state.errors import ConflictError, StorageError
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.workspace import Workspace

pytestmark = pytest.mark.disk


def store(number: int, index: int) -> StoreId:
    return StoreId(StepId("flow", "flow.s"), f"2026010{number}T000000000000Z-w{index:03}-{number:08x}")


@pytest.fixture
def opened() -> Iterator[list[Workspace]]:
    made: list[Workspace] = []
    yield made
    for one in made:
        one.close()


def begin(opened: list[Workspace], root: Path, number: int, index: int = 0, count: int = 1) -> Workspace:
    space = Workspace(root, store(number, index), index, count)
    opened.append(space)
    return space


def leave(root: Path, number: int, index: int = 0, count: int = 1) -> Path:
    """Leave what a killed execution leaves."""
    space = Workspace(root, store(number, index), index, count)
    for folder in (space.live, space.frozen(3), space.live.parent / "from-0"):
        folder.mkdir(parents=True)
        (folder / "000008.sst").write_bytes(b"rows")
    folder = space.live.parent
    space._lock.release()  # as the kernel does
    return folder


def test_a_new_execution_keeps_only_frozen_images(opened: list[Workspace], tmp_path: Path) -> None:
    """At once: an execution that dies before it publishes must not leave one more live table each time."""
    dead = leave(tmp_path, 1)
    begin(opened, tmp_path, 2)
    assert [path.name for path in dead.iterdir()] == ["frozen"]


def test_the_first_version_makes_them_superfluous(opened: list[Workspace], tmp_path: Path) -> None:
    """From then on a fast restart has others."""
    dead = leave(tmp_path, 1)
    begin(opened, tmp_path, 2).tidy(1)
    assert not dead.exists()


def test_another_worker_is_left_alone(opened: list[Workspace], tmp_path: Path) -> None:
    """It runs on the same folder."""
    other = begin(opened, tmp_path, 1, index=1, count=2)
    other.live.mkdir(parents=True)
    begin(opened, tmp_path, 2, index=0, count=2).tidy(1)
    assert other.live.exists()


def test_what_workers_left_that_there_are_no_more_goes_too(opened: list[Workspace], tmp_path: Path) -> None:
    """After a rescale to fewer; each by one of the workers that are left."""
    left = [leave(tmp_path, 1, index, 4) for index in range(4)]
    for index in (0, 1):
        begin(opened, tmp_path, 2, index, 2).tidy(1)
    assert [folder.exists() for folder in left] == [False] * 4


def test_the_locks_of_workers_that_there_are_no_more_go_with_what_they_left(
    opened: list[Workspace], tmp_path: Path
) -> None:
    """At once where no image is left to restore from, as of a run without snapshots; else with the images."""
    folder = leave(tmp_path, 1, 0, 4).parent
    leave(tmp_path, 1, 1, 4)
    for index in (2, 3):
        shutil.rmtree(leave(tmp_path, 1, index, 4) / "frozen")
    space = begin(opened, tmp_path, 2, 0, 1)
    assert sorted(path.name for path in folder.glob("*.lock")) == ["worker-000.lock", "worker-001.lock"]
    space.tidy(1)
    assert [path.name for path in folder.glob("*.lock")] == ["worker-000.lock"]


def test_a_run_with_more_workers_that_is_still_there_keeps_its_own(opened: list[Workspace], tmp_path: Path) -> None:
    """A zombie holds its lock."""
    zombie = begin(opened, tmp_path, 1, index=2, count=3)
    zombie.live.mkdir(parents=True)
    begin(opened, tmp_path, 2, index=0, count=1).tidy(1)
    assert zombie.live.exists()
    with pytest.raises(ConflictError):
        begin(opened, tmp_path, 3, index=2, count=3)


def test_two_runs_cannot_hold_one_worker_index(opened: list[Workspace], tmp_path: Path) -> None:
    """Each would throw the other's away."""
    begin(opened, tmp_path, 1)
    with pytest.raises(ConflictError, match="BYTEWAX_STATE_DIR"):
        begin(opened, tmp_path, 2)


def test_a_disk_that_cannot_lock_is_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of some networks."""

    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(StorageError, match=r"No locks available; set BYTEWAX_STATE_DIR"):
        Workspace(tmp_path, store(1, 0), 0, 1)


def test_what_only_has_the_name_of_a_store_is_left_alone(opened: list[Workspace], tmp_path: Path) -> None:
    """It is not ours, and in nobody's way."""
    folder = leave(tmp_path, 1).parent
    (folder / store(2, 0).store_id).write_text("")
    (folder / store(3, 0).store_id).symlink_to(folder / "nowhere")
    begin(opened, tmp_path, 4).tidy(1)
    assert (folder / store(2, 0).store_id).exists()


def test_of_the_own_versions_the_last_two_stay(opened: list[Workspace], tmp_path: Path) -> None:
    """One may be of an epoch that did not commit."""
    space = begin(opened, tmp_path, 1)
    for version in range(1, 6):
        space.frozen(version).mkdir()
        space.tidy(version)
    assert sorted(path.name[-1] for path in space.frozen(1).parent.iterdir()) == ["4", "5"]


def test_a_closed_store_removes_nothing_of_the_next_run(opened: list[Workspace], tmp_path: Path) -> None:
    """Garbage collection may close it in the thread that is about to."""
    space = begin(opened, tmp_path, 1)
    space.close()
    begin(opened, tmp_path, 2).live.mkdir(parents=True)
    space.tidy(1)
    assert opened[-1].live.exists()


def test_a_closed_store_leaves_its_frozen_images(tmp_path: Path) -> None:
    """For a fast restart."""
    space = Workspace(tmp_path, store(1, 0), 0, 1)
    space.live.mkdir(parents=True)
    space.frozen(1).mkdir()
    space.close()
    assert [path.name for path in space.live.parent.iterdir()] == ["frozen"]
