"""What is done between two executions, with the flow stopped: collect garbage, verify, measure.

It owns the command lines that an operator would type, and what has to hold after them. It does not own what is
garbage, nor what is sound: the commands say so, and nothing of them is imported. Called by the soak.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"
"""How the names of files begin that a killed process was still writing."""


HERE = Path(__file__).parent

_FAULTY = "import faulty_storage; from bytewax_state.cli import main; main()"
_KIND = re.compile(r"^bytewax-state: ([a-z-]+): ", re.MULTILINE)


class AftermathError(Exception):
    """A command failed, found something, or left something behind."""


@dataclass(frozen=True)
class Place:
    """The storage of a flow, and what it takes to read it."""

    folder: Path
    flow_id: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Garbage:
    """What `gc` deleted, or would delete."""

    manifests: int = 0
    files: int = 0
    bytes: int = 0

    def __add__(self, other: Garbage) -> Garbage:
        """Take both together."""
        return Garbage(self.manifests + other.manifests, self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class Size:
    """What a folder holds."""

    objects: int
    bytes: int
    temporary: int
    """Files that killed processes were still writing."""

    empty: int
    """Folders with nothing in them."""


def clean(place: Place, recovery: Path) -> Garbage:
    """Collect the garbage, and see that none is left and that what is left is sound.

    :arg place: The storage.

    :arg recovery: Bytewax's recovery partitions, all of them.

    :returns: What was deleted.

    :raises AftermathError: If a command fails, there is garbage left, or something is found to be wrong.

    """
    deleted = collect(place, recovery, delete=True)
    left = collect(place, recovery, delete=False)
    if left != Garbage():
        msg = f"gc left {left} in {place.folder}, for {recovery}"
        raise AftermathError(msg)
    findings = verify(place, recovery)
    if findings:
        msg = "\n".join((f"verify has findings in {place.folder}, for {recovery}:", *findings))
        raise AftermathError(msg)
    return deleted


def collect(place: Place, recovery: Path, *, delete: bool) -> Garbage:
    """Run `gc`, with no mercy for what is young: nothing runs.

    :arg place: The storage.

    :arg recovery: Bytewax's recovery partitions, all of them.

    :arg delete: Whether to delete, rather than to tell.

    :returns: What was deleted, or would be.

    :raises AftermathError: If it fails.

    """
    flags = ["--grace", "0s", "--flow", place.flow_id, *(["--delete"] if delete else [])]
    done = _command("gc", place, recovery, *flags)
    if done.returncode != 0:
        raise AftermathError(_said(done))
    sums = (line for line in map(json.loads, done.stdout.splitlines()) if "step" in line)
    return sum((Garbage(line["manifests"], line["files"], line["bytes"]) for line in sums), start=Garbage())


def disturb(place: Place, recovery: Path, options: Mapping[str, Any], seconds: float) -> str:
    """Run `gc --delete` on a storage that fails, and kill it if it takes longer than some time.

    :arg place: The storage.

    :arg recovery: Bytewax's recovery partitions, all of them.

    :arg options: Of `faulty://`.

    :arg seconds: Until the kill.

    :returns: How it ended: `killed`, `done`, or the kind of its error.

    :raises AftermathError: If it ended with anything but an error of bytewax_state.

    """
    failing = replace(place, env={**place.env, "BYTEWAX_STATE_STORAGE_OPTIONS": json.dumps(options)})
    command = _arguments(
        "gc", f"faulty://{place.folder}", recovery, "--grace", "0s", "--flow", place.flow_id, "--delete"
    )
    try:
        done = _run(("-c", _FAULTY, *command), failing, timeout=seconds)
    except subprocess.TimeoutExpired:  # by which it was killed
        return "killed"
    kind = _KIND.search(done.stderr)
    if done.returncode not in {0, 1, 3} or (done.returncode and kind is None):
        raise AftermathError(_said(done))
    return "done" if kind is None else kind[1]


def verify(place: Place, recovery: Path) -> list[str]:
    """Run `verify --deep`.

    :arg place: The storage.

    :arg recovery: Bytewax's recovery partitions, all of them.

    :returns: A line for each finding.

    :raises AftermathError: If it fails.

    """
    done = _command("verify", place, recovery, "--deep")
    if done.returncode not in {0, 1}:
        raise AftermathError(_said(done))
    return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()


def measure(folder: Path) -> Size:
    """Look what a folder holds.

    :arg folder: Of a storage, or of local files.

    :returns: Its size; a file with several names counts once.

    """
    files = {}
    temporary = empty = 0
    for path, folders, names in os.walk(folder):
        empty += not folders and not names
        for name in names:
            temporary += name.startswith(TEMPORARY)
            found = (Path(path) / name).stat()
            files[found.st_dev, found.st_ino] = found.st_size
    return Size(len(files), sum(files.values()), temporary, empty)


def _command(verb: str, place: Place, recovery: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return _run(("-m", "bytewax_state.cli", *_arguments(verb, str(place.folder), recovery, *flags)), place)


def _arguments(verb: str, uri: str, recovery: Path, *flags: str) -> tuple[str, ...]:
    return verb, "--uri", uri, "--recovery", str(recovery), "--min-age", "0s", *flags, "--json"


def _run(arguments: Sequence[str], place: Place, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **place.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return f"{' '.join(done.args[1:])} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
