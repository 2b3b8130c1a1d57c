"""`python -m bytewax_state.run`: what it refuses before a run begins, what it sets, and how it ends."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import init_db_dir

from bytewax_state import Settings
from bytewax_state.run import _keep_epochs
from bytewax_state.run import run as run_flow

FLOW = """
import os
from bytewax.dataflow import Dataflow
import bytewax.operators as op
from bytewax.testing import TestingSource, TestingSink
from bytewax_state import Settings, attach
flow = Dataflow(os.environ.get("FLOW", "flow"))
exec(os.environ.get("TOP", ""))
up = op.input("inp", flow, TestingSource([("a", 1), ("b", 2)] * 10))
up = op.map("do", up, lambda item: exec(os.environ.get("DO", "")) or item)
op.output("out", op.stateful_map(os.environ.get("STEP", "s"), up, lambda s, v: ((s or 0) + v, v)), TestingSink([]))
exec(os.environ.get("BOTTOM", ""))
"""
"""Code of the flow's module, and of a step, comes from the environment."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`python -m bytewax_state.run` in a folder of its own."""
    (tmp_path / "my_flow.py").write_text(FLOW)
    (tmp_path / "recovery").mkdir()
    init_db_dir(tmp_path / "recovery", 1)

    def call(*flags: str, stderr: int = subprocess.PIPE, shell: str = "", **env: str) -> Any:
        command = [sys.executable, "-m", "bytewax_state.run", "my_flow:flow", *flags]
        if shell:
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        return subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=60,
        )

    yield call


RECOVER = ("-r", "recovery", "-s", "1", "-b", "0")


def assert_ends_with(done: subprocess.CompletedProcess[str], kind: str, code: int) -> None:
    """See a run end with an error of ours: one line, the last one, no stack of anybody, and the code of its kind."""
    assert done.stderr.splitlines()[-1].startswith(f"bytewax-state: {kind}: "), done.stderr
    assert done.stderr.count("\nbytewax-state: ") + done.stderr.startswith("bytewax-state: ") == 1
    assert "Traceback" not in done.stderr
    assert done.returncode == code


def test_run_refuses_a_renamed_step(run: Callable[..., Any]) -> None:
    """Unless told otherwise; with an exit code of its own."""
    assert run(*RECOVER).returncode == 0
    done = run(*RECOVER, STEP="t")
    assert_ends_with(done, "usage", 2)
    assert "flow.s.stateful_flat_map.stateful" in done.stderr
    assert "flow.t.stateful_flat_map.stateful" in done.stderr
    assert run(*RECOVER, "--ignore-unclaimed", STEP="t").returncode == 0
    assert run(*RECOVER, STEP="t").returncode == 0


def test_run_refuses_the_recovery_directory_of_another_flow(run: Callable[..., Any]) -> None:
    """Naming both."""
    assert run(*RECOVER).returncode == 0
    done = run(*RECOVER, FLOW="other")
    assert done.returncode == 2
    assert "'flow'" in done.stderr
    assert "'other'" in done.stderr


def settings_of(who: str, **values: str) -> dict[str, str]:
    """Say settings in the environment, or in a flow that attaches itself, wholly or for a single step."""
    if who == "environment":
        return {f"BYTEWAX_STATE_{name.upper()}": value for name, value in values.items()}
    said = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return {
        "BOTTOM": f"attach(flow, Settings({said}))"
        if who == "flow"
        else f"attach(flow, steps={{'flow.s': Settings({said})}})"
    }


WHO = pytest.mark.parametrize("who", ["environment", "flow", "step"])


@WHO
def test_run_refuses_a_retention_below_the_backup_interval(who: str, run: Callable[..., Any]) -> None:
    """Bytewax could resume from an epoch whose state is gone."""
    done = run("-r", "recovery", "-s", "1", "-b", "3600", **settings_of(who, retain_for="10m"))
    assert_ends_with(done, "config", 2)
    assert "BYTEWAX_STATE_RETAIN_FOR" in done.stderr
    assert "'flow.s.stateful_flat_map.stateful.stateful_batch'" in done.stderr


@WHO
def test_run_refuses_a_recovery_directory_without_a_place_for_snapshots(who: str, run: Callable[..., Any]) -> None:
    """Bytewax would commit the offsets of the sources, and the state would be nowhere."""
    done = run(*RECOVER, **settings_of(who, uri="none"))
    assert_ends_with(done, "config", 2)
    assert "BYTEWAX_STATE_URI is none" in done.stderr


