"""The machine, for as long as a run of all tests can bear; `python -m tests.model` runs it for longer."""

import threading

import pytest

from tests.model.points import Crash, Points, Task
from tests.model.run import PROFILES, run
from tests.model.tally import TALLY, Tally


def test_whatever_happens_every_epoch_can_be_restored(profile: str) -> None:
    """All rules, in any order."""
    run(PROFILES[profile], seed=0)
    assert TALLY.of("outcomes", "restored aside, and compared") > 20


def test_a_task_runs_from_point_to_point() -> None:
    """And what it runs in other threads waits as well."""
    points, reached = Points(Tally()), []

    def run() -> None:
        for number in range(3):
            thread = threading.Thread(target=points.reach, args=(f"{number}",))
            thread.start()
            thread.join()
            reached.append(number)

    task = points.task = Task("test", run)
    task.step()
    assert (task.at, reached) == ("0", [])
    task.step()
    assert (task.at, reached) == ("1", [0])
    task.finish()
    assert reached == [0, 1, 2]


def test_a_task_that_is_killed_does_nothing_more() -> None:
    """Nor does anything that shares its points."""
    points, reached = Points(Tally()), []

    def run() -> None:
        points.reach("first")
        reached.append(1)

    task = points.task = Task("test", run)
    task.step()
    task.kill()
    assert isinstance(task.error, Crash) and not reached
    with pytest.raises(Crash):
        points.reach("second")
