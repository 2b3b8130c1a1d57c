"""How all tests are run: where they write, and what a quick run leaves out."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import bytewax.run
import bytewax.testing
import hypothesis
import pytest

from tests.places import in_memory, on_disk

_ENTRY_POINTS = ((bytewax.testing, "run_main"), (bytewax.testing, "cluster_main"), (bytewax.run, "cli_main"))
_STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system")

hypothesis.settings.register_profile("quick", max_examples=15, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick`."""
    parser.addoption("--quick", action="store_true", help="leave out what starts Bytewax or a process; few examples")


def pytest_configure(config: pytest.Config) -> None:
    """Choose folders and examples before any of them is needed; what pytest-xdist starts inherits the folders."""
    if "TMPDIR" not in os.environ and (folder := in_memory()):
        os.environ["TMPDIR"] = tempfile.tempdir = folder
    if config.getoption("quick"):
        hypothesis.settings.load_profile("quick")
        # Here, as a test module takes the functions when it is imported.
        for module, name in _ENTRY_POINTS:
            setattr(module, name, lambda *args, **kwargs: _leave_out("Bytewax"))


@pytest.fixture(scope="session", autouse=True)
def _no_processes(pytestconfig: pytest.Config) -> None:
    """Of a quick run; only where tests run, as pytest-xdist starts processes itself."""
    if pytestconfig.getoption("quick"):
        sys.addaudithook(_watch)


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event in _STARTS:
        _leave_out("a process")


def _leave_out(what: str) -> NoReturn:
    pytest.skip(f"it starts {what}, and the run is a quick one")


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """As pytest's own, and on a disk for tests with the mark `disk`."""
    if request.node.get_closest_marker("disk") is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="bytewax-state-", dir=on_disk()) as folder:
        yield Path(folder)
