"""Restore: refs → manifests → files → an open table.

Owns which manifest serves which ref, where each file comes from, and that nothing is used before it is verified.
It does not own the refs (Bytewax keeps them) nor the live objects (the store reads them from the table).
Called by the worker's step, at the first item of an execution.

    refs of this worker            one table, open, under the new store's id
      ├ store A: groups 1 4 7  ──►   base: A's files, linked or fetched; groups that are not ours clipped
      └ store B: group 2       ──►   read from a temporary table, ingested
"""

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bytewax_state import metrics
from bytewax_state.errors import SnapshotCorruptError, SnapshotMissingError
from bytewax_state.keygroups import HASH, NAMES_ID, group_range
from bytewax_state.snapshot.layout import frozen_dir, manifest_name, parse_manifest_name, step_prefix, store_prefix
from bytewax_state.snapshot.manifest import FileEntry, Manifest, check_compatible, decode
from bytewax_state.snapshot.publish import Origin, claim, hash_file
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.storage import Storage
from bytewax_state.store.table import Memory, Table

logger = logging.getLogger("bytewax_state")


@dataclass(frozen=True, slots=True)
class Source:
    """A manifest, and the key groups that it serves."""

    manifest: Manifest
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """What a new store begins with."""

    table: Table
    durable: Mapping[str, FileEntry]
    """Local name to entry, of the inherited files."""
    origin: Origin
    """The new store's, with its ancestors."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where the bytes of some files came from."""

    linked_bytes: int = 0
    fetched_bytes: int = 0


def serves(manifest: Manifest, ref: Ref) -> bool:
    """Tell whether a manifest holds the state that a ref names.

    :arg manifest: Of the ref's store.

    :arg ref: Ref.

    :returns: Whether it is the ref's version, or a later one in which the group had not changed since.

    """
    changed = manifest.groups.get(ref.group)
    if changed is None:
        return False
    return manifest.version == ref.version or (manifest.version > ref.version and changed <= ref.version)


def find(storage: Storage, flow_id: str, step_id: str, refs: Iterable[Ref]) -> list[Source]:
    """Find manifests that together serve all refs.

    :arg storage: Where they are.

    :arg flow_id: Flow.

    :arg step_id: Full id of the core step.

    :arg refs: One for every key group of this worker.

    :returns: Sources, that of the most groups first.

    :raises SnapshotMissingError: If no manifest serves a ref.

    :raises SnapshotCorruptError: If a manifest is damaged.

    :raises IncompatibleError: If one was written with other key groups, or by a newer version.

    """
    stores: dict[str, list[Ref]] = {}
    for ref in refs:
        stores.setdefault(ref.store_id, []).append(ref)
    sources = [
        source
        for store_id, wanted in sorted(stores.items())
        for source in _serve(storage, flow_id, step_id, store_id, wanted)
    ]
    return sorted(sources, key=lambda source: -len(source.groups))


def _serve(storage: Storage, flow_id: str, step_id: str, store_id: str, wanted: Sequence[Ref]) -> Iterator[Source]:
    left = list(wanted)
    seen: list[int] = []
    for version in _candidates(storage, flow_id, step_id, store_id, wanted):
        manifest = _read(storage, flow_id, step_id, store_id, version)
        if manifest is None:
            continue
        seen.append(version)
        check_compatible(manifest, wanted[0].key_groups, HASH, NAMES_ID)
        served = [ref for ref in left if serves(manifest, ref)]
        if served:
            left = [ref for ref in left if ref not in served]
            yield Source(manifest, tuple(sorted(ref.group for ref in served)))
        if not left:
            return
    raise _missing(storage, step_id, left[0], seen)


def _candidates(storage: Storage, flow_id: str, step_id: str, store_id: str, wanted: Sequence[Ref]) -> Iterator[int]:
    """Yield versions, the likeliest first; the storage is listed only when the exact ones do not do."""
    exact = sorted({ref.version for ref in wanted}, reverse=True)
    yield from exact
    oldest = exact[-1]
    for version in versions(storage, flow_id, step_id, store_id):
        if version > oldest and version not in exact:
            yield version


def versions(storage: Storage, flow_id: str, step_id: str, store_id: str) -> list[int]:
    """List the versions of a store that have a manifest.

    :returns: Version numbers, rising; the claim, 0, among them.

    """
    names = storage.list(store_prefix(flow_id, step_id, store_id))
    parsed = [parse_manifest_name(name) for name in names]
    return sorted(one[-1] for one in parsed if one is not None)


def _read(storage: Storage, flow_id: str, step_id: str, store_id: str, version: int) -> Manifest | None:
    name = manifest_name(flow_id, step_id, store_id, version)
    try:
        data = storage.get(name)
    except FileNotFoundError:
        return None
    return decode(data, flow_id=flow_id, step_id=step_id, store_id=store_id, version=version)


def _missing(storage: Storage, step_id: str, ref: Ref, seen: Sequence[int]) -> SnapshotMissingError:
    there = f"versions {sorted(seen)}, none of which holds that" if seen else "no manifest of that store"
    msg = (
        f"the state of key group {ref.group} of step {step_id!r} is gone: it is in version {ref.version} of store "
        f"{ref.store_id!r}, and {storage.url} has {there}. Check BYTEWAX_STATE_URI, or bring back an older copy of the "
        "recovery directory together with its snapshots; to start without the state, use an empty recovery directory"
    )
    return SnapshotMissingError(msg)


