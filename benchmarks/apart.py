"""A measurement in a process of its own, so that it meets no garbage and no warm cache of another.

Owns the process, its environment, what is said to it, and the addresses of several that talk to each other. It does not
own what is measured. Called by all that measure.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import Any

from typing_extensions import Self

_ROOT = Path(__file__).parent.parent
_PATIENCE = 1_800
"""Seconds until a process counts as stuck: one of a cluster waits forever for another one that failed."""


class RunFailedError(Exception):
    """A measurement ended with an error, or two that should have done the same did not."""


class Apart:
    """A module that runs as a program and writes lines of JSON."""

    def __init__(self, module: str, *args: str, python: Path | str = sys.executable) -> None:
        """Init.

        :arg module: Name.

        :arg args: Its arguments.

        :arg python: Which Python runs it.

        """
        self._name = " ".join((module, *args))
        self._errors = TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python), "-m", module, *args],
            cwd=_ROOT,
            # A setting of the user's own runs must not decide what is measured.
            env={name: value for name, value in os.environ.items() if not name.startswith("BYTEWAX_")},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._alarm = Timer(_PATIENCE, self._process.kill)
        self._alarm.start()

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it has not ended."""
        self._alarm.cancel()
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def tell(self, line: str) -> None:
        """Write a line to its standard input.

        :arg line: Line.

        :raises RunFailedError: If it has ended.

        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError as ex:
            raise self._failure() from ex

    def close(self) -> None:
        """Close its standard input: nothing more will be told."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def answer(self) -> dict[str, Any]:
        """Wait for its next line.

        :returns: What is in it.

        :raises RunFailedError: If it ends instead.

        """
        assert self._process.stdout is not None
        # Bytewax writes to standard output too, as while it looks for the other processes of a cluster.
        line = next((line for line in self._process.stdout if line.startswith("{")), None)
        if line is None:
            raise self._failure()
        found: dict[str, Any] = json.loads(line)
        return found

    def last(self) -> dict[str, Any]:
        """Close its standard input, if it is open, and wait for its end.

        :returns: What is in the last line that it wrote.

        :raises RunFailedError: If it ends with an error, or not at all.

        """
        self.close()
        assert self._process.stdout is not None
        lines = self._process.stdout.read().splitlines()
        if self._process.wait() != 0:
            raise self._failure()
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def _failure(self) -> RunFailedError:
        code = self._process.wait()
        self._errors.seek(0)
        return RunFailedError(f"{self._name} ended with {code}:\n{self._errors.read()}")


def run_apart(module: str, *args: str) -> dict[str, Any]:
    """Run a module as a program.

    :arg module: Name; it prints a line of JSON last.

    :arg args: Its arguments.

    :returns: What it printed.

    :raises RunFailedError: If it ends with an error, or not at all.

    """
    with Apart(module, *args) as process:
        return process.last()


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
