"""The access log example, killed with -9 at random moments, leaves what an undisturbed run leaves.

It owns which kills, workers, backends and lost folders are tried; the harness does the killing.
What is right is always what an uninterrupted run of plain Bytewax wrote. Called by pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from kill_harness import ATTACHED, PLAIN, Execution, Job, Turn, differences, survive

EXAMPLES = Path(__file__).parents[1] / "examples"
OUTPUTS = ("hits.txt", "sessions.txt", "late.txt", "malformed.txt")
FILES = 4
HEAP = {"BYTEWAX_STATE_BACKEND": "heap"}
ROCKSDB = {"BYTEWAX_STATE_BACKEND": "rocksdb", "BYTEWAX_STATE_CACHE_ENTRIES": "100"}
"""With room for less than a third of the clients of a short log."""
SHORT = 20_000
LONG = 60_000
FULL = 200_000
"""Lines; the last is for a full run of the tests."""
HURRY = {"ACCESS_LOG_PAUSE": "0", "ACCESS_LOG_BATCH": "1000"}
"""For an execution that nobody kills. Processes that wait for each other do so at full speed."""


@dataclass(frozen=True)
class Log:
    """A log, and what an undisturbed run of plain Bytewax made of it."""

    lines: int
    logs: Path
    expected: Path


Logs = Callable[[int], Log]


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Give logs of some number of lines, each with the results of an undisturbed plain run."""
    made: dict[int, Log] = {}

    def make(lines: int) -> Log:
        if lines not in made:
            folder = tmp_path_factory.mktemp(f"log-{lines}")
            generator = [sys.executable, str(EXAMPLES / "access_log_generator.py")]
            _run(*generator, "--lines", str(lines), "--seed", "7", "--files", str(FILES), str(folder / "logs"))
            env = {"ACCESS_LOG_DIR": str(folder / "logs"), "ACCESS_LOG_OUT": str(folder / "out")}
            _run(sys.executable, "-m", PLAIN, str(EXAMPLES / "access_log.py"), env=env)
            made[lines] = Log(lines, folder / "logs", folder / "out")
        return made[lines]

    return make


def test_the_harness_passes_plain_bytewax(log: Logs, tmp_path: Path) -> None:
    """Plain Bytewax survives kills too, so what the harness finds is not the harness's doing."""
    made = log(SHORT)
    _survives(_job(tmp_path, made, PLAIN), made, [Turn(), Turn(3), Turn(2, starting=True), Turn()], seed=1)


