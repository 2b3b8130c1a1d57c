"""Where tests write."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.places import is_memory


@pytest.mark.disk
def test_what_has_to_see_a_disk_sees_one(tmp_path: Path) -> None:
    """In memory a link, a lock or a write that is to last proves nothing."""
    assert not is_memory(tmp_path)


def test_what_a_test_starts_writes_where_the_test_does() -> None:
    """A choice that only this process knew of would leave most of the syncing to the disk."""
    command = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip() == tempfile.gettempdir()
