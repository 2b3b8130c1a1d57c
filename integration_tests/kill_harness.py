"""Kills a flow with -9 again and again, resumes it, and compares what it leaves.

It owns processes, kill moments and the comparison; every moment comes from a seed. It does not own
how far a run has come (`progress`). It knows nothing of stores and snapshots but the log lines of
restores and errors, so that the same harness runs plain Bytewax, which is how it is itself tested.
Called by the integration tests and the soak.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from shutil import rmtree

from progress import committed_epochs, newest_execution

PLAIN = "bytewax.run"
ATTACHED = "bytewax_state.run"

_PATIENCE = 120.0  # seconds without progress, until a run counts as stuck
_GLANCE = 0.02  # seconds between two looks at the progress
_LAST_WORDS = 5.0  # seconds that a process which fails has to say why, once another one has ended
_RESTORED = re.compile(
    r"restored step=(?P<step>\S+) groups=(?P<groups>\d+) from=(?P<source>\S+)"
    r" linked_bytes=(?P<linked>\d+) fetched_bytes=(?P<fetched>\d+) "
)
_ENDED = re.compile(r"(?:^bytewax-state|ends the run): (?P<kind>[a-z-]+): ", re.MULTILINE)


class RunFailedError(Exception):
    """A process ended by itself with an error, or the run made no progress any more."""

    kind: str | None = None
    """Of the error of bytewax_state that ended it, where it was one."""


@dataclass(frozen=True)
class Job:
    """One flow with its recovery partitions, over all its executions."""

    flow: Path
    folder: Path
    """Working directory of the processes; recovery partitions and logs lie in it."""

    env: Mapping[str, str]
    module: str = ATTACHED
    partitions: int = 3
    snapshot_seconds: int = 0
    """0 closes an epoch at every activation: the most moments to be killed between."""

    @property
    def recovery(self) -> Path:
        """Where Bytewax keeps its recovery partitions."""
        return self.folder / "recovery"


@dataclass(frozen=True)
class Turn:
    """One execution, which ends by a kill unless it is the last."""

    processes: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    without: Path | None = None
    """A folder that is deleted before the execution starts."""

    most_epochs: int = 6
    """Kill after one to so many committed epochs, and a random moment."""

    starting: bool = False
    """Kill while it starts, restores or has only just begun, rather than after some epochs."""

    within: float = 0.6
    """Seconds from the start to the kill, at most, of one that is starting."""

    outlive: float = 0.1
    """Seconds, at most, that the other processes outlive the one that is killed first."""

    faulty: bool = False
    """Whether its storage fails on purpose, so that it may end by itself, with an error of bytewax_state."""


@dataclass(frozen=True)
class Restored:
    """What a log line says of one restore."""

    step: str
    groups: int
    versions: tuple[int, ...]
    linked_bytes: int
    fetched_bytes: int


@dataclass(frozen=True)
class Execution:
    """How one execution went."""

    processes: int
    killed: bool
    epochs: int
    """Committed before the kill was decided; never more than were committed."""

    restored: tuple[Restored, ...]
    error: str | None = None
    """Kind of the error that a faulty one ended with, by itself."""

    began: float | None = None
    """Seconds from the start to the first epoch that was seen to be committed."""


def survive(job: Job, turns: Sequence[Turn], seed: int) -> list[Execution]:
    """Run a flow to its end, killed at the end of each turn but the last.

    :arg job: What to run.

    :arg turns: The executions. An execution that reaches the end of its input before it is
        killed is the last.

    :arg seed: Of all random moments and choices.

    :returns: The executions, in order.

    :raises RunFailedError: If an execution fails by anything but the kill.

    """
    rng = Random(seed)
    executions: list[Execution] = []
    for number, turn in enumerate(turns):
        executions.append(take(job, turn, number, rng, last=number == len(turns) - 1))
        if not executions[-1].killed:
            break
    return executions


def take(job: Job, turn: Turn, number: int, rng: Random, last: bool) -> Execution:
    """Run a flow until it is killed, or has come to its end.

    :arg job: What to run.

    :arg turn: The execution.

    :arg number: Of the turn in the job; for the names of the logs.

    :arg rng: Of all random moments and choices.

    :arg last: Whether to leave it alone, to its end.

    :returns: How it went.

    :raises RunFailedError: If it fails by anything but the kill, or, where the turn is faulty, an error of
        bytewax_state.

    """
    _make_recovery(job)
    if turn.without is not None and turn.without.exists():
        rmtree(turn.without)
    before = newest_execution(job.recovery)
    logs = [job.folder / f"run-{number}-{index}.log" for index in range(turn.processes)]
    epochs, killed, error, began = 0, False, None, None
    with _started(job, turn, logs) as processes:
        try:
            if last:
                _wait_for_end(job, processes, logs)
            else:
                wanted = 0 if turn.starting else rng.randint(1, turn.most_epochs)
                epochs, began = _wait_for_epochs(job, processes, logs, before, wanted)
                time.sleep(rng.uniform(0.0, turn.within if turn.starting else 0.1))
                killed = _kill(processes, logs, rng, turn.outlive)
        except RunFailedError as ex:
            error = ex.kind
            if not turn.faulty or error is None:
                raise
    restored = tuple(one for log in logs for one in _restored(log.read_text()))
    return Execution(turn.processes, killed, epochs, restored, error, began)


def differences(expected: Path, found: Path, names: Iterable[str]) -> list[str]:
    """Compare result files: the same lines, for each key in the same order.

    The order among keys is free: plain Bytewax itself writes different keys in another order
    for another batch size or number of workers.

    :arg expected: Folder of the files of an uninterrupted run.

    :arg found: Folder of the files to be judged.

    :arg names: Of the files. The first word of each line is its key.

    :returns: A sentence for each key that differs; empty when all is well.

    """
    wrong = []
    for name in names:
        theirs, ours = _by_key(expected / name), _by_key(found / name)
        wrong += [
            f"{name}: {key!r}: expected {theirs.get(key)}, found {ours.get(key)}"
            for key in sorted(theirs.keys() | ours.keys())
            if theirs.get(key) != ours.get(key)
        ]
    return wrong


def _by_key(path: Path) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
        lines[line.partition(" ")[0]].append(line)
    return dict(lines)


def _make_recovery(job: Job) -> None:
    if not job.recovery.exists():
        job.recovery.mkdir(parents=True)
        command = (sys.executable, "-m", "bytewax.recovery", str(job.recovery), str(job.partitions))
        subprocess.run(command, check=True)


@contextmanager
def _started(job: Job, turn: Turn, logs: Sequence[Path]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the processes of a cluster; whatever happens, none of them is left behind."""
    command = [sys.executable, "-m", job.module, str(job.flow), "-r", str(job.recovery)]
    command += ["-s", str(job.snapshot_seconds), "-b", "0"]
    addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(turn.processes))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for index, log in enumerate(logs):
            place = ["-i", str(index), "-a", addresses] if turn.processes > 1 else []
            with log.open("wb") as out:
                processes.append(
                    subprocess.Popen(
                        command + place,
                        cwd=job.folder,
                        env={**os.environ, **job.env, **turn.env},
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait_for_epochs(
    job: Job,
    processes: Sequence[subprocess.Popen[bytes]],
    logs: Sequence[Path],
    before: int,
    wanted: int,
) -> tuple[int, float | None]:
    """Wait until a new execution has committed some epochs, or has come to its end.

    :returns: How many epochs, and after how many seconds the first of them was seen.

    """
    started = time.monotonic()
    patience = _Patience(job, logs)
    epochs, began = 0, None
    while epochs < wanted and not _ended(processes, logs):
        patience.check()
        time.sleep(_GLANCE)
        if newest_execution(job.recovery) > before:
            epochs = committed_epochs(job.recovery)
            if epochs and began is None:
                began = time.monotonic() - started
    return epochs, began


def _wait_for_end(job: Job, processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> None:
    patience = _Patience(job, logs)
    while not _ended(processes, logs):
        patience.check()
        time.sleep(_GLANCE)


class _Patience:
    """Runs out when Bytewax has written nothing to its recovery partitions for a while, however slow the machine."""

    def __init__(self, job: Job, logs: Sequence[Path]) -> None:
        self._recovery = job.recovery
        self._logs = logs
        self._seen = self._look()
        self._since = time.monotonic()

    def check(self) -> None:
        """Raise `RunFailedError` if it has run out."""
        seen = self._look()
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        elif time.monotonic() - self._since > _PATIENCE:
            raise RunFailedError(_report(f"no progress in {_PATIENCE} s", self._logs))

    def _look(self) -> list[tuple[int, int]]:
        seen = []
        for path in sorted(self._recovery.iterdir()):
            # Not what is in shared memory, which whoever asks for the epochs may change.
            if not path.name.endswith("-shm"):
                with suppress(FileNotFoundError):  # SQLite removes what it needs no more
                    seen.append((path.stat().st_size, path.stat().st_mtime_ns))
        return seen


def _ended(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> bool:
    codes = [process.poll() for process in processes]
    if any(codes):
        raise _failure(processes, logs)
    return all(code == 0 for code in codes)


def _failure(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> RunFailedError:
    """Say why a run ended by itself: one process knows, the others only lost their connection to it."""
    deadline = time.monotonic() + _LAST_WORDS
    while _named(logs) is None and time.monotonic() < deadline and None in [one.poll() for one in processes]:
        time.sleep(_GLANCE)
    codes = [process.poll() for process in processes]
    failure = RunFailedError(_report(f"processes ended by themselves with {codes}", logs))
    # A Rust panic may end in an abort; any other signal is not for an error to raise.
    if all(code is None or code >= 0 or code == -signal.SIGABRT for code in codes):
        failure.kind = _named(logs)
    return failure


def _named(logs: Sequence[Path]) -> str | None:
    """Find the kind of the error that ended a run."""
    found = [match["kind"] for log in logs for match in _ENDED.finditer(log.read_text(errors="replace"))]
    return found[0] if found else None


def _kill(processes: list[subprocess.Popen[bytes]], logs: Sequence[Path], rng: Random, outlive: float) -> bool:
    """Kill one process, and a moment later the others: a cluster cannot go on without one."""
    if _ended(processes, logs):
        return False
    first, *others = rng.sample(processes, len(processes))
    first.kill()
    first.wait()
    time.sleep(rng.uniform(0.0, outlive))
    for process in others:
        process.kill()
        process.wait()
    return True


def _report(what: str, logs: Sequence[Path]) -> str:
    tails = (f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)
    return "\n".join((what, *tails))


def _restored(log: str) -> list[Restored]:
    return [
        Restored(
            found["step"],
            int(found["groups"]),
            tuple(int(version) for version in re.findall(r"@(\d+)", found["source"])),
            int(found["linked"]),
            int(found["fetched"]),
        )
        for found in _RESTORED.finditer(log)
    ]
