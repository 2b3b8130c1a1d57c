"""`faulty://`: a local folder behind fsspec that fails as object stores, networks and disks do.

It owns which call fails: drawn from a seed for each object, verb and attempt, so that the order of threads does not
matter. It shares the folder with `file://`: turns with and without faults see the same objects, and none of them
half-written. It does not own what can go wrong: the table is in `tests.faults`, which is found where a development
install has `bytewax_state`. Nor does it own what becomes of an error. Imported by the soak's flow, and registered
thereby.

    BYTEWAX_STATE_URI=faulty:///data/snapshots
    BYTEWAX_STATE_STORAGE_OPTIONS={"rates": {"before": 0.02, "corrupt": 0.01}, "seed": "7", "log": "/tmp/faults.log"}
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import fsspec
from fsspec.implementations.local import LocalFileSystem

from bytewax_state.storage.translation import TEMPORARY
from tests.faults import KINDS, STRIKES, flipped, half

_SLOWEST = 0.3  # seconds
_STALE_FOR = 0.5  # seconds
_FULL_FOR = 0.5  # seconds


class ThrottledError(OSError):
    """What a driver raises for a status of 429."""

    status = 429


class FaultyFileSystem(fsspec.AbstractFileSystem):
    """A local folder with faults."""

    protocol = "faulty"
    cachable = False

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        seed: object = 0,
        log: str | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        **options: Any,
    ) -> None:
        """Init.

        :arg rates: Kind of fault to the chance, from 0 to 1, that it strikes a call that it can strike.

        :arg seed: Of all draws.

        :arg log: File; each fault that struck becomes a line `kind verb path` at its end.

        :arg now: Tells the time in seconds, as file systems do.

        :arg sleep: Waits some seconds.

        :arg options: Of fsspec.

        :raises ValueError: If there is no such kind.

        """
        super().__init__(**options)
        self._rates = dict(rates or {})
        unknown = self._rates.keys() - KINDS.keys()
        if unknown:
            msg = f"no such faults: {sorted(unknown)}; expected some of {list(KINDS)}"
            raise ValueError(msg)
        self._seed = seed
        self._log = log
        self._now = now
        self._sleep = sleep
        self._disk = LocalFileSystem()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._full_until = 0.0

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe an object or folder."""
        with self._call("info", path):
            return self._disk.info(self._strip_protocol(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder."""
        with self._call("find", path):
            return self._disk.ls(self._strip_protocol(path), detail=detail)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """List all objects below a folder, but those that are still being written."""
        with self._call("find", path) as (kind, _rng):
            infos = self._disk.find(self._strip_protocol(path), maxdepth=maxdepth, withdirs=withdirs, detail=True)
            found = {name: info for name, info in infos.items() if not Path(name).name.startswith(TEMPORARY)}
            if kind == "stale":
                since = self._now() - _STALE_FOR
                old = {name: info for name, info in found.items() if info["mtime"] < since}
                if len(old) < len(found):
                    self._note("stale", "find", path)
                found = old
        return found if detail else sorted(found)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Read an object, or a part of it."""
        with self._call("cat_file", path) as (kind, rng):
            data: bytes = self._disk.cat_file(self._strip_protocol(path), start=start, end=end)
            return self._read("cat_file", path, data, kind, rng)

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Copy an object to the local disk; one that breaks leaves half of it there."""
        with self._call("get_file", rpath) as (kind, rng):
            data = self._read("get_file", rpath, self._disk.cat_file(self._strip_protocol(rpath)), kind, rng)
            Path(lpath).write_bytes(half(data) if kind == "torn" else data)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Make an object of some bytes."""
        self._write("pipe_file", path, value, mode)

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **_: Any) -> None:
        """Make an object of a local file."""
        self._write("put_file", rpath, Path(lpath).read_bytes(), mode)

    def rm_file(self, path: str) -> None:
        """Delete an object."""
        with self._call("rm_file", path):
            self._disk.rm_file(self._strip_protocol(path))

    def _read(self, verb: str, path: str, data: bytes, kind: str | None, rng: Random) -> bytes:
        if kind != "corrupt" or not data:
            return data
        self._note("corrupt", verb, path)
        return spoil(data, rng)

    def _write(self, verb: str, path: str, data: bytes, mode: str) -> None:
        with self._call(verb, path) as (kind, _):
            self._take(kind, verb, path)
            target = Path(self._strip_protocol(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f"{TEMPORARY}faulty-{os.getpid()}-{threading.get_ident()}")
            try:
                temporary.write_bytes(half(data) if kind == "torn" else data)
                if kind != "torn":
                    # All at once, or not at all: what is still being written has no name.
                    (os.link if mode == "create" else os.replace)(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)

    def _take(self, kind: str | None, verb: str, path: str) -> None:
        if kind == "full":
            self._full_until = self._now() + _FULL_FOR
        if self._now() < self._full_until:
            self._fail("full", verb, path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path))

    @contextmanager
    def _call(self, verb: str, path: str) -> Iterator[tuple[str | None, Random]]:
        """Let a call meet its fate."""
        kind, rng = self._draw(verb, path)
        if kind == "before":
            self._fail(kind, verb, path, ConnectionRefusedError(errno.ECONNREFUSED, "connection refused (a fault)"))
        if kind == "throttled":
            self._fail(kind, verb, path, ThrottledError("too many requests (a fault)"))
        if kind == "slow":
            self._note(kind, verb, path)
            self._sleep(rng.uniform(0.1, 1.0) * _SLOWEST)
        yield kind, rng
        if kind in {"after", "torn"}:
            self._fail(kind, verb, path, ConnectionResetError(errno.ECONNRESET, "connection reset (a fault)"))

    def _draw(self, verb: str, path: str) -> tuple[str | None, Random]:
        """Draw the fate of a call: the same for the same seed, object, verb and attempt."""
        name = "/".join(self._strip_protocol(path).split("/")[-3:])
        with self._lock:
            self._calls[verb, name] += 1
            attempt = self._calls[verb, name]
        rng = Random(f"{self._seed} {verb} {name} {attempt}")
        drawn = rng.random()
        for kind in STRIKES[verb]:
            drawn -= self._rates.get(kind, 0.0)
            if drawn < 0:
                return kind, rng
        return None, rng

    def _fail(self, kind: str, verb: str, path: str, ex: OSError) -> NoReturn:
        self._note(kind, verb, path)
        raise ex

    def _note(self, kind: str, verb: str, path: str) -> None:
        if self._log is None:
            return
        file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, f"{kind} {verb} {path}\n".encode())
        finally:
            os.close(file)


def spoil(data: bytes, rng: Random) -> bytes:
    """Damage what is read, as a bad disk or a cut connection does.

    :arg data: At least a byte.

    :arg rng: Chooses.

    :returns: With one bit flipped, or without its end.

    """
    at = rng.randrange(len(data))
    if rng.random() < 0.25:
        return data[:at]
    return flipped(data, at, rng.randrange(8))


def struck(log: Path) -> dict[str, int]:
    """Count the faults that struck.

    :arg log: As given to the file system; it may not be there yet.

    :returns: Kind to number, of all kinds.

    """
    lines = log.read_text().splitlines() if log.exists() else []
    counts = Counter(line.partition(" ")[0] for line in lines)
    return {kind: counts[kind] for kind in KINDS}


fsspec.register_implementation(FaultyFileSystem.protocol, FaultyFileSystem, clobber=True)
