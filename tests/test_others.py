"""What others keep beside snapshots is left alone; what is ours, and cannot be read, is never taken for empty."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bytewax_state import cli
from bytewax_state.admin.survey import Survey
from bytewax_state.signing import UNSIGNED
from tests.admin.test_verify import Quiet
from tests.disks import bound, close
from tests.faults import ALWAYS, Fault, FaultyStorage
from tests.shop import NOTHING_RUNS, STEP, Shop

ROOT = Path(__file__).parent.parent

RUN = """
import json, sys
from typer.testing import CliRunner
from bytewax_state.cli import app

for command in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, [*command, "--uri", sys.argv[2]])
    print(json.dumps([done.exit_code, done.stdout, done.stderr]))
"""

Run = Callable[..., list[tuple[int, str, str]]]
"""Runs commands, and gives of each the exit code, the output and the errors."""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Make one in which a flow ran twice, and there is some garbage."""
    made = Shop(tmp_path)
    made.run(1, 2)
    made.run(3, recovery=made.other())
    return made


@pytest.fixture
def run(shop: Shop, tmp_path: Path) -> Iterator[Run]:
    """Run commands as a user whom permissions bind; what was closed is opened behind."""
    front = bound(tmp_path)

    def run(*commands: tuple[object, ...]) -> list[tuple[int, str, str]]:
        asked = json.dumps([list(map(str, command)) for command in commands])
        line = [*front, sys.executable, "-c", RUN, asked, str(shop.uri)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
        return [tuple(json.loads(line)) for line in done.stdout.splitlines()]

    yield run
    for folder, _, _ in os.walk(tmp_path):
        for path in Path(folder).iterdir():
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)


def commands(shop: Shop) -> list[tuple[object, ...]]:
    """Name the commands, as programs call them."""
    return [
        ("list", "--json"),
        ("show", shop.manifests()[0].store_id, "--json"),
        ("verify", "--json"),
        ("verify", "--recovery", shop.recovery, "--deep", "--json"),
        ("gc", "--recovery", shop.recovery, "--json", *NOTHING_RUNS),
    ]


def step(shop: Shop) -> Path:
    return shop.uri / "flow" / "steps" / STEP


def test_what_others_keep_does_not_end_a_command(shop: Shop, run: Run) -> None:
    """Beside flows and within one: closed folders, links that lead in circles or nowhere, files, empty folders."""
    asked = commands(shop)
    before = run(*asked)
    for folder in (shop.uri, shop.uri / "flow", shop.uri / "flow" / "steps", step(shop)):
        for name in ("lost+found", ".snapshot", "System Volume Information"):
            close(folder / name)
        (folder / "circle").symlink_to(folder)
        (folder / "loop").symlink_to(folder / "loop")
        (folder / "nowhere").symlink_to("gone")
        (folder / "a-file").write_bytes(b"")
        (folder / "empty").mkdir()
    (shop.uri / "project").mkdir()
    (shop.uri / "project" / "steps").write_text("1. Begin.")
    close(shop.uri / "private")
    close(shop.uri / "training" / "steps")
    after = run(*asked)
    assert [(code, out) for code, out, _ in after] == [(code, out) for code, out, _ in before]
    told = [line.split()[1] for _, _, errors in after for line in errors.splitlines()]
    assert told == ["private", "training"] * 4


@pytest.mark.parametrize("depth", range(5))
def test_what_is_ours_and_cannot_be_read_is_not_taken_for_empty(depth: int, shop: Shop, run: Run) -> None:
    """The flow, its steps, a step, a store, its files: every command says so, and nothing is deleted."""
    below = step(shop)
    closed = [below.parent.parent, below.parent, below, min(below.iterdir()), min(below.iterdir()) / "files"][depth]
    before, asked = shop.objects(), commands(shop)
    close(closed)
    done = run(*asked, (*asked[-1], "--delete"), ("list", "--flow", "flow"))
    closed.chmod(0o700)
    assert [str(closed) in errors for _, _, errors in done] == [True] * len(done)
    # To `show` it looks as if there were no such version.
    assert [code for code, _, _ in done if code != 2] == [3] * (len(done) - (depth < 2))
    assert shop.objects() == before


def test_nothing_is_looked_for_in_what_is_not_ours(shop: Shop) -> None:
    """Whether it is large or slow: of what lies beside a flow it is asked only whether it has steps."""
    storage = FaultyStorage(shop.catalog.storage, ())
    storage.put("other/a/very/deep/tree", b"")
    survey = Survey(storage, UNSIGNED, 4, Quiet())
    for command in (survey.steps, lambda: survey.find(shop.manifests()[0].store_id)):
        command()
    survey.close()
    assert {name for verb, name in storage.calls if verb == "folders"} == {"", "flow/steps", "other/steps"}
    assert all(name.startswith("flow/steps/") for verb, name in storage.calls if verb == "list")


def test_a_part_of_the_storage_that_is_out_of_reach(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mount that is gone: the rest is shown, and the exit code is that of a storage out of reach."""
    shop.run(1, flow_id="other", recovery=shop.other())
    plan = [Fault("folders", "before", "other", times=ALWAYS)]
    monkeypatch.setattr(cli, "open_storage", lambda *args: FaultyStorage(shop.catalog.storage, plan))
    done = shop.cli("list", code=3)
    assert (STEP in done.stdout, "other was left out" in done.stderr) == (True, True)
    assert "other was left out" in shop.cli("verify", code=3).stderr
    assert shop.gc(*NOTHING_RUNS) != []
    assert "other/steps" in shop.cli("list", "--flow", "other", code=3).stderr
