"""A minute of `make soak`: all of it that fits, with the same choices each time.

It owns what has to have happened in that minute; the soak owns what has to hold. Called by pytest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aftermath import Garbage, Size
from kill_harness import Execution, Turn
from soak_report import Done, Taken, summarise, table

SOAK = Path(__file__).with_name("soak.py")

pytestmark = pytest.mark.xdist_group("soak")  # one minute for all


@pytest.fixture(scope="module")
def minute() -> dict[str, Any]:
    """Soak for a minute; outputs, `verify --deep` and what `gc` leaves are judged within."""
    command = [sys.executable, str(SOAK), "--minutes", "1", "--seed", "2712", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-20_000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.mark.parametrize("what", ["jobs", "kills", "rescales", "store changes", "lost disks", "gc and verify"])
def test_it_happened(what: str, minute: dict[str, Any]) -> None:
    """A soak in which nothing goes wrong proves nothing."""
    assert minute[what] > 0


def test_faults_struck(minute: dict[str, Any]) -> None:
    """Of more kinds than one."""
    assert len([kind for kind, number in minute["faults"].items() if number]) > 1


def test_every_error_had_a_name(minute: dict[str, Any]) -> None:
    """A run that a fault ended said which."""
    assert minute["runs ended by faults"].keys() <= {"storage", "snapshot-corrupt", "snapshot-missing", "conflict"}


def test_nothing_grows(minute: dict[str, Any]) -> None:
    """What a job leaves, after `gc`, is what any job leaves."""
    assert minute["gc deleted"]["bytes"] > 0
    assert minute["storage objects"]["max"] < 100


def test_what_is_counted() -> None:
    """Changes within a job, and none from one job to the next."""

    def taken(processes: int, backend: str, error: str | None = None) -> Taken:
        execution = Execution(processes, error is None, 0, (), error)
        return Taken(Turn(processes), execution, backend, False, None, Garbage(1, 2, 3))

    size = Size(objects=5, bytes=50, temporary=0, empty=0)
    jobs = [
        Done(
            (taken(3, "heap"), taken(1, "heap", "storage"), taken(1, "rocksdb")), {"slow": 2}, True, False, size, size
        ),
        Done((taken(3, "heap"),), {"slow": 1, "full": 0}, False, True, size, size),
    ]
    summary = summarise(jobs, 60.0)
    assert (summary["turns"], summary["kills"], summary["rescales"], summary["store changes"]) == (4, 3, 1, 1)
    assert summary["faults"] == {"slow": 3, "full": 0}
    assert summary["runs ended by faults"] == {"storage": 1}
    assert summary["gc deleted"] == {"manifests": 4, "files": 8, "bytes": 12}
    assert len(table(summary).splitlines()) == len(summary)
