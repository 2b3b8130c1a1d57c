"""How all tests are run: where they write, how many examples they try, and what a quick run leaves out."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import bytewax.run
import bytewax.testing
import hypothesis
import psutil
import pytest

from tests.places import in_memory, on_disk

_ENTRY_POINTS = ((bytewax.testing, "run_main"), (bytewax.testing, "cluster_main"), (bytewax.run, "cli_main"))
_STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system")

EXAMPLES = {"quick": 15, "test": 40, "full": 100}
"""Profile to how many examples hypothesis tries: `--quick`, without an option, `--full`."""

for name, number in EXAMPLES.items():
    hypothesis.settings.register_profile(name, max_examples=number, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick` and `--full`."""
    parser.addoption("--quick", action="store_true", help="leave out what starts Bytewax or a process; few examples")
    parser.addoption("--full", action="store_true", help="try as many examples as a change has to pass before it lands")


def pytest_configure(config: pytest.Config) -> None:
    """Choose folders and examples before any of them is needed; what pytest-xdist starts inherits the folders."""
    if "TMPDIR" not in os.environ and (folder := in_memory()):
        os.environ["TMPDIR"] = tempfile.tempdir = folder
    hypothesis.settings.load_profile(_profile(config))
    if config.getoption("quick"):
        # Here, as a test module takes the functions when it is imported.
        for module, name in _ENTRY_POINTS:
            setattr(module, name, lambda *args, **kwargs: _leave_out("Bytewax"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start three processes on two cores, as many a test waits for a time; in a quick run next to none does."""
    cores = psutil.cpu_count() or 1
    return cores if config.getoption("quick") else cores + cores // 2


def _profile(config: pytest.Config) -> str:
    return next((name for name in ("quick", "full") if config.getoption(name)), "test")


@pytest.fixture(scope="session")
def profile(pytestconfig: pytest.Config) -> str:
    """Name the profile: key of `EXAMPLES`."""
    return _profile(pytestconfig)


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