def test_the_harness_sees_two_lines_of_a_key_exchanged(tmp_path: Path) -> None:
    """The order of a key's lines counts, the order of keys does not."""
    for folder, lines in (("a", "x 1\nx 2\ny 1\n"), ("b", "y 1\nx 1\nx 2\n"), ("c", "x 2\nx 1\ny 1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "out.txt").write_text(lines)
    assert differences(tmp_path / "a", tmp_path / "b", ["out.txt"]) == []
    assert len(differences(tmp_path / "a", tmp_path / "c", ["out.txt"])) == 1


@pytest.mark.parametrize("backend", [HEAP, ROCKSDB], ids=["heap", "rocksdb"])
@pytest.mark.xdist_group("long log")  # which takes some time to make
def test_twelve_kills(log: Logs, profile: str, tmp_path: Path, backend: dict[str, str]) -> None:
    """A long run survives ten kills in its middle and two in its first moments."""
    made = log(FULL if profile == "full" else LONG)
    turns = [Turn(starting=number in (3, 8), most_epochs=9) for number in range(12)] + [Turn()]
    _assert_restored(_survives(_job(tmp_path, made, ATTACHED, backend), made, turns, seed=2))


def test_retention_deletes_nothing_that_a_resume_needs(log: Logs, tmp_path: Path) -> None:
    """With the shortest retention, every kill still finds its way back."""
    made = log(SHORT)
    env = {**ROCKSDB, "BYTEWAX_STATE_RETAIN_FOR": "0s", "BYTEWAX_STATE_RETAIN_SNAPSHOTS": "1"}
    turns = [Turn(number % 2 + 1, without=_work(tmp_path, number)) for number in range(7)]
    job = _brief(_job(tmp_path, made, ATTACHED, env))
    executions = survive(job, turns, seed=3)
    assert [execution.killed for execution in executions] == [True] * 6 + [False]
    assert differences(made.expected, tmp_path / "out", OUTPUTS) == []
    _assert_deleted([job])


@pytest.mark.parametrize("backend", [HEAP, ROCKSDB], ids=["heap", "rocksdb"])
def test_one_to_three_to_two_workers(log: Logs, tmp_path: Path, backend: dict[str, str]) -> None:
    """Key groups move between worker processes across kills."""
    made = log(SHORT)
    turns = [Turn(1), Turn(3), Turn(3, starting=True), Turn(3), Turn(2), Turn(1), Turn(3), Turn(2)]
    _assert_restored(_survives(_job(tmp_path, made, ATTACHED, backend), made, turns, seed=4))


def test_heap_to_rocksdb_to_heap(log: Logs, tmp_path: Path) -> None:
    """Each backend goes on from the other's snapshots, also while workers come and go."""
    made = log(SHORT)
    turns = [
        Turn(1, HEAP),
        Turn(1, ROCKSDB),
        Turn(1, HEAP),
        Turn(3, ROCKSDB),
        Turn(2, HEAP),
        Turn(1, ROCKSDB),
        Turn(1, HEAP),
    ]
    _assert_restored(_survives(_job(tmp_path, made, ATTACHED), made, turns, seed=5))


@pytest.mark.parametrize("backend", [HEAP, ROCKSDB], ids=["heap", "rocksdb"])
def test_the_local_folder_is_lost(log: Logs, tmp_path: Path, backend: dict[str, str]) -> None:
    """With the working folder deleted before each resume, everything comes from the storage."""
    made = log(SHORT)
    turns = [Turn(workers, without=_work(tmp_path, number)) for number, workers in enumerate((1, 1, 3, 2))]
    executions = _survives(_job(tmp_path, made, ATTACHED, backend), made, turns, seed=6)
    restored = [one for execution in executions for one in execution.restored]
    assert sum(one.fetched_bytes for one in restored) > 0
    assert sum(one.linked_bytes for one in restored) == 0


@pytest.mark.disk
def test_the_local_folder_is_used(log: Logs, tmp_path: Path) -> None:
    """With the working folder in place and as many workers as before, nothing is fetched."""
    made = log(SHORT)
    executions = _survives(_job(tmp_path, made, ATTACHED, ROCKSDB), made, [Turn(), Turn(), Turn()], seed=7)
    restored = [one for execution in executions for one in execution.restored]
    assert sum(one.linked_bytes for one in restored) > 0
    assert sum(one.fetched_bytes for one in restored) == 0


@pytest.mark.parametrize("backend", [HEAP, ROCKSDB], ids=["heap", "rocksdb"])
def test_due_windows_while_loading(log: Logs, tmp_path: Path, backend: dict[str, str]) -> None:
    """Windows that are due from the first moment of a resume on emit nothing twice."""
    made = log(SHORT)
    job = _job(tmp_path, made, ATTACHED, {"ACCESS_LOG_LIVE": "1", **backend})
    _survives(job, made, [Turn(), Turn(3), Turn(1, starting=True), Turn(2), Turn(1)], seed=8)


def test_whole_seconds_between_epochs(log: Logs, tmp_path: Path) -> None:
    """With many activations to an epoch, the replayed ones leave no trace."""
    made = log(SHORT)
    job = _job(tmp_path, made, ATTACHED, {"ACCESS_LOG_PAUSE": "0.03", **ROCKSDB}, snapshot_seconds=1)
    executions = survive(job, [Turn(2, most_epochs=2), Turn(1, most_epochs=2), Turn(2)], seed=9)
    assert [execution.killed for execution in executions] == [True, True, False]
    assert differences(made.expected, tmp_path / "out", OUTPUTS) == []
    _assert_restored(executions)


def test_two_runs_on_one_uri(log: Logs, tmp_path: Path) -> None:
    """The same flow twice at once, each with its own recovery directory, is killed and deletes, and harms nobody."""
    made = log(SHORT)
    folders = [tmp_path / name for name in ("one", "other")]
    env = {"BYTEWAX_STATE_URI": str(tmp_path / "snapshots"), "BYTEWAX_STATE_RETAIN_FOR": "0s"}
    jobs = [_brief(_job(folder, made, ATTACHED, {**ROCKSDB, **env})) for folder in folders]
    with ThreadPoolExecutor(len(jobs)) as pool:
        runs = list(pool.map(lambda job: survive(job, [Turn(), Turn(2), Turn(1)], seed=10), jobs))
    assert [[execution.killed for execution in run] for run in runs] == [[True, True, False]] * 2
    assert [differences(made.expected, folder / "out", OUTPUTS) for folder in folders] == [[], []]
    _assert_deleted(jobs)


def test_the_demo() -> None:
    """`make demo` tells of a kill and a resume, and ends well."""
    said = _run(sys.executable, str(EXAMPLES / "demo.py"), "--lines", "20000")
    assert "killed with -9" in said
    assert "restored step=access_log.minutes" in said
    assert "Equal:" in said


def _survives(job: Job, log: Log, turns: Sequence[Turn], seed: int) -> list[Execution]:
    """Kill all turns but the last, which hurries, and see that the outputs are those of an undisturbed run."""
    *killed, last = turns
    executions = survive(job, [*killed, replace(last, env={**last.env, **HURRY})], seed)
    assert [execution.killed for execution in executions] == [True] * len(killed) + [False]
    assert differences(log.expected, job.folder / "out", OUTPUTS) == []
    return executions


def _job(
    folder: Path, log: Log, module: str, env: Mapping[str, str] = MappingProxyType({}), snapshot_seconds: int = 0
) -> Job:
    """Describe a run that has about a hundred epochs, of 20 ms or more, to be killed in."""
    return Job(
        flow=EXAMPLES / "access_log.py",
        folder=folder,
        env={
            "ACCESS_LOG_DIR": str(log.logs),
            "ACCESS_LOG_OUT": str(folder / "out"),
            "ACCESS_LOG_BATCH": str(log.lines // FILES // 100),
            "ACCESS_LOG_PAUSE": "0.01",
            "BYTEWAX_STATE_URI": str(folder / "snapshots"),
            "BYTEWAX_STATE_DIR": str(folder / "work"),
            **env,
        },
        module=module,
        snapshot_seconds=snapshot_seconds,
    )


def _brief(job: Job) -> Job:
    """Let a flow have a grace period that passes within a turn."""
    path = os.pathsep.join(filter(None, (str(EXAMPLES), os.environ.get("PYTHONPATH"))))
    return replace(job, flow=Path(__file__).with_name("soak_flow.py"), env={**job.env, "PYTHONPATH": path})


def _assert_deleted(jobs: Sequence[Job]) -> None:
    """Of the versions that some jobs published in one storage, most are gone."""
    logs = [path.read_text() for job in jobs for path in job.folder.glob("*.log")]
    published = sum(text.count(" published step=") for text in logs)
    left = len(list(Path(jobs[0].env["BYTEWAX_STATE_URI"]).rglob("*.manifest")))
    assert 0 < left < published / 2


def _work(folder: Path, number: int) -> Path | None:
    """Name the working folder, for all but the first execution."""
    return folder / "work" if number else None


def _assert_restored(executions: Sequence[Execution]) -> None:
    """Each execution after the first commit restored, unless it was killed before it could."""
    committed = 0
    for execution in executions:
        if committed and (execution.epochs or not execution.killed):
            assert {one.step.split(".")[1] for one in execution.restored} == {"minutes", "sessions"}
        assert all(version >= 1 for one in execution.restored for version in one.versions)
        committed += execution.epochs


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
