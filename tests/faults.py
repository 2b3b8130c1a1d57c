"""Storages that fail as told: the world, in tests.

Owns the one table of what can go wrong, and the storage in which it does by a plan, in this process. It does not own
`faulty://` (`integration_tests/faulty_storage.py`), which draws from the same table by chance.

A plan is a list of faults. Each waits for the calls of one verb on names that hold a text, lets some pass, and then
strikes some times; a call meets the first fault that strikes. What fails says so with `TransientError`, which is tried
again, or with `StorageError`, which is not.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from bytewax_state.errors import StorageError
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.translation import TransientError

ALWAYS = 1 << 30

KINDS = {
    "before": "nothing was done",
    "after": "it was done, and the reply was lost",
    "slow": "it is done, later",
    "throttled": "too many requests: nothing was done, and it may be tried again",
    "torn": "the connection broke in the middle of an object, or of a local file",
    "corrupt": "what is read is not what was written",
    "stale": "a list lacks the youngest objects",
    "full": "no space, and nothing was done",
}
"""Every kind of fault, and what it means."""

_EVERYWHERE = ("before", "after", "slow", "throttled")
_READ, _WRITE, _LIST = (*_EVERYWHERE, "torn", "corrupt"), (*_EVERYWHERE, "torn", "full"), (*_EVERYWHERE, "stale")

STRIKES = {
    **dict.fromkeys(("get", "get_file", "cat_file"), _READ),
    **dict.fromkeys(("put", "put_file", "pipe_file"), _WRITE),
    **dict.fromkeys(("list", "folders", "find"), _LIST),
    **dict.fromkeys(("size", "info", "delete", "rm_file"), _EVERYWHERE),
}
"""Verb of a storage, or of a file system of fsspec's, to the kinds that can strike it."""


@dataclass(slots=True)
class Fault:
    """What goes wrong, and when. Lists that lack something are `StaleStorage`'s."""

    verb: str
    how: str
    name: str = ""
    """Part of the object's name, or of the prefix."""
    skip: int = 0
    """How many such calls pass first."""
    times: int = 1
    transient: bool = True

    def __post_init__(self) -> None:
        assert self.how in STRIKES[self.verb] and self.how != "stale", f"{self.how!r} cannot strike {self.verb!r}"

    def strikes(self, verb: str, name: str) -> bool:
        if verb != self.verb or self.name not in name or not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class FaultyStorage:
    """A storage with faults; `calls` has every call of a verb, with the name it was for."""

    def __init__(self, storage: Storage, plan: Iterable[Fault], wait: Callable[[], object] = lambda: None) -> None:
        """Init.

        :arg storage: Does what the faults let through.

        :arg plan: Faults.

        :arg wait: What a slow call does first, such as `threading.Event().wait`.

        """
        self.url = storage.url
        self.calls: list[tuple[str, str]] = []
        self.plan = list(plan)
        self._storage = storage
        self._wait = wait
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes) -> None:
        with self._call("put", name) as how:
            self._storage.put(name, half(data) if how == "torn" else data)

    def put_file(self, local: Path, name: str) -> None:
        with self._call("put_file", name) as how:
            if how == "torn":
                self._storage.put(name, half(local.read_bytes()))
            else:
                self._storage.put_file(local, name)

    def get(self, name: str) -> bytes:
        with self._call("get", name) as how:
            data = self._storage.get(name)
            return flipped(data) if how == "corrupt" else data

    def get_file(self, name: str, local: Path) -> str:
        with self._call("get_file", name) as how:
            digest = self._storage.get_file(name, local)
            if how in {"torn", "corrupt"}:
                data = local.read_bytes()
                local.write_bytes(half(data) if how == "torn" else flipped(data))
                digest = hashlib.sha256(local.read_bytes()).hexdigest()
            return digest

    def size(self, name: str) -> int | None:
        with self._call("size", name):
            return self._storage.size(name)

    def folders(self, prefix: str) -> list[str]:
        with self._call("folders", prefix):
            return self._storage.folders(prefix)

    def list(self, prefix: str) -> list[str]:
        with self._call("list", prefix):
            return self._storage.list(prefix)

    def delete(self, names: Iterable[str]) -> None:
        names = list(names)
        with self._call("delete", " ".join(names)):
            self._storage.delete(names)

    @contextmanager
    def _call(self, verb: str, name: str) -> Iterator[str | None]:
        """Let a call meet its fault, if there is one."""
        with self._lock:
            self.calls.append((verb, name))
            fault = next((one for one in self.plan if one.strikes(verb, name)), None)
        if fault is None:
            yield None
            return
        if fault.how == "full":
            raise _full(self.url, name)
        if fault.how == "before":
            raise _failed(fault, f"{self.url}/{name}: the connection was refused")
        if fault.how == "throttled":
            raise _failed(replace(fault, transient=True), f"{self.url}/{name}: status 429")
        if fault.how == "slow":
            self._wait()
        yield fault.how
        if fault.how in {"after", "torn"}:
            raise _failed(fault, f"{self.url}/{name}: the connection was reset")


