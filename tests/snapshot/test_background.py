"""What is done in the background is done, one at a time, and nobody waits for it; what goes wrong in it is told."""

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from bytewax_state.errors import StorageError
from bytewax_state.snapshot.background import Background
from tests.faults import ALWAYS, Fault, FaultyStorage
from tests.snapshot.listings import NOW, named
from tests.snapshot.test_restore import Writer
from tests.snapshot.test_retention import HOUR, Policy, Run


class Work:
    """Something that takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.done = 0

    def __call__(self) -> None:
        self.begun.release()
        self.go.acquire()
        self.done += 1


def test_who_asks_does_not_wait() -> None:
    """Nor does whoever asks again meanwhile; then it is done once more, however often that was."""
    work = Work()
    background = Background(work)
    background.ask()
    work.begun.acquire()
    for _ in range(3):
        background.ask()
    assert work.done == 0
    work.go.release(2)
    background.settle()
    assert work.done == 2
    background.ask()
    work.go.release()
    background.settle()
    assert work.done == 3


def test_what_it_raises_is_raised_to_who_asks_next() -> None:
    """Once."""
    answers = [StorageError("the disk is full"), None]

    def fail() -> None:
        error = answers.pop(0)
        if error is not None:
            raise error

    background = Background(fail)
    background.ask()
    background._join()
    with pytest.raises(StorageError, match="the disk is full"):
        background.ask()
    background.ask()
    background.settle()
    assert answers == []


def test_closing_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Or the folder would be unlocked, and removed from, at once. What it raises then can only be told."""
    work = Work()
    background = Background(work)
    background.close()
    background.ask()
    closing = threading.Thread(target=background.close)
    closing.start()
    work.begun.acquire()
    assert closing.is_alive()
    work.go.release()
    closing.join()
    assert work.done == 1
    background = Background(lambda: Path("/nowhere").rmdir())
    background.ask()
    background.close()
    assert "/nowhere" in caplog.text


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    """It would for ever."""
    work = Work()
    background = Background(work)
    background.ask()
    pid = os.fork()
    if pid == 0:
        background.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    work.go.release()
    background.close()


def test_versions_are_published_while_retention_hangs(tmp_path: Path) -> None:
    """In a list, of a storage that is slow; then it comes to its end."""
    begun, go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go.wait()

    plan = [Fault("list", "slow", times=ALWAYS)]
    writer = Writer(tmp_path, 0, [], keep=1, storage=lambda beneath: FaultyStorage(beneath, plan, hang))
    writer.add(0)
    for number in range(10):
        writer.put(0, "a", number)
        writer.versions.wait(writer.versions.freeze(writer.store.store, epoch=1))
    begun.wait()
    assert [verb for verb, _ in writer.storage.calls if verb in ("list", "delete")] == ["list"]
    go.set()
    writer.versions.settle()
    assert writer.origin.store.manifest(0) not in writer.storage.list("flow")
    writer.close()


@pytest.mark.parametrize("publish", [True, False])
def test_a_file_stays_that_is_being_uploaded_for_longer_than_the_grace_period(publish: bool, tmp_path: Path) -> None:
    """Both looks show it, and no manifest that names it; it is the next version that will."""
    run = Run(tmp_path, Policy(1, HOUR))
    run.lay(files="d1 d2")
    for _ in range(3):
        run.publish("d2", NOW, ancestors="")
    run.collector.note_upload(named("d4"))
    run.lay(files="d4")
    run.now = NOW + HOUR
    run.collector.collect()
    run.now += timedelta(minutes=2)
    if publish:
        run.publish("d2 d4", run.now, ancestors="")
    run.collector.collect()
    assert set(named("d4")) <= run.left()
    assert not set(named("d1")) & run.left()
