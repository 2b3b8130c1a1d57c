"""What all tests need: an environment and a log without what whoever runs them, or another test, has set."""

import logging
import os
from collections.abc import Iterator

import pytest


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
