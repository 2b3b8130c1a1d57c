"""A lock file: one holder at a time, among processes and within one."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest

from bytewax_state.errors import ConflictError
from bytewax_state.snapshot.lock import FileLock

TAKE = """
import sys
from pathlib import Path
from bytewax_state.errors import ConflictError
from bytewax_state.snapshot.lock import FileLock

try:
    FileLock(Path(sys.argv[1]))
except ConflictError as ex:
    print(ex)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "step" / "worker-000.lock"


@pytest.fixture
def held(path: Path) -> Iterator[FileLock]:
    lock = FileLock(path)
    yield lock
    lock.release()


def elsewhere(path: Path) -> str:
    """Take a lock in another process, and return what it says if it cannot."""
    return subprocess.run([sys.executable, "-c", TAKE, str(path)], check=True, capture_output=True, text=True).stdout


def test_a_process_cannot_take_what_it_holds(held: FileLock, path: Path) -> None:
    """A record lock alone would let it, and end with whichever is closed first."""
    for _ in range(2):
        with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
            FileLock(path)
    assert f"process {os.getpid()}" in elsewhere(path)


def test_what_is_let_go_can_be_taken(held: FileLock, path: Path) -> None:
    """By anybody."""
    held.release()
    held.release()
    assert elsewhere(path) == ""
    FileLock(path).release()


def test_the_folder_is_one_by_whatever_way_it_is_reached(held: FileLock, path: Path) -> None:
    """Within a process only what was noted tells that it holds the file."""
    (path.parent.parent / "link").symlink_to(path.parent)
    with pytest.raises(ConflictError):
        FileLock(path.parent.parent / "link" / path.name)


def test_of_many_threads_one_takes_it(path: Path) -> None:
    """The others close no file whose closing would end the lock."""
    for _ in range(50):
        taken: list[FileLock] = []
        barrier = Barrier(4)

        def take(taken: list[FileLock] = taken, barrier: Barrier = barrier) -> None:
            barrier.wait()
            try:
                taken.append(FileLock(path))
            except ConflictError:
                return

        threads = [Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (lock,) = taken
        lock.release()


def test_a_forked_child_neither_holds_it_nor_lets_go_of_it(held: FileLock, path: Path) -> None:
    """It is the parent's."""
    pid = os.fork()
    if pid == 0:
        held.release()
        held.remove()
        try:
            FileLock(path)
        except ConflictError:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert path.exists()
    assert elsewhere(path) != ""


def test_a_file_that_was_removed_while_it_was_being_locked_is_not_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others lock the new file of that name."""
    real, left = fcntl.lockf, [path]

    def late(file: int, operation: int) -> None:
        if left:
            left.pop().unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "lockf", late)
    lock = FileLock(path)
    assert elsewhere(path) != ""
    lock.release()


def test_a_lock_that_could_not_be_taken_can_be_taken_later(path: Path) -> None:
    """What stood in its way is gone."""
    path.mkdir(parents=True)
    with pytest.raises(Exception, match="cannot be written"):
        FileLock(path)
    path.rmdir()
    FileLock(path).release()
