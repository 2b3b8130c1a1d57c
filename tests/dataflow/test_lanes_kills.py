"""A kill between any two of wake, chunk, notification and snapshot: each alarm comes once all the same."""

import json
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from bytewax_state.dataflow import attach as attaching
from tests.dataflow.alarms import Log, steps
from tests.dataflow.killed_flow import TAGS, Fate, batches, mortal, settings_of
from tests.dataflow.runs import Job, Killed, Run


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


def tags(job: Job) -> Counter[str]:
    """Name what came out, with as many signs as there are steps."""
    return Counter(tag for _, (_, tag, _) in job.out)


EXPECTED = Counter(f"{tag}++" for tag in TAGS)


def test_each_alarm_comes_once_on_plain_bytewax(tmp_path: Path) -> None:
    """So that what is expected of an attached flow is what it gave before.

    Undisturbed: after a resume plain Bytewax may call what is due while it still loads, and lose it.
    """
    job = Job(lambda up: steps(up, Log(), 2), batches(), tmp_path)
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
    monkeypatch.setattr(attaching, "GroupLogic", mortal(kill.reach))
    settings = settings_of(backend, tmp_path)
    job = Job(lambda up: steps(up, Log(), 2), batches(), tmp_path)
    with suppress(Exception):  # how Bytewax tells of it is up to where it strikes
        job.run(Run(workers=workers), settings)
    assert kill.struck
    assert job.run(Run(workers=3 - workers), settings)
    assert tags(job) == EXPECTED


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("what", ["wake", "chunk", "notification", "snapshot"])
def test_each_alarm_comes_once_after_a_kill_with_9(what: str, side: str, workers: int, tmp_path: Path) -> None:
    """Of a process of its own, so that nothing is flushed, closed or handed on; and resumed in another one."""
    backend = "heap" if workers == 1 else "rocksdb"
    struck = _run(tmp_path, Fate(backend, workers, f"{what} {side}", skip=12))
    assert struck == -signal.SIGKILL
    assert _run(tmp_path, Fate(backend, 3 - workers)) == 0
    assert Counter((tmp_path / "out").read_text().split()) == EXPECTED


def _run(folder: Path, fate: Fate) -> int:
    command = [sys.executable, "-m", "tests.dataflow.killed_flow", str(folder), json.dumps(asdict(fate))]
    return subprocess.run(command, check=False, timeout=120, capture_output=True).returncode