class StaleStorage(FaultyStorage):
    """A storage whose lists lack what was written, through this object, in the last moments."""

    def __init__(
        self, storage: Storage, now: Callable[[], datetime], lag: timedelta, deleted_too: bool = False
    ) -> None:
        """Init.

        :arg storage: Does the work.

        :arg now: Tells the time.

        :arg lag: How long a list lacks an object.

        :arg deleted_too: Whether it shows for as long what was deleted.

        """
        super().__init__(storage, ())
        self._written: dict[str, datetime] = {}
        self._deleted: dict[str, datetime] = {}
        self._now = now
        self._lag = lag
        self._deleted_too = deleted_too

    def put(self, name: str, data: bytes) -> None:
        self._written.setdefault(name, self._now())
        super().put(name, data)

    def put_file(self, local: Path, name: str) -> None:
        self._written.setdefault(name, self._now())
        super().put_file(local, name)

    def delete(self, names: Iterable[str]) -> None:
        names = list(names)
        super().delete(names)
        if self._deleted_too:
            self._deleted |= dict.fromkeys(names, self._now())

    def list(self, prefix: str) -> list[str]:
        shown = self._now() - self._lag
        gone = {name for name, at in self._deleted.items() if at > shown and name.startswith(prefix)}
        return sorted(name for name in gone.union(super().list(prefix)) if self._written.get(name, shown) <= shown)


class QuotaStorage(FaultyStorage):
    """A storage without room for more than some bytes; what is deleted gives none back."""

    def __init__(self, storage: Storage, left: int) -> None:
        """Init.

        :arg storage: Does what fits.

        :arg left: How many bytes fit; may be changed at any time.

        """
        super().__init__(storage, ())
        self.left = left

    def put(self, name: str, data: bytes) -> None:
        self._take(name, len(data))
        super().put(name, data)

    def put_file(self, local: Path, name: str) -> None:
        self._take(name, local.stat().st_size)
        super().put_file(local, name)

    def _take(self, name: str, size: int) -> None:
        with self._lock:
            if size > self.left:
                raise _full(self.url, name)
            self.left -= size


def half(data: bytes) -> bytes:
    """Return what is there of an object when the connection breaks in its middle."""
    return data[: len(data) // 2]


def flipped(data: bytes, at: int | None = None, bit: int = 0) -> bytes:
    """Flip a bit, by default the lowest one of the byte in the middle."""
    at = len(data) // 2 if at is None else at
    return data[:at] + bytes((data[at] ^ (1 << bit),)) + data[at + 1 :]


def _failed(fault: Fault, msg: str) -> StorageError:
    return TransientError(msg) if fault.transient else StorageError(msg)


def _full(url: str, name: str) -> StorageError:
    return StorageError(f"cannot write {url}/{name}: [Errno 28] No space left on device; free some space there")
