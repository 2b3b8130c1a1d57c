"""`python -m bytewax_state.run`: what it refuses before a run begins, what it sets, and how it ends."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import init_db_dir

from bytewax_state import Settings
from bytewax_state.run import _keep_epochs, main

FLOW = """
import os
from bytewax.dataflow import Dataflow
import bytewax.operators as op
from bytewax.testing import TestingSource, TestingSink
flow = Dataflow(os.environ.get("FLOW", "flow"))
up = op.input("inp", flow, TestingSource([("a", 1), ("b", 2)] * 10))
op.output("out", op.stateful_map(os.environ.get("STEP", "s"), up, lambda s, v: ((s or 0) + v, v)), TestingSink([]))
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`python -m bytewax_state.run` in a folder of its own."""
    (tmp_path / "my_flow.py").write_text(FLOW)
    (tmp_path / "recovery").mkdir()
    init_db_dir(tmp_path / "recovery", 1)

    def call(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bytewax_state.run", "my_flow:flow", *flags]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=False, timeout=60
        )

    yield call


RECOVER = ("-r", "recovery", "-s", "1", "-b", "0")


def test_run_refuses_a_renamed_step(run: Callable[..., Any]) -> None:
    """Unless told otherwise; with an exit code of its own."""
    assert run(*RECOVER).returncode == 0
    done = run(*RECOVER, STEP="t")
    assert done.returncode == 2
    assert "flow.s.stateful_flat_map.stateful" in done.stderr
    assert "flow.t.stateful_flat_map.stateful" in done.stderr
    assert "Traceback" not in done.stderr
    assert run(*RECOVER, "--ignore-unclaimed", STEP="t").returncode == 0
    assert run(*RECOVER, STEP="t").returncode == 0


def test_run_refuses_the_recovery_directory_of_another_flow(run: Callable[..., Any]) -> None:
    """Naming both."""
    assert run(*RECOVER).returncode == 0
    done = run(*RECOVER, FLOW="other")
    assert done.returncode == 2
    assert "'flow'" in done.stderr
    assert "'other'" in done.stderr


def test_run_refuses_a_retention_below_the_backup_interval(run: Callable[..., Any]) -> None:
    """Bytewax could resume from an epoch whose state is gone."""
    done = run("-r", "recovery", "-s", "1", "-b", "3600", BYTEWAX_STATE_RETAIN_FOR="10m")
    assert done.returncode == 2
    assert "BYTEWAX_STATE_RETAIN_FOR" in done.stderr
    assert run("-r", "recovery", "-s", "1", "-b", "7200").returncode == 0


def test_run_refuses_a_recovery_directory_without_a_place_for_snapshots(run: Callable[..., Any]) -> None:
    """Bytewax would commit the offsets of the sources, and the state would be nowhere."""
    done = run(*RECOVER, BYTEWAX_STATE_URI="none")
    assert done.returncode == 2
    assert "BYTEWAX_STATE_URI is none" in done.stderr


def test_run_keeps_a_version_for_each_epoch_that_bytewax_keeps() -> None:
    """Bytewax counts epochs, however long they take."""
    given = [timedelta(seconds=seconds) for seconds in (10, 61)]
    assert _keep_epochs(Settings(), *given).retain_snapshots == 8
    assert _keep_epochs(Settings(retain_snapshots=20), *given).retain_snapshots == 20
    assert _keep_epochs(Settings(), timedelta(0), given[1]).retain_snapshots == 3


def test_run_without_recovery_takes_no_snapshots(run: Callable[..., Any], tmp_path: Path) -> None:
    """And says so."""
    done = run()
    assert done.returncode == 0
    assert "no recovery directory" in done.stderr
    assert not (tmp_path / ".bytewax-state").exists()


def test_run_names_a_wrong_setting(run: Callable[..., Any]) -> None:
    """In one line, before anything else."""
    done = run(*RECOVER, BYTEWAX_STATE_BACKEND="rocks")
    assert done.returncode == 2
    assert "BYTEWAX_STATE_BACKEND" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_judges_the_uri_before_anything_else(run: Callable[..., Any]) -> None:
    """A flow that waits for its first item would find out hours later."""
    for uri in ("nosuch://bucket/path", "gs:/bucket"):
        done = run(*RECOVER, BYTEWAX_STATE_URI=uri)
        assert done.returncode == 2
        assert "BYTEWAX_STATE_URI" in done.stderr
        assert "Traceback" not in done.stderr


def test_run_names_our_error_last(run: Callable[..., Any], tmp_path: Path) -> None:
    """Below the stack that Bytewax prints."""
    assert run(*RECOVER).returncode == 0
    shutil.rmtree(tmp_path / ".bytewax-state")
    done = run(*RECOVER)
    assert done.returncode != 0
    assert "snapshot-missing" in done.stderr


def test_main_takes_the_flags_of_bytewax(capsys: pytest.CaptureFixture[str]) -> None:
    """And shows them."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--recovery-directory" in capsys.readouterr().out
