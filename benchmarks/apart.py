"""A measurement in a process of its own, so that it meets no garbage and no warm cache of the one before.

Owns the process and its environment. It does not own what is measured. Called by `pairs` and `large_state`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent


class RunFailedError(Exception):
    """A measurement ended with an error, or two that should have done the same did not."""


def run_apart(module: str, *args: str) -> dict[str, Any]:
    """Run a module as a program.

    :arg module: Name; it prints a line of JSON last.

    :arg args: Its arguments.

    :returns: What it printed.

    :raises RunFailedError: If it ends with an error.

    """
    # A setting of the user's own runs must not decide what is measured.
    env = {name: value for name, value in os.environ.items() if not name.startswith("BYTEWAX_")}
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        msg = f"{module} {' '.join(args)} ended with {done.returncode}:\n{done.stderr}"
        raise RunFailedError(msg)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