@WHO
def test_run_without_recovery_takes_no_snapshots(who: str, run: Callable[..., Any], tmp_path: Path) -> None:
    """And says so."""
    done = run(**settings_of(who, uri="snapshots"))
    assert done.returncode == 0
    assert "no recovery directory" in done.stderr
    assert not (tmp_path / "snapshots").exists()
    assert not (tmp_path / ".bytewax-state").exists()


SHOW = """
import atexit
from bytewax_state.dataflow.attach import attached
atexit.register(lambda: print([(w.step.settings.retain_snapshots, w.step.settings.retain_for) for w in attached(flow)]))
"""


@WHO
def test_run_raises_what_a_backup_interval_needs(who: str, run: Callable[..., Any]) -> None:
    """A default, and the number of versions, for whoever attaches."""
    env = settings_of(who, retain_snapshots="2")
    done = run("-r", "recovery", "-s", "10", "-b", "7200", **env, TOP=SHOW)
    assert (done.returncode, done.stdout) == (0, f"[(721, {timedelta(hours=2)!r})]\n")


def test_run_keeps_a_version_for_each_epoch_that_bytewax_keeps() -> None:
    """Bytewax counts epochs, however long they take."""
    given = [timedelta(seconds=seconds) for seconds in (10, 61)]
    assert _keep_epochs(Settings(), *given).retain_snapshots == 8
    assert _keep_epochs(Settings(retain_snapshots=20), *given).retain_snapshots == 20
    assert _keep_epochs(Settings(), timedelta(0), given[1]).retain_snapshots == 3


def test_run_attaches_what_the_flow_did_not(run: Callable[..., Any]) -> None:
    """An `attach` that came too early is no reason to refuse here."""
    done = run(*RECOVER, TOP="attach(flow)")
    assert done.returncode == 0
    assert "found no stateful step in the flow 'flow'" in done.stderr
    assert "published step=flow.s" in done.stderr


def test_run_says_once_where_it_writes(run: Callable[..., Any], tmp_path: Path) -> None:
    """In full, whatever the working directory is by then; not for each step and worker."""
    two = "op.inspect('look', op.stateful_map('t', up, lambda s, v: (s, v)))"
    done = run(*RECOVER, "-w", "3", BOTTOM=two, DO="os.chdir('/')")
    local = tmp_path / ".bytewax-state"
    assert done.stderr.count(f"started flow=flow snapshots={local}/snapshots dir={local}/work\n") == 1
    assert done.stderr.count("started flow") == 1


@pytest.mark.parametrize("when", ["TOP", "DO"])
def test_a_flow_may_change_the_working_directory(when: str, run: Callable[..., Any], tmp_path: Path) -> None:
    """As it is imported, or in a step: the state is in one place, and the next run finds it."""
    there = {when: "os.makedirs('there', exist_ok=True); os.path.basename(os.getcwd()) == 'there' or os.chdir('there')"}
    recovery = ("-r", str(tmp_path / "recovery"), "-s", "0", "-b", "0")
    for _ in range(2):
        done = run(*recovery, **there)
        assert done.returncode == 0, done.stderr
    found = [path.parent for path in tmp_path.rglob(".bytewax-state")]
    assert found == [tmp_path / "there" if when == "TOP" else tmp_path]
    assert len(list(found[0].glob(".bytewax-state/*"))) == 2


def test_run_reads_what_the_module_puts_into_the_environment(run: Callable[..., Any], tmp_path: Path) -> None:
    """As a file of settings that is loaded there."""
    assert run(*RECOVER, TOP="os.environ['BYTEWAX_STATE_URI'] = 'elsewhere'").returncode == 0
    assert (tmp_path / "elsewhere" / "flow").is_dir()


def test_run_names_a_wrong_setting(run: Callable[..., Any]) -> None:
    """In one line, before anything else."""
    done = run(*RECOVER, BYTEWAX_STATE_BACKEND="rocks", TOP="raise SystemExit(5)")
    assert_ends_with(done, "config", 2)
    assert len(done.stderr.splitlines()) == 1
    assert "BYTEWAX_STATE_BACKEND" in done.stderr


def test_run_judges_the_uri_before_anything_else(run: Callable[..., Any]) -> None:
    """A flow that waits for its first item would find out hours later."""
    for uri in ("nosuch://bucket/path", "gs:/bucket"):
        done = run(*RECOVER, BYTEWAX_STATE_URI=uri)
        assert_ends_with(done, "config", 2)
        assert "BYTEWAX_STATE_URI" in done.stderr


