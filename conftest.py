"""How all tests are run: where they write."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import in_memory, on_disk


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folders before any of them is needed."""
    if "TMPDIR" not in os.environ and (folder := in_memory()):
        os.environ["TMPDIR"] = tempfile.tempdir = folder


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """As pytest's own, and on a disk for tests with the mark `disk`."""
    if request.node.get_closest_marker("disk") is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="bytewax-state-", dir=on_disk()) as folder:
        yield Path(folder)
