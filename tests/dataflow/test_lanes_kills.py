"""A kill between any two of wake, chunk, notification and snapshot: each alarm comes once all the same."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bytewax_state import Settings
from bytewax_state.dataflow import attach as attaching
from bytewax_state.dataflow.group import GroupLogic
from tests.dataflow.alarms import Log, steps, value
from tests.dataflow.runs import Batch, Job, Killed, Run

TAGS = [f"t{number}" for number in range(60)]


def batches() -> list[Batch]:
    """Make single items, bursts, polls that give nothing, and sleeps."""
    found: list[Batch] = []
    at = 0
    for size in (1, 1, 2, 25, 1, 20, 1, 1, 8):
        found.append([value(f"k{number % 9}", tag) for number, tag in enumerate(TAGS[at : at + size])])
        found += [[]] * (at % 3) if at % 2 else [timedelta(seconds=0.06)]
        at += size
    return found


class Kill:
    """Raises once, at some call on a key group."""

    def __init__(self, what: str, side: str, skip: int) -> None:
        self.what = f"{what} {side}"
        self.left = skip
        self.struck = False

    def reach(self, what: str) -> None:
        if what == self.what and not self.struck:
            self.left -= 1
            if self.left < 0:
                self.struck = True
                raise Killed


def mortal(kill: Kill) -> type[GroupLogic]:
    """Make the logic of a key group that a kill may strike."""

    class Mortal(GroupLogic):
        def on_batch(self, values: Any) -> Any:
            what = "chunk" if any(items for _, _, items, _ in values) else "wake"
            return self._reach(what, lambda: super(Mortal, self).on_batch(values))

        def on_notify(self) -> Any:
            return self._reach("notification", super().on_notify)

        def snapshot(self) -> Any:
            return self._reach("snapshot", super().snapshot)

        def _reach(self, what: str, call: Any) -> Any:
            kill.reach(f"{what} before")
            answer = call()
            kill.reach(f"{what} after")
            return answer

    return Mortal


def tags(job: Job) -> Counter[str]:
    """Name what came out, with as many signs as there are steps."""
    return Counter(tag for _, (_, tag, _) in job.out)


EXPECTED = Counter(f"{tag}++" for tag in TAGS)


def test_each_alarm_comes_once_on_plain_bytewax(tmp_path: Path) -> None:
    """So that what is expected of an attached flow is what it gave before."""
    job = Job(lambda up: steps(up, Log(), 2), batches(), tmp_path)
    assert not job.run(Run(abort=9), None)
    assert job.run(Run(), None)
    assert tags(job) == EXPECTED


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("skip", [1, 12])
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("what", ["wake", "chunk", "notification", "snapshot"])
def test_each_alarm_comes_once_whatever_is_killed(
    what: str, side: str, skip: int, workers: int, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And resumed, on another number of workers."""
    kill = Kill(what, side, skip)
    monkeypatch.setattr(attaching, "GroupLogic", mortal(kill))
    settings = Settings(
        backend=backend,
        uri=str(tmp_path / "snapshots"),
        dir=tmp_path / "work",
        cache_entries=2,
        memory="8MiB",
        key_groups=5,
    )
    job = Job(lambda up: steps(up, Log(), 2), batches(), tmp_path)
    with suppress(Exception):  # how Bytewax tells of it is up to where it strikes
        job.run(Run(workers=workers), settings)
    assert kill.struck
    assert job.run(Run(workers=3 - workers), settings)
    assert tags(job) == EXPECTED