def test_help_is_that_of_this_program(capsys: pytest.CaptureFixture[str]) -> None:
    """With the flags of Bytewax, and the one that is ours."""
    with pytest.raises(SystemExit):
        run_flow(["--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m bytewax_state.run ")
    assert "--recovery-directory" in told
    assert "--ignore-unclaimed" in told
    assert "bytewax.run" not in told


LOSE = "import shutil; shutil.rmtree('.bytewax-state/snapshots')"
"""Code of a flow's module that makes its run end with `snapshot-missing`, in a worker."""

KINDS = [
    ("config", 2, {"BYTEWAX_STATE_KEY_GROUPS": "many"}),
    ("config", 2, {"BOTTOM": "attach(flow, Settings(codec='json'))"}),
    ("usage", 2, {"STEP": "t"}),
    ("storage", 3, {"BYTEWAX_STATE_DIR": "my_flow.py/work"}),
    ("snapshot-missing", 1, {"TOP": LOSE}),
    ("incompatible", 1, {"BYTEWAX_STATE_KEY_GROUPS": "64"}),
]


@pytest.mark.parametrize(("kind", "code", "env"), KINDS, ids=[f"{kind}-{next(iter(env))}" for kind, _, env in KINDS])
def test_an_error_of_ours_is_the_last_line(kind: str, code: int, env: dict[str, str], run: Callable[..., Any]) -> None:
    """With the exit code of its kind, whether it is found before the run or by a worker of it."""
    assert run(*RECOVER).returncode == 0
    assert_ends_with(run(*RECOVER, **env), kind, code)


def test_a_second_run_ends_with_a_conflict(run: Callable[..., Any], tmp_path: Path) -> None:
    """It is refused in the build of a source."""
    assert run(*RECOVER).returncode == 0
    (lock,) = (tmp_path / ".bytewax-state").rglob("*.lock")
    with lock.open("a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert_ends_with(run(*RECOVER), "conflict", 1)


def test_an_error_of_ours_is_the_last_line_of_several_workers(run: Callable[..., Any]) -> None:
    """And is logged once before."""
    assert run(*RECOVER).returncode == 0
    done = run(*RECOVER, "-w", "3", TOP=LOSE)
    assert_ends_with(done, "snapshot-missing", 1)
    assert done.stderr.count("ends the run") == 1


def test_an_error_of_ours_is_the_last_line_of_every_process(run: Callable[..., Any], tmp_path: Path) -> None:
    """Where Bytewax shows a broken connection, and the end of the interpreter would abort the process."""
    assert run(*RECOVER).returncode == 0
    shutil.rmtree(tmp_path / ".bytewax-state")
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = ";".join(f"127.0.0.1:{port.getsockname()[1]}" for port in ports)
    for port in ports:
        port.close()
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda index: run(*RECOVER, "-i", str(index), "-a", addresses), range(2)):
            assert_ends_with(done, "snapshot-missing", 1)


LOGGING = {
    "a configuration that disables other loggers": """
import logging.config
logging.config.dictConfig({
    "version": 1,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "log"}},
    "root": {"handlers": ["file"], "level": "INFO"},
})
""",
    "a file": "import logging; logging.basicConfig(filename='log', level='INFO')",
    "a handler that keeps what it gets": """
import logging, logging.handlers
file = logging.FileHandler("log")
logging.basicConfig(handlers=[logging.handlers.MemoryHandler(1000, logging.CRITICAL, file)], level="INFO")
""",
}


@pytest.mark.parametrize("logging", LOGGING.values(), ids=LOGGING)
@pytest.mark.parametrize("where", ["before the run", "in a worker"])
def test_lines_go_where_the_flow_sends_them(logging: str, where: str, run: Callable[..., Any], tmp_path: Path) -> None:
    """All of them, and only there; but the last one is on standard error too."""
    assert run(*RECOVER, TOP=logging).stderr == ""
    assert "published step=" in (tmp_path / "log").read_text()
    (tmp_path / "log").unlink()
    done = run(
        *RECOVER, **({"TOP": logging, "STEP": "t"} if where == "before the run" else {"TOP": f"{logging}\n{LOSE}"})
    )
    kind, code = ("usage", 2) if where == "before the run" else ("snapshot-missing", 1)
    assert_ends_with(done, kind, code)
    log = (tmp_path / "log").read_text()
    assert log.count(f"the run ended: {kind}: ") == 1
    assert ("started flow=flow" in log) == (where == "in a worker")
    assert "INFO" not in done.stderr


SILENT = {
    "level": "import logging; logging.basicConfig(level='WARNING')",
    "logger": "import logging; logging.getLogger('bytewax_state').addHandler(logging.NullHandler())",
}


@pytest.mark.parametrize("code", SILENT.values(), ids=SILENT)
def test_lines_that_the_flow_does_not_want_are_not_shown(code: str, run: Callable[..., Any]) -> None:
    """It decides."""
    assert run(*RECOVER, TOP=code).stderr == ""


NOISE = {
    "output that is still in a buffer": "print('noise')",
    "output at the exit": "import atexit, sys; atexit.register(print, 'noise', file=sys.stderr)",
    "a thread that goes on": """
import sys, threading, time
threading.Thread(target=lambda: (time.sleep(1), print("noise", file=sys.stderr))).start()
""",
    "another stderr": "import io, sys; print('noise'); sys.stderr = io.StringIO()",
}


@pytest.mark.parametrize("code", NOISE.values(), ids=NOISE)
def test_nothing_follows_the_last_line(code: str, run: Callable[..., Any]) -> None:
    """Where both outputs go into one file."""
    done = run(*RECOVER, TOP=code, BOTTOM="attach(flow, Settings(uri=None))", stderr=subprocess.STDOUT)
    *before, last = done.stdout.splitlines()
    assert (before, last.partition(": ")[0], done.returncode) == (["noise"], "bytewax-state", 2)


CHATTER = """
import os, threading

def chatter():
    while True:
        os.write(2, b"noise\\n")

threading.Thread(target=chatter, daemon=True).start()
"""


@pytest.mark.parametrize("turn", range(5))
def test_nothing_that_writes_all_the_time_follows_the_last_line(turn: int, run: Callable[..., Any]) -> None:
    """Nor into it: threads of Bytewax's do so when a connection breaks."""
    done = run(*RECOVER, TOP=CHATTER, BOTTOM="attach(flow, Settings(uri=None))")
    *before, last = done.stderr.splitlines()
    assert (set(before), last.partition(": ")[0], done.returncode) == ({"noise"}, "bytewax-state", 2)


@pytest.mark.parametrize(("mode", "data"), [("w", "text"), ("wb", b"bytes")])
def test_an_error_of_ours_leaves_no_open_file_unwritten(
    mode: str, data: str | bytes, run: Callable[..., Any], tmp_path: Path
) -> None:
    """A flow may leave it to the interpreter to close its files."""
    code = f"file = open('file', {mode!r}); file.write({data!r})"
    assert_ends_with(run(*RECOVER, TOP=code, BOTTOM="attach(flow, Settings(uri=None))"), "config", 2)
    assert (tmp_path / "file").read_text() == (data if isinstance(data, str) else data.decode())


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-", "2>/dev/full"])
def test_the_exit_code_stays_where_nothing_can_be_written(closed: str, run: Callable[..., Any], tmp_path: Path) -> None:
    """And nothing is written into what has the number of standard error instead."""
    done = run(*RECOVER, BYTEWAX_STATE_URI="none", shell=closed)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


OTHERS = [
    ("raise ValueError('mine')", 1, "ValueError: mine"),
    ("raise SystemExit(7)", 7, ""),
    ("raise SystemExit('mine')", 1, "mine"),
    ("import no_such_module", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
    ("try: Settings(codec='x')\nexcept Exception as ex: raise SystemExit('mine') from ex", 1, "mine"),
    ("try: Settings(codec='x')\nexcept Exception as ex: raise ValueError('mine') from ex", 1, "ValueError: mine"),
]


@pytest.mark.parametrize(("code", "exit_code", "last"), OTHERS, ids=[code.splitlines()[-1] for code, *_ in OTHERS])
def test_what_the_flow_raises_is_its_own(code: str, exit_code: int, last: str, run: Callable[..., Any]) -> None:
    """With its stack and its exit code, also where an error of ours was a reason for it."""
    done = run(*RECOVER, TOP=code)
    assert (done.returncode, [*done.stderr.splitlines(), ""][-2 if last else 0]) == (exit_code, last)
    assert ("Traceback" in done.stderr) == ("Error: " in last)


def test_an_exception_in_a_step_is_its_own(run: Callable[..., Any]) -> None:
    """As Bytewax shows it."""
    done = run(*RECOVER, "-w", "2", DO="raise ValueError('mine')")
    assert "ValueError: mine" in done.stderr
    assert "bytewax-state: " not in done.stderr
    assert done.returncode == 1