def restore(
    storage: Storage,
    root: Path,
    live: Path,
    origin: Origin,
    refs: Sequence[Ref],
    memory: Memory,
    at: datetime,
    threads: int,
) -> Restored:
    """Bring the state that some refs name onto the local disk, verified, and open it as the table of a new store.

    :arg storage: Where the snapshots are.

    :arg root: Local folder of all stores, in which frozen images may still lie.

    :arg live: Folder of the new table; made here.

    :arg origin: The new store, without ancestors.

    :arg refs: One for every key group of this worker.

    :arg memory: RocksDB's share of memory.

    :arg at: Current time.

    :arg threads: How many files to fetch at once.

    :returns: The open table and what it began with.

    :raises SnapshotMissingError: If a manifest or file is gone.

    :raises SnapshotCorruptError: If an object is not what its manifest, or its digest, says.

    :raises StorageError: If the storage is out of reach.

    """
    began = time.perf_counter()
    sources = find(storage, origin.flow_id, origin.step_id, refs)
    base, *others = sources
    ancestors = {source.manifest.store_id for source in sources} | {
        ancestor for source in sources for ancestor in source.manifest.ancestors
    }
    origin = replace(origin, ancestors=tuple(sorted(ancestors)))
    claim(storage, origin, base.manifest.files, at)
    done = bring(storage, root, base.manifest, live, threads)
    table = Table.open(live, memory, create=False)
    try:
        _clip(table, base)
        _tell(base, done, time.perf_counter() - began)
        for number, source in enumerate(others):
            began = time.perf_counter()
            done = _ingest(storage, root, source, live.parent / f"from-{number}", table, memory, threads)
            _tell(source, done, time.perf_counter() - began)
    except BaseException:
        table.close()
        raise
    return Restored(table, {entry.local: entry for entry in base.manifest.files}, origin)


def bring(storage: Storage, root: Path, manifest: Manifest, folder: Path, threads: int) -> Fetched:
    """Make a local folder that RocksDB can open, of the files of a manifest.

    :arg storage: Where they are.

    :arg root: Local folder of all stores: a file that a frozen image of this version still has, and that is sound, is
        linked in place of fetched.

    :arg manifest: Which files.

    :arg folder: Made here.

    :arg threads: How many files to fetch at once.

    :returns: Where the bytes came from.

    :raises SnapshotMissingError: If a file is gone.

    :raises SnapshotCorruptError: If a file is not what the manifest says.

    """
    folder.mkdir(parents=True)
    frozen = frozen_dir(root, manifest.flow_id, manifest.step_id, manifest.store_id, manifest.version)
    with ThreadPoolExecutor(threads, thread_name_prefix="bytewax-state-fetch") as pool:
        parts = list(pool.map(lambda entry: _bring(storage, manifest, frozen, entry, folder), manifest.files))
    for name, data in manifest.inline.items():
        (folder / name).write_bytes(data)
    return Fetched(sum(part.linked_bytes for part in parts), sum(part.fetched_bytes for part in parts))


def _bring(storage: Storage, manifest: Manifest, frozen: Path, entry: FileEntry, folder: Path) -> Fetched:
    target = folder / entry.local
    name = f"{step_prefix(manifest.flow_id, manifest.step_id)}/{entry.path}"
    # A linked file is inherited too, so it has to be in the storage all the same.
    if storage.size(name) == entry.size and _link(frozen / entry.local, entry, target):
        return Fetched(linked_bytes=entry.size)
    try:
        digest = storage.get_file(name, target)
    except FileNotFoundError as ex:
        msg = (
            f"{storage.url}/{name} is gone, which version {manifest.version} of store {manifest.store_id!r} of step "
            f"{manifest.step_id!r} needs; bring it back, or resume from an older copy of the recovery directory"
        )
        raise SnapshotMissingError(msg) from ex
    size = target.stat().st_size
    if size != entry.size or digest != entry.sha256:
        target.unlink()
        msg = (
            f"{storage.url}/{name} is damaged: found {size} bytes with SHA-256 {digest}, expected {entry.size} bytes "
            f"with {entry.sha256}; bring back a sound copy, or resume from an older copy of the recovery directory"
        )
        raise SnapshotCorruptError(msg)
    return Fetched(fetched_bytes=size)


def _link(source: Path, entry: FileEntry, target: Path) -> bool:
    """Link a file of a frozen image, if it is there and sound; its owner may be deleting it right now."""
    try:
        os.link(source, target)
    except OSError:
        return False
    if target.stat().st_size == entry.size and hash_file(target) == entry.sha256:
        return True
    target.unlink()
    logger.warning("the local copy %s is damaged; fetching it from the storage", source)
    return False


def _clip(table: Table, source: Source) -> None:
    """Delete the rows of the groups that a manifest has and does not serve."""
    table.clip(group_range(group) for group in source.manifest.groups.keys() - set(source.groups))


def _ingest(
    storage: Storage, root: Path, source: Source, folder: Path, table: Table, memory: Memory, threads: int
) -> Fetched:
    done = bring(storage, root, source.manifest, folder / "table", threads)
    other = Table.open(folder / "table", memory, create=False)
    try:
        table.ingest((row for group in source.groups for row in other.scan(*group_range(group))), folder)
    finally:
        other.close()
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _tell(source: Source, done: Fetched, seconds: float) -> None:
    manifest = source.manifest
    metrics.restored(manifest.step_id, len(source.groups), done.linked_bytes, done.fetched_bytes)
    logger.info(
        "restored step=%s groups=%d from=%s@%d linked_bytes=%d fetched_bytes=%d seconds=%.3f",
        *(manifest.step_id, len(source.groups), manifest.store_id, manifest.version),
        *(done.linked_bytes, done.fetched_bytes, seconds),
    )
