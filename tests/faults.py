"""A storage that fails as told: the world, in tests.

A plan is a list of faults. Each waits for the calls of one verb on names that hold a text, lets some pass, and then
strikes some times; a call meets the first fault that strikes. What fails says so with `TransientError`, which is tried
again, or with `StorageError`, which is not.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from bytewax_state.errors import StorageError
from bytewax_state.snapshot.storage import Storage, TransientError

How = Literal["before", "after", "slow", "throttled", "torn", "corrupt", "full"]

ALWAYS = 1 << 30


@dataclass(slots=True)
class Fault:
    """What goes wrong, and when.

    before: nothing was done. after: it was done, and the reply was lost. slow: it is done, later. throttled: nothing
    was done, and it may be tried again. torn: the first half of an object, or of a local file, was written. corrupt: a
    bit of what is read is flipped. full: no space, and nothing was done.
    """

    verb: str
    how: How
    name: str = ""
    """Part of the object's name, or of the prefix."""
    skip: int = 0
    """How many such calls pass first."""
    times: int = 1
    transient: bool = True

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
        fault = self._before("put", name)
        torn = fault is not None and fault.how == "torn"
        self._storage.put(name, data[: len(data) // 2] if torn else data)
        self._after(fault, name)

    def put_file(self, local: Path, name: str) -> None:
        fault = self._before("put_file", name)
        if fault is not None and fault.how == "torn":
            data = local.read_bytes()
            self._storage.put(name, data[: len(data) // 2])
        else:
            self._storage.put_file(local, name)
        self._after(fault, name)

    def get(self, name: str) -> bytes:
        fault = self._before("get", name)
        data = self._storage.get(name)
        self._after(fault, name)
        return flipped(data) if fault is not None and fault.how == "corrupt" else data

    def get_file(self, name: str, local: Path) -> str:
        fault = self._before("get_file", name)
        digest = self._storage.get_file(name, local)
        if fault is not None and fault.how == "torn":
            data = local.read_bytes()
            local.write_bytes(data[: len(data) // 2])
        self._after(fault, name)
        if fault is None or fault.how != "corrupt":
            return digest
        local.write_bytes(flipped(local.read_bytes()))
        return hashlib.sha256(local.read_bytes()).hexdigest()

    def size(self, name: str) -> int | None:
        fault = self._before("size", name)
        size = self._storage.size(name)
        self._after(fault, name)
        return size

    def folders(self, prefix: str) -> list[str]:
        fault = self._before("folders", prefix)
        names = self._storage.folders(prefix)
        self._after(fault, prefix)
        return names

    def list(self, prefix: str) -> list[str]:
        fault = self._before("list", prefix)
        names = self._storage.list(prefix)
        self._after(fault, prefix)
        return names

    def delete(self, names: Iterable[str]) -> None:
        names = list(names)
        fault = self._before("delete", " ".join(names))
        self._storage.delete(names)
        self._after(fault, " ".join(names))

    def _before(self, verb: str, name: str) -> Fault | None:
        with self._lock:
            self.calls.append((verb, name))
            fault = next((one for one in self.plan if one.strikes(verb, name)), None)
        if fault is None:
            return None
        if fault.how == "full":
            raise _full(self.url, name)
        if fault.how == "before":
            raise _failed(fault, f"{self.url}/{name}: the connection was refused")
        if fault.how == "throttled":
            raise _failed(replace(fault, transient=True), f"{self.url}/{name}: status 429")
        if fault.how == "slow":
            self._wait()
        return fault

    def _after(self, fault: Fault | None, name: str) -> None:
        if fault is not None and fault.how in {"after", "torn"}:
            raise _failed(fault, f"{self.url}/{name}: the connection was reset")


class StaleStorage(FaultyStorage):
    """A storage whose lists lack what was written, through this object, in the last moments."""

    def __init__(self, storage: Storage, now: Callable[[], datetime], lag: timedelta) -> None:
        """Init.

        :arg storage: Does the work.

        :arg now: Tells the time.

        :arg lag: How long a list lacks an object.

        """
        super().__init__(storage, ())
        self._written: dict[str, datetime] = {}
        self._now = now
        self._lag = lag

    def put(self, name: str, data: bytes) -> None:
        self._written.setdefault(name, self._now())
        super().put(name, data)

    def put_file(self, local: Path, name: str) -> None:
        self._written.setdefault(name, self._now())
        super().put_file(local, name)

    def list(self, prefix: str) -> list[str]:
        shown = self._now() - self._lag
        return [name for name in super().list(prefix) if self._written.get(name, shown) <= shown]


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


def flipped(data: bytes) -> bytes:
    """Flip the lowest bit of the byte in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes((data[middle] ^ 1,)) + data[middle + 1 :]


def _failed(fault: Fault, msg: str) -> StorageError:
    return TransientError(msg) if fault.transient else StorageError(msg)


def _full(url: str, name: str) -> StorageError:
    return StorageError(f"cannot write {url}/{name}: [Errno 28] No space left on device; free some space there")
