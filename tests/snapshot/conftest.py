"""Storages for tests, empty."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bytewax_state.snapshot.storage import Storage, open_storage

_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "snap shots"), {}, 2)


@pytest.fixture
def memory() -> Iterator[Storage]:
    path = f"/test-{next(_numbers)}"
    yield open_storage(f"memory:/{path}", {}, 2)
    for name in MemoryFileSystem().find(path):
        MemoryFileSystem().rm_file(name)
