"""A measurement in a process of its own, so that it meets no garbage and no warm cache of the one before.

Owns the process, its environment, and the addresses of several that talk to each other. It does not own what is
measured. Called by `pairs` and `large_state`.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_PATIENCE = 600
"""Seconds until a process counts as stuck: one of a cluster waits forever for another one that failed."""


class RunFailedError(Exception):
    """A measurement ended with an error, or two that should have done the same did not."""


def run_apart(module: str, *args: str) -> dict[str, Any]:
    """Run a module as a program.

    :arg module: Name; it prints a line of JSON last.

    :arg args: Its arguments.

    :returns: What it printed.

    :raises RunFailedError: If it ends with an error, or not at all.

    """
    # A setting of the user's own runs must not decide what is measured.
    env = {name: value for name, value in os.environ.items() if not name.startswith("BYTEWAX_")}
    command = [sys.executable, "-m", module, *args]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired as ex:
        msg = f"{module} {' '.join(args)} did not end within {_PATIENCE} s"
        raise RunFailedError(msg) from ex
    if done.returncode != 0:
        msg = f"{module} {' '.join(args)} ended with {done.returncode}:\n{done.stderr}"
        raise RunFailedError(msg)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def free_addresses(count: int) -> list[str]:
    """Find addresses of this machine where nothing listens.

    :arg count: How many; all different.

    :returns: Hosts and ports.

    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
