"""What all tests need: an environment without settings of whoever runs them."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the variables of bytewax_state and of Bytewax out of the environment."""
    for name in os.environ:
        if name.upper().startswith(("BYTEWAX_STATE_", "BYTEWAX_RECOVERY_")):
            monkeypatch.delenv(name)
