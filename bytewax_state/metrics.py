"""Every metric's name, and the functions that record it.

Owns the names, labels and units, in the default registry of `prometheus_client`, which Bytewax serves on `/metrics`.
It does not own when something counts. Called by `publish`, `restore` and the execution of a step.
"""

from typing import Protocol, TypeVar

from prometheus_client import REGISTRY, Counter, Histogram

PREFIX = "bytewax_state_"

PHASES = ("flush", "freeze", "hash", "upload", "publish")
"""Parts of a snapshot, in their order; each is an attribute of a manifest's `stats.seconds`."""

ORIGINS = ("linked", "fetched")
"""Where restored bytes came from: the local disk, or the storage."""

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)

_Metric = TypeVar("_Metric", Counter, Histogram)


def _known(name: str, metric: type[_Metric]) -> _Metric | None:
    """Find a metric that this module registered before it was imported again: the registry takes a name only once."""
    found = REGISTRY._names_to_collectors.get(name)
    # By name: if the module of a class was imported again since, the class is another object.
    return found if type(found).__name__ == metric.__name__ else None  # type: ignore[return-value]


def _counter(name: str, prose: str, *labels: str) -> Counter:
    name = f"{PREFIX}{name}"
    return _known(name, Counter) or Counter(name, prose, ("step_id", *labels))


def _histogram(name: str, prose: str, *labels: str) -> Histogram:
    name = f"{PREFIX}{name}"
    return _known(name, Histogram) or Histogram(name, prose, ("step_id", *labels), buckets=_SECONDS)


SNAPSHOTS_PUBLISHED = _counter("snapshots_published_total", "Versions published")
UPLOADED_BYTES = _counter("uploaded_bytes_total", "Bytes uploaded for snapshots: files, manifests and claims")
MANIFEST_BYTES = _counter("manifest_bytes_total", "Bytes of manifests and claims, which are among those uploaded")
REUSED_BYTES = _counter("reused_bytes_total", "Bytes of files that snapshots named without uploading them again")
SNAPSHOT_SECONDS = _histogram("snapshot_seconds", "Seconds that a phase of a snapshot took", "phase")
RESTORED_BYTES = _counter("restored_bytes_total", "Bytes of files restored, linked locally or fetched", "origin")
RESTORED_GROUPS = _counter("restored_groups_total", "Key groups restored")
SPILLED_ENTRIES = _counter("spilled_entries_total", "Objects that left the cache of a RocksDB store for its table")
TABLE_MISSES = _counter("table_misses_total", "Keys that were not in the cache, so the table was asked for them")


class SnapshotSeconds(Protocol):
    """How long each phase of a snapshot took."""

    @property
    def flush(self) -> float:
        """Writing the changed rows to the table."""

    @property
    def freeze(self) -> float:
        """Making the frozen image."""

    @property
    def hash(self) -> float:
        """Digesting the new files."""

    @property
    def upload(self) -> float:
        """Sending them."""

    @property
    def publish(self) -> float:
        """All that follows the freeze."""


class SnapshotStats(Protocol):
    """What a published version cost."""

    @property
    def uploaded_bytes(self) -> int:
        """Bytes of the new files."""

    @property
    def reused_bytes(self) -> int:
        """Bytes of the files that were durable already."""

    @property
    def manifest_bytes(self) -> int:
        """Bytes of the manifest itself."""

    @property
    def seconds(self) -> SnapshotSeconds:
        """By phase."""


def claimed(step_id: str, stats: SnapshotStats) -> None:
    """Record a claim, which is a manifest too.

    :arg step_id: Full id of the core step.

    :arg stats: What it cost.

    """
    _uploaded(step_id, stats)


def published(step_id: str, stats: SnapshotStats) -> None:
    """Record a published version.

    :arg step_id: Full id of the core step.

    :arg stats: What it cost.

    """
    SNAPSHOTS_PUBLISHED.labels(step_id).inc()
    _uploaded(step_id, stats)
    REUSED_BYTES.labels(step_id).inc(stats.reused_bytes)
    for phase in PHASES:
        SNAPSHOT_SECONDS.labels(step_id, phase).observe(getattr(stats.seconds, phase))


def _uploaded(step_id: str, stats: SnapshotStats) -> None:
    UPLOADED_BYTES.labels(step_id).inc(stats.uploaded_bytes + stats.manifest_bytes)
    MANIFEST_BYTES.labels(step_id).inc(stats.manifest_bytes)


def restored(step_id: str, groups: int, linked_bytes: int, fetched_bytes: int) -> None:
    """Record that key groups were restored from a version.

    :arg step_id: Full id of the core step.

    :arg groups: How many key groups.

    :arg linked_bytes: Bytes of files that were on the local disk.

    :arg fetched_bytes: Bytes of files that came from the storage.

    """
    RESTORED_GROUPS.labels(step_id).inc(groups)
    RESTORED_BYTES.labels(step_id, "linked").inc(linked_bytes)
    RESTORED_BYTES.labels(step_id, "fetched").inc(fetched_bytes)


def spilled(step_id: str, entries: int) -> None:
    """Record that objects left memory for the table.

    :arg step_id: Full id of the core step.

    :arg entries: How many objects.

    """
    SPILLED_ENTRIES.labels(step_id).inc(entries)


def missed(step_id: str, keys: int) -> None:
    """Record that the table was asked for keys that were not in memory.

    :arg step_id: Full id of the core step.

    :arg keys: How many keys.

    """
    TABLE_MISSES.labels(step_id).inc(keys)
