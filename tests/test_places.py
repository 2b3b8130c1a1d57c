"""Where tests write, and what a quick run leaves out."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.places import ROOT, is_memory

STARTING = (
    "tests/test_routing.py::test_bytewax_routes_other_keys_by_the_same_hash",
    "tests/test_places.py::test_what_a_test_starts_writes_where_the_test_does",
)


@pytest.mark.disk
def test_what_has_to_see_a_disk_sees_one(tmp_path: Path) -> None:
    """In memory a link, a lock or a write that is to last proves nothing."""
    assert not is_memory(tmp_path)


def test_what_a_test_starts_writes_where_the_test_does() -> None:
    """A choice that only this process knew of would leave most of the syncing to the disk."""
    command = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip() == tempfile.gettempdir()


def test_a_quick_run_starts_neither_bytewax_nor_a_process() -> None:
    """Though no test says of itself that it does."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--quick", *STARTING]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert "2 skipped" in done.stdout.splitlines()[-1]
