"""Publish: frozen image → plan → uploads → manifest; of a version without an image, the manifest alone.

Owns what is uploaded (only files that no manifest of this store names yet) and in which order (the manifest last, so
that what no manifest names does not exist). It does not own the freeze, nor when a version may go (`retention`).
Called by `versions`, for every version, and by `opening` and `restore` for the claim.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bytewax_state import metrics
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import StoreId, file_path
from bytewax_state.snapshot.manifest import CLAIM, FileEntry, Manifest, Seconds, Stats
from bytewax_state.snapshot.origin import Origin
from bytewax_state.storage.local import hash_file, local_disk
from bytewax_state.storage.storage import Storage
from bytewax_state.store.store import Frozen

logger = logging.getLogger("bytewax_state")


@dataclass(frozen=True, slots=True)
class Plan:
    """What publishing a frozen image takes."""

    new: tuple[Path, ...]
    """To be uploaded."""
    reused: tuple[FileEntry, ...]
    inline: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Durable:
    """What the next version of a store can build on."""

    files: Mapping[str, FileEntry]
    """Local name to entry, of the files that the newest manifest of this store, or what it was restored from, names.
    RocksDB never uses a file number twice within a table, so the local name tells."""
    inline: Mapping[str, bytes] = field(default_factory=dict)
    """The small mutable files of the last image, if this store has made one."""


def plan(image: Path | None, durable: Durable) -> Plan:
    """Choose what to upload.

    :arg image: Folder of a frozen image; `None`: the version has none of its own.

    :arg durable: What the version before left.

    :raises StorageError: If the image cannot be read.

    """
    if image is None:
        return Plan((), tuple(durable.files.values()), durable.inline)
    with local_disk(image):
        tables = sorted(image.glob("*.sst"))
        return Plan(
            new=tuple(path for path in tables if path.name not in durable.files),
            reused=tuple(durable.files[path.name] for path in tables if path.name in durable.files),
            inline={path.name: path.read_bytes() for path in sorted(image.iterdir()) if _is_inline(path)},
        )


def _is_inline(path: Path) -> bool:
    """Tell whether a restore needs a file, as part of the manifest.

    Not RocksDB's empty log, nor its record of the options: a table is opened with options of our own, and RocksDB looks
    at the record only if it is asked to.
    """
    return path.suffix not in {".sst", ".log"} and not path.name.startswith("OPTIONS-")


def claim(catalog: Catalog, origin: Origin, files: Iterable[FileEntry], at: datetime) -> None:
    """Write version 0 of a store: from here on, retention elsewhere sees that its files are wanted.

    :arg origin: The new store.

    :arg files: What it is about to read, and to inherit.

    :raises StorageError: If the storage cannot be written.

    """
    nothing = Stats(
        rows=0,
        live_bytes=0,
        changed_bytes=0,
        uploaded_bytes=0,
        uploaded_files=0,
        reused_bytes=0,
        reused_files=0,
        seconds=Seconds(0, 0, 0, 0, 0),
    )
    claimed = origin.manifest(
        CLAIM, at, epoch=0, groups={}, rows={}, files=tuple(files), inline={}, changes={}, stats=nothing
    )
    metrics.claimed(claimed.step_id, catalog.write(claimed).stats)


def publish(
    catalog: Catalog,
    origin: Origin,
    frozen: Frozen,
    todo: Plan,
    ahead: Mapping[str, "Sent"],
    early: Sequence["Sent"],
    epoch: int,
    at: datetime,
    threads: int,
) -> Manifest:
    """Make a version durable.

    :arg origin: The store.

    :arg frozen: The version.

    :arg todo: What that takes.

    :arg ahead: Local name to what was uploaded already, and no manifest names yet.

    :arg early: What was uploaded ahead since the version before, be it of use or not.

    :arg epoch: Newest epoch whose items the version has seen.

    :arg threads: How many files to upload at once.

    :returns: The manifest that was written.

    :raises StorageError: If something cannot be written, or read from the local disk, for good. Nothing was published
        then.

    """
    began = time.perf_counter()
    # A file that only seemed to be finished has grown since. Its name is taken then, so the run ends with a conflict.
    found = {path: ahead[path.name] for path in todo.new if path.name in ahead and _is_whole(path, ahead[path.name])}
    now = _upload(catalog.storage, origin.store, [path for path in todo.new if path not in found], threads)
    files = (*(one.entry for one in (*found.values(), *now)), *todo.reused)
    sent = (*early, *now)
    stats = Stats(
        rows=sum(frozen.rows.values()),
        live_bytes=sum(entry.size for entry in files),
        changed_bytes=frozen.changed_bytes,
        uploaded_bytes=sum(one.entry.size for one in sent),
        uploaded_files=len(sent),
        reused_bytes=sum(entry.size for entry in todo.reused),
        reused_files=len(todo.reused),
        seconds=Seconds(
            flush=frozen.flush_seconds,
            freeze=frozen.freeze_seconds,
            hash=sum(one.hash_seconds for one in sent),
            upload=sum(one.upload_seconds for one in sent),
            publish=time.perf_counter() - began,
        ),
    )
    manifest = catalog.write(
        origin.manifest(
            frozen.version,
            at,
            epoch=epoch,
            groups=frozen.groups,
            rows=frozen.rows,
            files=files,
            inline=todo.inline,
            changes=frozen.changes,
            stats=stats,
        )
    )
    _report(manifest)
    return manifest


def _is_whole(path: Path, sent: "Sent") -> bool:
    return path.stat().st_size == sent.entry.size


def _upload(storage: Storage, store: StoreId, files: Sequence[Path], threads: int) -> list["Sent"]:
    if len(files) < 2:
        # The thread of a pool would take as long to start as a small file to upload.
        return [send(storage, store, path) for path in files]
    with ThreadPoolExecutor(threads, thread_name_prefix="bytewax-state-upload") as pool:
        return list(pool.map(lambda path: send(storage, store, path), files))


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that was uploaded."""

    entry: FileEntry
    hash_seconds: float
    upload_seconds: float


def send(storage: Storage, store: StoreId, path: Path) -> Sent:
    """Upload a file.

    :arg store: Whose it is.

    :arg path: Local file, under its local name.

    :raises StorageError: If it cannot be read or written, for good.

    """
    began = time.perf_counter()
    with local_disk(path):
        digest = hash_file(path)
        hashed = time.perf_counter()
        storage.put_file(path, store.file(path.name))
        below = file_path(store.store_id, path.name)
        entry = FileEntry(local=path.name, path=below, size=path.stat().st_size, sha256=digest)
    return Sent(entry, hashed - began, time.perf_counter() - hashed)


def _report(manifest: Manifest) -> None:
    stats, seconds = manifest.stats, manifest.stats.seconds
    metrics.published(manifest.step_id, stats)
    logger.info(
        "published step=%s store=%s version=%d epoch=%d rows=%d live_bytes=%d changed_bytes=%d uploaded_bytes=%d "
        "uploaded_files=%d reused_bytes=%d reused_files=%d manifest_bytes=%d "
        "flush=%.3f freeze=%.3f hash=%.3f upload=%.3f publish=%.3f",
        *(manifest.step_id, manifest.store_id, manifest.version, manifest.epoch),
        *(stats.rows, stats.live_bytes, stats.changed_bytes, stats.uploaded_bytes, stats.uploaded_files),
        *(stats.reused_bytes, stats.reused_files, stats.manifest_bytes),
        *(seconds.flush, seconds.freeze, seconds.hash, seconds.upload, seconds.publish),
    )
