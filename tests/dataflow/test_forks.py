"""Flows whose steps fork: what is the run's stays the run's, whatever becomes of the child."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

FLOW = '''
"""Counts items; at one of them a step forks in some way. Prints each count."""

import ctypes, gc, multiprocessing, os, signal, sys, time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, run_main
from bytewax_state import Settings, attach

folder, backend, way, end = Path(sys.argv[1]), *sys.argv[2:]
FORKS = {"os": os.fork, "c": ctypes.CDLL(None).fork}  # from C, without what Python does at a fork


def linger():
    for stream in (0, 1, 2):
        os.close(stream)
    time.sleep(60)


def collect():
    gc.collect()
    os._exit(0)


def leave():
    sys.exit(0)


ENDS = {"linger": linger, "_exit": lambda: os._exit(0), "sys.exit": leave, "collect": collect}


def fork():
    live = list((folder / "work").rglob("live/CURRENT"))  # other files come and go with compactions
    assert live
    if way == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=ENDS[end], daemon=False)
        process.start()
        pid = process.pid
    else:
        pid = FORKS[way]()
        if pid == 0:
            ENDS[end]()
    print("forked", pid, flush=True)
    if end == "linger":
        time.sleep(60)  # to be killed
    wait(pid)
    assert [path for path in live if not path.exists()] == []


def wait(pid):
    until = time.monotonic() + 20
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            sys.exit("the child hangs")
        time.sleep(0.01)


def count(total, number):
    if number == 20 and way != "none":
        fork()
    return (total or 0) + 1, total


out = []
flow = Dataflow("flow")
up = op.input("inp", flow, TestingSource([(f"k{number % 3}", number) for number in range(40)]))
op.output("out", op.stateful_map("s", up, count), TestingSink(out))
attach(
    flow,
    Settings(backend=backend, uri=str(folder / "snapshots"), dir=folder / "work", cache_entries=1, memory="8MiB"),
)
run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(folder / "recovery"), timedelta(0)))
print("came to its end", len(out))
'''


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """How a run is started, but for the last words: the store, the way to fork, and what the child does."""
    (tmp_path / "recovery").mkdir()
    init_db_dir(tmp_path / "recovery", 1)
    return [sys.executable, "-c", FLOW, str(tmp_path)]


@pytest.fixture
def helpers() -> Iterator[list[int]]:
    """Children that outlive their run; ended here."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("way", ["os", "c", "multiprocessing"])
def test_a_child_that_outlives_a_killed_run_holds_nothing_of_it(
    way: str, command: list[str], helpers: list[int]
) -> None:
    """The next run begins while it lives."""
    with subprocess.Popen([*command, "rocksdb", way, "linger"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        helpers.append(int(run.stdout.readline().split()[1]))
        run.kill()
    done = subprocess.run([*command, "rocksdb", "none", ""], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    os.kill(helpers[0], 0)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize(
    ("way", "end"),
    [("os", "_exit"), ("os", "sys.exit"), ("os", "collect"), ("c", "sys.exit"), ("multiprocessing", "sys.exit")],
)
def test_a_child_that_exits_leaves_the_run_alone(way: str, end: str, backend: str, command: list[str]) -> None:
    """However it exits, whatever it collects: the run goes on, to its end."""
    done = subprocess.run([*command, backend, way, end], check=False, capture_output=True, text=True, timeout=60)
    assert "came to its end 40" in done.stdout, done.stderr
