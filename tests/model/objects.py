"""An object store in memory, which remembers all that was ever written: the truth that the machine checks.

It behaves as every storage does (`tests/contracts/storage_contract.py`), and is never stale, slow or wrong.
"""

import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path

from bytewax_state.snapshot.layout import parse_manifest_name
from bytewax_state.snapshot.manifest import CLAIM
from bytewax_state.storage.local import fetch
from bytewax_state.storage.translation import check_name, conflict, translated


class Objects:
    """A storage in a dict, with the invariants that only a log of writes can judge."""

    url = "objects://world"

    def __init__(self) -> None:
        self.breaches: list[str] = []
        self.unclaimed: list[str] = []
        """First versions that were written when the claim of their store was gone."""
        self._data: dict[str, bytes] = {}
        self._ever: dict[str, bytes] = {}  # name -> SHA-256 of what was first written under it
        self._versions: dict[str, int] = {}  # folder of a store -> its newest version
        self._lock = threading.Lock()

    def copy(self) -> "Objects":
        """Make one with the same objects, which may be changed without this one noticing."""
        other = Objects()
        other._data = dict(self._data)
        return other

    def put(self, name: str, data: bytes) -> None:
        check_name(name, self.url)
        with self._lock:
            if self._data.get(name, data) != data:
                raise conflict(self.url, name)
            self._note(name, data)
            self._data[name] = data

    def put_file(self, local: Path, name: str) -> None:
        with translated("read", str(local), str, missing=False):
            data = local.read_bytes()
        self.put(name, data)

    def get(self, name: str) -> bytes:
        check_name(name, self.url)
        try:
            return self._data[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def get_file(self, name: str, local: Path) -> str:
        return fetch([self.get(name)], local)

    def size(self, name: str) -> int | None:
        check_name(name, self.url)
        data = self._data.get(name)
        return None if data is None else len(data)

    def folders(self, prefix: str) -> list[str]:
        above = len(prefix) + 1 if prefix else 0
        return sorted({name[above:].partition("/")[0] for name in self.list(prefix) if "/" in name[above:]})

    def list(self, prefix: str) -> list[str]:
        if prefix:
            check_name(prefix, self.url)
        with self._lock:
            return sorted(name for name in self._data if not prefix or name.startswith(f"{prefix}/"))

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            check_name(name, self.url)
            with self._lock:
                self._data.pop(name, None)

    def _note(self, name: str, data: bytes) -> None:
        """No object is ever written twice with different bytes, and the versions of a store rise by one."""
        digest = hashlib.sha256(data).digest()
        if name in self._data:
            return
        if self._ever.setdefault(name, digest) != digest:
            self.breaches.append(f"{name} was written twice, with different bytes")
        manifest = parse_manifest_name(name)
        if manifest is not None:
            folder = name.rpartition("/")[0]
            expected = self._versions.get(folder, -1) + 1
            if manifest.version != expected:
                self.breaches.append(f"{name} was written, expected version {expected}")
            self._versions[folder] = manifest.version
            if manifest.version == 1 and f"{folder}/{CLAIM:012}.manifest" not in self._data:
                self.unclaimed.append(name)
