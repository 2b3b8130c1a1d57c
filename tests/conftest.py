"""What tests need: an environment and a log without what others have set in them, and empty storages."""

import logging
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage

_numbers = count()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the variables of bytewax_state and of Bytewax out of the environment."""
    for name in os.environ:
        if name.upper().startswith(("BYTEWAX_STATE_", "BYTEWAX_RECOVERY_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Undo what a test does to the program's log, as the command line does, or the machine."""
    logger = logging.getLogger("bytewax_state")
    before = (logger.level, logger.propagate, list(logger.handlers))
    yield
    logger.setLevel(before[0])
    logger.propagate = before[1]
    logger.handlers[:] = before[2]


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "snap shots"), {}, 2)


@pytest.fixture
def memory() -> Iterator[Storage]:
    path = f"/test-{next(_numbers)}"
    yield open_storage(f"memory:/{path}", {}, 2)
    for name in MemoryFileSystem().find(path):
        MemoryFileSystem().rm_file(name)
