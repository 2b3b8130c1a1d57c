"""`make soak`: the access log example, job after job, with everything against it that happens to a flow in a year.

It owns which disturbances are drawn, and what has to hold: the outputs of every job are those of an undisturbed run
of plain Bytewax, `gc` leaves nothing behind, `verify --deep` finds nothing. It does not own kills (`kill_harness`),
faults (`faulty_storage`), commands (`aftermath`) or counts (`soak_report`). Run by hand, and by its test.

    python integration_tests/soak.py --minutes 30 --seed 1
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from aftermath import AftermathError, Place, clean, disturb, measure
from faulty_storage import struck
from kill_harness import PLAIN, Job, RunFailedError, Turn, differences, take
from soak_report import Done, Taken, summarise, table

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
OUTPUTS = ("hits.txt", "sessions.txt", "late.txt", "malformed.txt")
FLOW_ID = "access_log"
FILES = 4
PROCESSES = 3
"""Of most turns, and of the last one of each job."""

TURNS = 6
"""Of the first job, at least, however slow the machine."""

EPOCHS = 40
"""Of a job, about."""

RATES = {
    "before": 0.02,
    "after": 0.02,
    "slow": 0.1,
    "torn": 0.03,
    "corrupt": 0.03,
    "stale": 0.5,
    "throttled": 0.02,
    "full": 0.01,
}
"""Kind of fault to its chance in a call, in a turn that has this kind."""

STARTING = 4.0
"""Seconds that a start is thought to take, until one was seen."""


class DifferentError(Exception):
    """The outputs of a job are not those of an undisturbed run."""


@dataclass(frozen=True)
class Soak:
    """What all jobs have in common."""

    folder: Path
    seed: int
    lines: int
    tell: Callable[[str], None]

    @property
    def logs(self) -> Path:
        """The input of every job."""
        return self.folder / "logs"

    @property
    def expected(self) -> Path:
        """What an undisturbed run of plain Bytewax made of it."""
        return self.folder / "expected"

    @property
    def work(self) -> Path:
        """The local folder of every job: each finds there what the one before left."""
        return self.folder / "work"

    def rng(self, *names: object) -> Random:
        """Make the randomness of one thing: it depends on no other thing, and on no moment."""
        return Random(" ".join(map(str, (self.seed, *names))))


class Clock:
    """Tells whether there is time left; looked at between two turns."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        :arg seconds: How long.

        :arg now: Tells the time in seconds, from any moment on.

        """
        self._seconds = seconds
        self._now = now
        self._began = now()

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return self._now() - self._began

    @property
    def is_over(self) -> bool:
        """Whether the last job has to come to its end."""
        return self.passed >= self._seconds


def soak(it: Soak, clock: Clock) -> list[Done]:
    """Do jobs until the time is over.

    :arg it: Where, and what.

    :arg clock: How long.

    :returns: The jobs.

    :raises RunFailedError: If a run fails by anything but what was done to it.

    :raises AftermathError: If a command fails, finds something, or leaves something behind.

    :raises DifferentError: If the outputs of a job are not those of an undisturbed run.

    """
    _undisturbed(it)
    jobs: list[Done] = []
    place: Place | None = None
    while not jobs or not clock.is_over:
        number = len(jobs)
        before, place = place, _place(it, number, place)
        jobs.append(_do(it, number, place, before is place, clock))
    return jobs


def _undisturbed(it: Soak) -> None:
    """Write the log, and let plain Bytewax work it off."""
    command = [str(EXAMPLES / "access_log_generator.py"), "--lines", str(it.lines), "--seed", str(it.seed)]
    _run(it, *command, "--files", str(FILES), str(it.logs))
    env = {"ACCESS_LOG_DIR": str(it.logs), "ACCESS_LOG_OUT": str(it.expected)}
    _run(it, "-m", PLAIN, str(EXAMPLES / "access_log.py"), **env)


def _run(it: Soak, *command: str, **env: str) -> None:
    subprocess.run([sys.executable, *command], env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)


def _place(it: Soak, number: int, before: Place | None) -> Place:
    """Choose the storage of a job: that of the job before, whose snapshots are garbage from here on, or a new one."""
    rng = it.rng("place", number)
    if before is not None and rng.random() < 0.5:
        return before
    signed = rng.random() < 0.5
    env = {"BYTEWAX_STATE_SIGNING_KEY": f"a key of the soak {rng.getrandbits(64):x}"} if signed else {}
    folder = it.folder / f"storage-{number}"
    folder.mkdir()
    return Place(folder, FLOW_ID, env)


def _do(it: Soak, number: int, place: Place, used_before: bool, clock: Clock) -> Done:
    """Do a job, from an empty recovery directory to its end, and judge it."""
    job = _job(it, number, place)
    taken: list[Taken] = []
    for turn in _turns(it, number, job, place, clock, taken):
        before = clock.passed
        had_disk = turn.without is not None and turn.without.exists()
        execution = take(job, turn, len(taken), it.rng("take", number, len(taken)), last=turn.most_epochs == 0)
        rng = it.rng("clean", number, len(taken))
        is_disturbed, is_cleaned = rng.random() < 0.2, rng.random() < 0.5 or not execution.killed
        disturbed = _disturb(rng, job, place) if is_disturbed else None
        cleaned = clean(place, job.recovery) if is_disturbed or is_cleaned else None
        taken.append(Taken(turn, execution, turn.env["BYTEWAX_STATE_BACKEND"], had_disk, disturbed, cleaned))
        it.tell(f"job {number}, turn {len(taken)}, {clock.passed - before:.0f} s: {taken[-1].sentence()}")
    wrong = differences(it.expected, Path(job.env["ACCESS_LOG_OUT"]), OUTPUTS)
    if wrong:
        msg = f"job {number}: {len(wrong)} differences:\n" + "\n".join(wrong[:20])
        raise DifferentError(msg)
    done = Done(
        taken=tuple(taken),
        faults=struck(job.folder / "faults.log"),
        signed=bool(place.env),
        used_before=used_before,
        storage=measure(place.folder),
        local=measure(it.work),
    )
    it.tell(f"job {number}: outputs identical; storage: {done.storage}")
    return done


def _disturb(rng: Random, job: Job, place: Place) -> str:
    options = _faults(rng, job)
    options["rates"]["slow"] = 0.5  # or a kill would hardly ever find it deleting
    return disturb(place, job.recovery, options, seconds=rng.uniform(1.0, 8.0))


def _job(it: Soak, number: int, place: Place) -> Job:
    folder = it.folder / f"job-{number}"
    return Job(
        flow=HERE / "soak_flow.py",
        folder=folder,
        env={
            "PYTHONPATH": os.pathsep.join(filter(None, (str(EXAMPLES), os.environ.get("PYTHONPATH")))),
            "ACCESS_LOG_DIR": str(it.logs),
            "ACCESS_LOG_OUT": str(folder / "out"),
            "ACCESS_LOG_BATCH": str(max(1, it.lines // FILES // EPOCHS)),
            "ACCESS_LOG_PAUSE": "0.01",
            "BYTEWAX_STATE_DIR": str(it.work),
            "BYTEWAX_STATE_URI": str(place.folder),
            **place.env,
        },
    )


def _turns(it: Soak, number: int, job: Job, place: Place, clock: Clock, taken: list[Taken]) -> Iterator[Turn]:
    """Draw turns until the input has come to its end, or the time is over; and one more, left alone."""
    while not (taken and _ended(taken[-1])) and (not clock.is_over or (number == 0 and len(taken) < TURNS)):
        began = [one.execution.began for one in taken if one.execution.began is not None and not one.turn.faulty]
        start = began[-1] if began else STARTING
        yield draw(it.rng("turn", number, len(taken)), job, place, it.work, start)
    # Of a job that has ended already, it has to change nothing. Else it makes haste, with few epochs.
    env = {"BYTEWAX_STATE_BACKEND": "rocksdb", "BYTEWAX_STATE_RETAIN_SNAPSHOTS": "1"}
    yield Turn(PROCESSES, {**env, "ACCESS_LOG_BATCH": str(it.lines)}, most_epochs=0)


def _ended(taken: Taken) -> bool:
    return not taken.execution.killed and taken.execution.error is None


def draw(rng: Random, job: Job, place: Place, work: Path, start: float) -> Turn:
    """Draw a turn.

    :arg rng: Chooses.

    :arg job: What runs.

    :arg place: Its storage.

    :arg work: Its local folder.

    :arg start: Seconds that a start takes.

    :returns: The turn.

    """
    env = {
        "BYTEWAX_STATE_BACKEND": rng.choice(("heap", "rocksdb")),
        "BYTEWAX_STATE_CACHE_ENTRIES": rng.choice(("20", "500")),
    }
    if rng.random() < 0.8:
        env["BYTEWAX_STATE_RETAIN_FOR"] = rng.choice(("0s", "1s", "2s"))
        env["BYTEWAX_STATE_RETAIN_SNAPSHOTS"] = rng.choice(("1", "2", "3"))
    faulty = rng.random() < 0.4
    if faulty:
        faults = _faults(rng, job)
        env["BYTEWAX_STATE_URI"] = f"faulty://{place.folder}"
        env["BYTEWAX_STATE_STORAGE_OPTIONS"] = json.dumps(faults)
    return Turn(
        processes=PROCESSES if rng.random() < 0.6 else rng.choice((1, 2, 4)),
        env=env,
        without=work if rng.random() < 0.25 else None,
        most_epochs=rng.choice((2, 4) if faulty else (2, 6, 12)),
        starting=rng.random() < 0.2,
        within=1.2 * start,
        outlive=rng.choice((0.1, 1.5)),
        faulty=faulty,
    )


def _faults(rng: Random, job: Job) -> dict[str, Any]:
    """Choose what goes wrong: a few kinds at a time."""
    kinds = rng.sample(sorted(RATES), rng.randint(3, 5))
    rates = {kind: RATES[kind] for kind in kinds}
    return {"rates": rates, "seed": str(rng.getrandbits(32)), "log": str(job.folder / "faults.log")}


def main(argv: list[str] | None = None) -> int:
    """Soak as the command line says.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code: 0 if all was well.

    """
    parser = argparse.ArgumentParser(description="Kill, starve and confuse a flow, and compare what it leaves.")
    parser.add_argument("--minutes", type=float, default=30.0, help="after which no new job begins")
    parser.add_argument("--seed", type=int, default=1, help="of all choices; moments still differ from run to run")
    parser.add_argument("--lines", type=int, default=20_000, help="of the access log, in each job")
    parser.add_argument("--json", action="store_true", help="print the summary as a JSON object")
    args = parser.parse_args(argv)
    # Whoever ends the soak ends the processes of its flow, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="bytewax-state-soak-"))
    it = Soak(folder, args.seed, args.lines, lambda line: print(line, file=sys.stderr, flush=True))
    clock = Clock(60 * args.minutes)
    try:
        jobs = soak(it, clock)
    except (RunFailedError, AftermathError, DifferentError) as ex:
        print(f"FAILED after {clock.passed / 60:.1f} minutes; see {folder}\n{ex}", file=sys.stderr)
        return 1
    summary = summarise(jobs, clock.passed)
    print(json.dumps(summary) if args.json else table(summary))
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
