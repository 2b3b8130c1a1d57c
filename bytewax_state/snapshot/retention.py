"""Retention: plan what may go (pure), then delete.

Owns when a version of a store, and a file that it wrote, is no longer wanted. It does not own other stores' past, nor
which epoch Bytewax resumes from: it keeps what any epoch within the retention needs.
Called by the worker's step after each version that it published.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bytewax_state.snapshot.layout import manifest_name, step_prefix
from bytewax_state.snapshot.manifest import Manifest
from bytewax_state.snapshot.storage import Storage


@dataclass(frozen=True, slots=True)
class Published:
    """A version of the own store, as far as retention cares."""

    version: int
    own_files: frozenset[str]
    """Paths below the step of the files that this store wrote."""
    superseded_at: datetime | None = None
    """When a newer version was known to be committed in the whole cluster."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What may go: versions, oldest first, and then files."""

    versions: tuple[int, ...]
    files: tuple[str, ...]


def published(manifest: Manifest) -> Published:
    """Note a version.

    :arg manifest: As it was written.

    :returns: The version.

    """
    own = f"{manifest.store_id}/"
    return Published(manifest.version, frozenset(entry.path for entry in manifest.files if entry.path.startswith(own)))


def note_freeze(past: Sequence[Published], version: int, now: datetime) -> list[Published]:
    """Draw the conclusion from a freeze: items of an epoch come only after the one before is written everywhere.

    :arg past: Versions that are published, rising.

    :arg version: The one that was just frozen; the one before it is thereby committed.

    :arg now: Current time.

    :returns: The versions, those older than the committed one being superseded.

    """
    committed = version - 1
    return [
        replace(one, superseded_at=now) if one.version < committed and one.superseded_at is None else one
        for one in past
    ]


def plan(past: Sequence[Published], keep: int, retain_for: timedelta, now: datetime) -> Plan:
    """Choose what may go.

    :arg past: Versions that are published, rising; none of them being written right now.

    :arg keep: How many of the newest stay in any case.

    :arg retain_for: How long a version stays after it was superseded.

    :arg now: Current time.

    :returns: The plan.

    """
    old = past[: max(0, len(past) - keep)]
    gone = [one for one in old if one.superseded_at is not None and one.superseded_at + retain_for <= now]
    stay = {path for one in past if one not in gone for path in one.own_files}
    files = {path for one in gone for path in one.own_files} - stay
    return Plan(tuple(one.version for one in gone), tuple(sorted(files)))


def execute(storage: Storage, flow_id: str, step_id: str, store_id: str, todo: Plan) -> None:
    """Delete what a plan says: the manifests first, oldest first, so that none names a file that is gone.

    :arg storage: Where.

    :arg flow_id: Flow.

    :arg step_id: Full id of the core step.

    :arg store_id: The own store.

    :arg todo: The plan.

    :raises StorageError: If something cannot be deleted.

    """
    for version in todo.versions:
        storage.delete([manifest_name(flow_id, step_id, store_id, version)])
    storage.delete([f"{step_prefix(flow_id, step_id)}/{path}" for path in todo.files])
