"""Restore: refs → manifests → files → an open table.

Owns where each file comes from, and that nothing is used before it is verified. It does not own which manifest serves
which ref (`sources`), the refs (Bytewax keeps them), nor the live objects (the store reads them from the table).
Called by `opening`, at the first item of an execution.

    refs of this worker            one table, open, under the new store's id
      ├ store A: groups 1 4 7  ──►   base: A's files, linked or fetched; groups that are not ours clipped
      └ store B: group 2       ──►   read from a temporary table, ingested
"""

import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bytewax_state import metrics
from bytewax_state.errors import SnapshotCorruptError, SnapshotMissingError
from bytewax_state.registry import agree
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.lineage import Lineage, descend
from bytewax_state.snapshot.manifest import FileEntry, Manifest, name_of
from bytewax_state.snapshot.origin import Origin
from bytewax_state.snapshot.publish import claim
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.sources import Source, alternatives, find
from bytewax_state.storage.local import hash_file, local_disk
from bytewax_state.storage.storage import Storage
from bytewax_state.store.rowkeys import group_range
from bytewax_state.store.table import Memory, Table

logger = logging.getLogger("bytewax_state")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a new store begins with."""

    table: Table
    durable: Mapping[str, FileEntry]
    """Local name to entry, of the inherited files."""
    rows: Mapping[int, int | None]
    """Key group to the number of its keys that have a state; `None`: nobody counted them."""
    origin: Origin
    """The new store's, with its ancestors."""
    lineage: Lineage


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where the bytes of some files came from."""

    linked_bytes: int = 0
    fetched_bytes: int = 0


def restore(
    catalog: Catalog,
    root: Path,
    live: Path,
    origin: Origin,
    refs: Sequence[Ref],
    memory: Memory,
    at: datetime,
    threads: int,
) -> Restored:
    """Bring the state that some refs name onto the local disk, verified, and open it as the table of a new store.

    :arg catalog: Where the snapshots are.

    :arg root: Local folder of all flows, in which frozen images may still lie.

    :arg live: Folder of the new table; made here.

    :arg origin: The new store, without ancestors.

    :arg refs: One for every key group of this worker.

    :arg memory: RocksDB's share of memory.

    :arg threads: How many files to fetch at once.

    :returns: The open table and what it began with.

    :raises SnapshotMissingError: If a manifest or file is gone.

    :raises SnapshotCorruptError: If an object is not what its manifest, or its digest, says.

    :raises StorageError: If the storage is out of reach, or the local disk is full or fails.

    """
    began = time.perf_counter()
    sources = find(catalog, origin.store.step, refs)
    for manifest in (source.manifest for source in sources):
        which = f"version {manifest.version} of store {manifest.store_id!r}"
        agree(origin.store.step.step_id, origin.states, manifest.states, which)
    base, *others = sources
    lineage = descend([source.manifest for source in sources], at)
    origin = replace(origin, ancestors=lineage.ancestors)
    _claim(catalog, origin, sources, at)
    with local_disk(live.parent):
        table, done = open_table(catalog, root, base.manifest, live, memory, threads)
        try:
            _clip(table, base)
            _report(base, done, time.perf_counter() - began)
            for number, source in enumerate(others):
                began = time.perf_counter()
                done = _ingest(catalog, root, source, live.parent / f"from-{number}", table, memory, threads)
                _report(source, done, time.perf_counter() - began)
            return Restored(
                table, {entry.local: entry for entry in base.manifest.files}, _rows(sources), origin, lineage
            )
        except BaseException:
            table.close()
            raise


def _rows(sources: Iterable[Source]) -> dict[int, int | None]:
    counted = ((source.groups, source.manifest.rows) for source in sources)
    return {group: None if rows is None else rows[group] for groups, rows in counted for group in groups}


def _claim(catalog: Catalog, origin: Origin, sources: Sequence[Source], at: datetime) -> None:
    """Claim all files of some manifests, and see that these are still there: then the files stay (see `sweep`).

    :raises SnapshotMissingError: If one of the manifests went meanwhile.

    """
    entries = {entry.path: entry for source in sources for entry in source.manifest.files}
    claim(catalog, origin, entries.values(), at)
    for name in (name_of(source.manifest) for source in sources):
        if catalog.storage.size(name) is None:
            msg = (
                f"{catalog.storage.url}/{name} was deleted while step {origin.store.step.step_id!r} was about to be "
                "restored from it: another run of this flow is under way, or the recovery directory is older than "
                "BYTEWAX_STATE_RETAIN_FOR; end the other run, and start again"
            )
            raise SnapshotMissingError(msg)


def assemble(catalog: Catalog, root: Path, manifest: Manifest, folder: Path, threads: int) -> Fetched:
    """Make a local folder that RocksDB can open, of the files of a manifest.

    :arg catalog: Where they are.

    :arg root: Local folder of all flows: a file that a frozen image of the store still has, and that is sound, is
        linked in place of fetched.

    :arg manifest: Which files.

    :arg folder: Made here.

    :arg threads: How many files to fetch at once.

    :returns: Where the bytes came from.

    :raises SnapshotMissingError: If a file is gone.

    :raises SnapshotCorruptError: If a file is not what the manifest says.

    :raises OSError: If the local disk is full or fails.

    """
    folder.mkdir(parents=True)
    copies = _copies(root, manifest)
    with ThreadPoolExecutor(threads, thread_name_prefix="bytewax-state-fetch") as pool:
        parts = list(
            pool.map(lambda entry: _obtain(catalog, manifest, entry, copies.get(entry.local), folder), manifest.files)
        )
    for name, data in manifest.inline.items():
        (folder / name).write_bytes(data)
    return Fetched(sum(part.linked_bytes for part in parts), sum(part.fetched_bytes for part in parts))


def open_table(
    catalog: Catalog, root: Path, manifest: Manifest, folder: Path, memory: Memory, threads: int
) -> tuple[Table, Fetched]:
    """Make a table of all that a manifest has: its files, and the rows that changed since they were frozen.

    :arg folder: Of the table; made here. Otherwise see `assemble`.

    :arg memory: RocksDB's share of memory.

    :returns: The table, open, and where the bytes of its files came from.

    """
    done = assemble(catalog, root, manifest, folder, threads)
    table = Table.open(folder, memory, create=False)
    try:
        table.write(manifest.changes.items())
    except BaseException:
        table.close()
        raise
    return table, done


def _copies(root: Path, manifest: Manifest) -> dict[str, Path]:
    """Find local copies of the files of a store, by their local names: no name is used twice in a store."""
    found: dict[str, Path] = {}
    for image in manifest.store.images(root):
        with suppress(OSError):  # its owner may be deleting it right now
            found |= {path.name: path for path in image.iterdir()}
    return found


def _obtain(catalog: Catalog, manifest: Manifest, entry: FileEntry, local: Path | None, folder: Path) -> Fetched:
    storage, target = catalog.storage, folder / entry.local
    name = f"{manifest.store.step.prefix}/{entry.path}"
    # The next manifest names a linked file as well, without an upload. So the file has to be in the storage too.
    if local is not None and storage.size(name) == entry.size and _link(local, entry, target):
        return Fetched(linked_bytes=entry.size)
    try:
        size, digest = _fetch(storage, name, entry, target)
    except FileNotFoundError as ex:
        msg = (
            f"{storage.url}/{name} is gone, which version {manifest.version} of store {manifest.store_id!r} of step "
            f"{manifest.step_id!r} needs; bring it back{_copy(local, entry)}, or resume from an older "
            f"copy of the recovery directory{alternatives(catalog, manifest.store, entry.path)}"
        )
        raise SnapshotMissingError(msg) from ex
    if size != entry.size or digest != entry.sha256:
        target.unlink()
        msg = (
            f"{storage.url}/{name} is damaged: found {size} bytes with SHA-256 {digest}, expected {entry.size} bytes "
            f"with {entry.sha256}; bring back a sound copy{_copy(local, entry)}, or resume from an "
            f"older copy of the recovery directory{alternatives(catalog, manifest.store, entry.path)}"
        )
        raise SnapshotCorruptError(msg)
    return Fetched(fetched_bytes=size)


def _fetch(storage: Storage, name: str, entry: FileEntry, target: Path) -> tuple[int, str]:
    """Fetch a file, and once more if it is not what it should be: it may have been damaged on its way."""
    found = 0, ""
    for _ in range(2):
        digest = storage.get_file(name, target)
        found = target.stat().st_size, digest
        if found == (entry.size, entry.sha256):
            return found
    return found


def _link(source: Path, entry: FileEntry, target: Path) -> bool:
    """Link a file of a frozen image, if it is there and sound; its owner may be deleting it right now."""
    try:
        os.link(source, target)
    except OSError:
        return False
    try:
        if target.stat().st_size == entry.size and hash_file(target) == entry.sha256:
            return True
        why: object = "its content is another"
    except OSError as ex:
        why = ex
    target.unlink()
    logger.warning("the local copy %s is damaged (%s); fetching it from the storage", source, why)
    return False


def _copy(local: Path | None, entry: FileEntry) -> str:
    """Say where a sound copy of a file is, if there is one in a frozen image."""
    with suppress(OSError):
        if local is not None and local.stat().st_size == entry.size and hash_file(local) == entry.sha256:
            return f" (such as {local})"
    return ""


def _clip(table: Table, source: Source) -> None:
    """Delete the rows of the groups that a manifest has and does not serve."""
    table.clip(group_range(group) for group in source.manifest.groups.keys() - set(source.groups))


def _ingest(
    catalog: Catalog, root: Path, source: Source, folder: Path, table: Table, memory: Memory, threads: int
) -> Fetched:
    other, done = open_table(catalog, root, source.manifest, folder / "table", memory, threads)
    try:
        table.ingest((row for group in source.groups for row in other.scan(*group_range(group))), folder)
    finally:
        other.close()
        shutil.rmtree(folder, ignore_errors=True)
    return done


def _report(source: Source, done: Fetched, seconds: float) -> None:
    manifest = source.manifest
    metrics.restored(manifest.step_id, len(source.groups), done.linked_bytes, done.fetched_bytes)
    logger.info(
        "restored step=%s groups=%d from=%s@%d linked_bytes=%d fetched_bytes=%d seconds=%.3f",
        *(manifest.step_id, len(source.groups), manifest.store_id, manifest.version),
        *(done.linked_bytes, done.fetched_bytes, seconds),
    )
