"""The catalog: every manifest of a storage, read, written and listed.

Owns that each manifest is read and written under its own name, with the keys of the run, and what lies below a step at
one moment. It does not own the format (`manifest`), nor what may go or is missing (`sweep`, `invariants`).
Called by the verbs that publish, restore and delete, and by the command line.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from bytewax_state.errors import BytewaxStateError, SnapshotCorruptError, SnapshotError, StorageError
from bytewax_state.signing import UNSIGNED, Keys
from bytewax_state.snapshot.layout import StoreId, parse_file_path, parse_manifest_name, steps_prefix
from bytewax_state.snapshot.manifest import FileEntry, Manifest, decode, encode, name_of
from bytewax_state.storage.storage import Storage

__all__ = ["Catalog", "StepListing", "StoreListing"]

MAX_LOOKS = 5
"""How often a step is looked at until no manifest is deleted between a list and the read."""


Look: TypeAlias = Manifest | SnapshotError | None
"""A manifest, what is wrong with it, or nothing: it is gone since it was listed."""


@dataclass(frozen=True, slots=True)
class StoreListing:
    """What lies in the storage of one store."""

    store_id: str
    versions: tuple[int, ...]
    """Those that have a manifest, rising; the claim, 0, among them."""
    manifests: Mapping[int, Manifest]
    """By version, rising: those that were read. Without their inline files and changes."""
    files: tuple[str, ...]
    """Names of objects."""

    @property
    def oldest(self) -> Manifest | None:
        """The manifest of the lowest version."""
        return self.manifests[min(self.manifests)] if self.manifests else None

    @property
    def newest(self) -> Manifest | None:
        """The manifest of the highest version."""
        return self.manifests[max(self.manifests)] if self.manifests else None

    @property
    def ancestors(self) -> frozenset[str]:
        """The ancestors that any of its manifests names."""
        return frozenset(one for manifest in self.manifests.values() for one in manifest.ancestors)


@dataclass(frozen=True, slots=True)
class StepListing:
    """What lies in the storage of one step, as a look showed it."""

    prefix: str
    stores: Mapping[str, StoreListing]
    """By store id, oldest first."""
    unreadable: Mapping[str, BytewaxStateError]
    """Name of a manifest to what is wrong with it."""
    vanished: tuple[str, ...]
    """Names of manifests that were deleted before they could be read. What they named is not known, nor what is there
    instead of them: nothing must be concluded from what is missing."""

    def manifests(self) -> Iterator[Manifest]:
        """Visit all manifests that can be read, oldest store and version first."""
        for store in self.stores.values():
            yield from store.manifests.values()

    def named(self, by: Callable[[Manifest], bool] = lambda manifest: True) -> dict[str, FileEntry]:
        """Tell the files that manifests name.

        :arg by: Chooses the manifests.

        :returns: Name of the object to entry.

        """
        chosen = filter(by, self.manifests())
        return {f"{self.prefix}/{entry.path}": entry for manifest in chosen for entry in manifest.files}

    def doubt(self) -> BytewaxStateError | None:
        """Say why nothing can be concluded from what is not here.

        :returns: Error, to be raised or told; `None` if there is no doubt.

        """
        for name, why in self.unreadable.items():
            return SnapshotCorruptError(f"{name} cannot be read: {why}")
        for name in self.vanished:
            return StorageError(f"{name} was deleted when it was about to be read, and others before it; try again")
        return None


@dataclass(frozen=True, slots=True)
class Catalog:
    """All manifests of a storage."""

    storage: Storage
    keys: Keys = UNSIGNED
    threads: int = 1
    """How many manifests are read at once."""
    _known: dict[str, Manifest] = field(default_factory=dict, repr=False)
    """Read before by `step`; a manifest never changes."""

    def strict(self) -> "Catalog":
        """Return a catalog that reads nothing unsigned, where there is a key."""
        return Catalog(self.storage, self.keys.strict, self.threads)

    def write(self, manifest: Manifest) -> Manifest:
        """Write a manifest under its name.

        :returns: The manifest as who reads it has it, which knows its size.

        :raises ConflictError: If there is another one of that name.

        :raises StorageError: If the storage cannot be written.

        """
        name, data = name_of(manifest), encode(manifest, self.keys)
        self.storage.put(name, data)
        written = replace(manifest, stats=replace(manifest.stats, manifest_bytes=len(data)))
        self._known[name] = replace(written, inline={}, changes={})
        return written

    def read(self, name: str) -> Manifest:
        """Read a manifest.

        :arg name: Name of the object.

        :raises FileNotFoundError: If there is none.

        :raises SnapshotError: If it cannot be used.

        :raises StorageError: If it cannot be read.

        """
        try:
            return decode(self.storage.get(name), name, self.keys)
        except SnapshotError:
            # The bytes may have been damaged on their way, and be sound in the storage.
            return decode(self.storage.get(name), name, self.keys)

    def versions(self, store: StoreId) -> list[int]:
        """List the versions of a store that have a manifest.

        :returns: Version numbers, rising; the claim, 0, among them.

        """
        names = self.storage.list(store.prefix)
        parsed = [parse_manifest_name(name) for name in names]
        return sorted(one.version for one in parsed if one is not None)

    def flows(self) -> list[str]:
        """List what may be flows. Others may keep folders beside them, so nothing is read of what is in these.

        :returns: Their folders in the storage.

        :raises StorageError: If the storage cannot be listed.

        """
        return self.storage.folders("")

    def steps(self, flows: Iterable[str] | None = None) -> list[str]:
        """List the steps of flows.

        :arg flows: Folders of flows in the storage; `None` for all.

        :returns: The steps' folders in the storage.

        :raises StorageError: If one of the flows cannot be listed.

        """
        above = [steps_prefix(flow) for flow in (self.flows() if flows is None else flows)]
        return sorted(f"{prefix}/{step}" for prefix in above for step in self.storage.folders(prefix))

    def step(self, prefix: str, brief: bool = False) -> StepListing:
        """Look at all that lies below a step.

        :arg prefix: Folder of the step in the storage.

        :arg brief: Whether to read only the oldest manifest of each store. Of the files that a store inherited, its
            later versions name the same ones or fewer.

        :returns: What is there. Every manifest is in it that was there all the time, and every file that was there at
            the beginning. A manifest that cannot be used is named, and raises nothing.

        :raises StorageError: If the storage cannot be listed or read.

        """
        for _ in range(MAX_LOOKS):
            step = self._look_below(prefix, brief)
            if not step.vanished:
                break
        return step

    def _look_below(self, prefix: str, brief: bool) -> StepListing:
        # A listing is read page by page, so it is not of one moment. Suppose that store B appears on a page that was
        # read before, and inherits files of store A, and that A's manifests are deleted before their page is read.
        # Then the first listing shows neither B nor what A named. The second listing shows B.
        first, second = self.storage.list(prefix), self.storage.list(prefix)
        self._forget(prefix, [*first, *second])
        manifests: dict[str, dict[int, str]] = {}
        files: dict[str, list[str]] = {}
        for name in first:
            file = parse_file_path(name.removeprefix(f"{prefix}/"))
            if file is not None:
                files.setdefault(file[0], []).append(name)
        for name in sorted({*first, *second}):
            parsed = parse_manifest_name(name)
            if parsed is not None:
                manifests.setdefault(parsed.store_id, {})[parsed.version] = name
        if not brief:
            self._read_ahead([name for named in manifests.values() for name in named.values()])
        unreadable: dict[str, BytewaxStateError] = {}
        vanished: list[str] = []
        stores = {}
        for store_id in sorted(manifests.keys() | files.keys()):
            named = sorted(manifests.get(store_id, {}).items())
            looks = self._look_at(named, brief)
            unreadable |= {name: look for _, name, look in looks if isinstance(look, SnapshotError)}
            read = {version: look for version, _, look in looks if isinstance(look, Manifest)}
            gone = {version: name for version, name, look in looks if look is None}
            vanished.extend(gone.values())
            versions = tuple(version for version, _ in named if version not in gone)
            stores[store_id] = StoreListing(store_id, versions, read, tuple(files.get(store_id, ())))
        return StepListing(prefix, stores, unreadable, tuple(vanished))

    def _read_ahead(self, names: Iterable[str]) -> None:
        """Read manifests, several at once, if that is allowed."""
        if self.threads > 1:
            with ThreadPoolExecutor(self.threads, thread_name_prefix="bytewax-state-read") as pool:
                list(pool.map(self._look, names))

    def _look_at(self, named: Sequence[tuple[int, str]], brief: bool) -> list[tuple[int, str, Look]]:
        """Look at the manifests of a store; if it is to be brief, until there is one."""
        looks: list[tuple[int, str, Look]] = []
        for version, name in named:
            look = self._look(name)
            looks.append((version, name, look))
            if brief and look is not None:
                break
        return looks

    def _look(self, name: str) -> Look:
        try:
            manifest = self._known.get(name) or replace(self.read(name), inline={}, changes={})
        except FileNotFoundError:
            return None
        except SnapshotError as ex:
            # The traceback of the exception refers to the frames of all callers, and would keep their locks alive until
            # the next garbage collection. A new exception has none.
            return type(ex)(*ex.args)
        self._known[name] = manifest
        return manifest

    def _forget(self, prefix: str, names: Iterable[str]) -> None:
        there = set(names)
        # A copy, as another thread may be writing a manifest.
        for name in [name for name in list(self._known) if name.startswith(f"{prefix}/") and name not in there]:
            del self._known[name]
