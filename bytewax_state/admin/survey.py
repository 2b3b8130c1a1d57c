"""Survey: all that lies in a storage, looked at from outside, whether a flow runs on it or not.

Owns that many objects are asked for at once, that somebody hears how far it is, and that folders of others are left
out. It does not own what is concluded (`verify`, `garbage`). Called by the command line, and by these.
"""

import re
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from bytewax_state.errors import StorageError, UsageError
from bytewax_state.signing import Keys
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import component, is_store_id, parse_manifest_name
from bytewax_state.storage.storage import Storage

T = TypeVar("T")


class Progress(Protocol):
    """Hears how far a survey is, from any thread."""

    def expect(self, more: int) -> None:
        """Hear how many more objects there are to look at."""

    def advance(self) -> None:
        """Hear that one of them is done."""

    def close(self) -> None:
        """Hear that it takes a rest, or has ended."""


class Survey:
    """A storage, to be looked at by many threads."""

    def __init__(self, storage: Storage, keys: Keys, threads: int, progress: Progress) -> None:
        """Init.

        :arg keys: One of them signed the manifests.

        :arg threads: How many objects are asked for at once.

        :arg progress: Hears of each object.

        """
        self.url = storage.url
        self.keys = keys
        self.storage = storage
        self.progress = progress
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bytewax-state-look")
        self.catalog = Catalog(_Watched(storage, progress), keys, threads)
        self.closed: dict[str, StorageError] = {}
        """Folders beside those of flows that cannot be read, to why: each may be a flow's, or somebody else's."""

    def close(self) -> None:
        """Stop asking."""
        self._pool.shutdown(cancel_futures=True)

    def steps(self, flow: str | None = None) -> list[str]:
        """List steps.

        :arg flow: Only of this flow; `None` for all flows. Then what cannot be read is left out, and noted in `closed`.

        :returns: Their folders in the storage.

        :raises StorageError: If the storage, or the flow that is asked for, cannot be listed.

        """
        if flow is not None:
            return self.catalog.steps([component(flow)])
        found = self.ask(self.catalog.flows(), self._steps_of)
        return sorted(prefix for steps in found.values() for prefix in steps)

    def _steps_of(self, flow: str) -> list[str]:
        try:
            return self.catalog.steps([flow])
        except StorageError as ex:
            self.closed[flow] = ex
            return []

    def find(self, text: str) -> str:
        """Find a manifest, in whatever step it is.

        :arg text: `STORE@VERSION`, or `STORE` for its newest version, or the name of the object.

        :returns: Name of the object.

        :raises UsageError: If that is none of it, or not there.

        """
        if parse_manifest_name(text) is not None:
            return text
        store_id, at, version = text.partition("@")
        if not is_store_id(store_id) or (at and not re.fullmatch(r"[0-9]{1,18}", version)):
            msg = f"{text!r} is no version; expected STORE@VERSION, such as 20261124T081500123456Z-w000-ab12cd34@17"
            raise UsageError(msg)
        found = self.ask([f"{prefix}/{store_id}" for prefix in self.steps()], self.storage.list)
        parsed = {name: parse_manifest_name(name) for names in found.values() for name in names}
        there = {one.version: name for name, one in parsed.items() if one is not None}
        wanted = int(version) if at else max(there, default=0)
        if wanted not in there:
            versions = f"versions {', '.join(map(str, sorted(there)))}" if there else "nothing"
            msg = f"{self.url} has {versions} of store {store_id}; `bytewax-state list` says what there is"
            raise UsageError(msg)
        return there[wanted]

    def ask(self, names: Collection[str], one: Callable[[str], T]) -> dict[str, T]:
        """Ask the same of many objects, at once.

        :arg names: Names of objects.

        :arg one: What is asked of each.

        :returns: Name to answer.

        """
        self.progress.expect(len(names))
        found = {}
        for name, answer in zip(names, self._pool.map(one, names), strict=True):
            found[name] = answer
            self.progress.advance()
        return found


class _Watched:
    """A storage that tells of the manifests that are read."""

    def __init__(self, storage: Storage, progress: Progress) -> None:
        self.url = storage.url
        self.put = storage.put
        self.put_file = storage.put_file
        self.get_file = storage.get_file
        self.size = storage.size
        self.folders = storage.folders
        self.delete = storage.delete
        self._storage = storage
        self._progress = progress
        self._seen: set[str] = set()
        self._left: set[str] = set()

    def list(self, prefix: str) -> list[str]:
        names = self._storage.list(prefix)
        new = {name for name in names if name not in self._seen and parse_manifest_name(name) is not None}
        self._seen |= new
        self._left |= new
        self._progress.expect(len(new))
        return names

    def get(self, name: str) -> bytes:
        try:
            return self._storage.get(name)
        finally:
            if name in self._left:
                self._left.discard(name)
                self._progress.advance()
