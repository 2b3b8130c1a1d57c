"""Cleanup: what may go of whole flows, planned for all their steps before anything of the first one goes.

Owns whose steps are judged by which recovery partitions, and that all of them wait for one grace period. It does not
own what is garbage of a step (`garbage`). Called by `bytewax-state gc`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bytewax_state.admin import garbage
from bytewax_state.admin.garbage import Plan
from bytewax_state.admin.survey import Roots, Survey, read_roots
from bytewax_state.errors import SnapshotMissingError, UsageError
from bytewax_state.snapshot.catalog import Catalog, StepListing
from bytewax_state.snapshot.layout import component, is_of
from bytewax_state.snapshot.manifest import name_of


@dataclass(frozen=True, slots=True)
class Garbage:
    """What may go of a step, or went."""

    plan: Plan
    sizes: Mapping[str, int | None]
    """Bytes of each manifest and file; `None` if it is gone already."""

    @property
    def bytes(self) -> int:
        """Bytes of all manifests and files."""
        return sum(self.sizes[name] or 0 for name in (*self.plan.manifests, *self.plan.files))


def plan(
    survey: Survey, folders: Iterable[Path], flow: str | None, min_age: timedelta, now: Callable[[], datetime]
) -> list[Garbage]:
    """Plan what may go of the flow that recovery partitions belong to.

    :arg survey: Of the storage.

    :arg folders: Folders that together hold all recovery partitions.

    :arg flow: The flow, where these do not tell.

    :arg min_age: See `garbage.plan`.

    :arg now: Tells the time.

    :returns: By step; a step without roots goes whole, and one without garbage is left out.

    :raises UsageError: If a partition is missing, or they are another flow's, or do not tell whose.

    :raises SnapshotError: If a ref or a manifest cannot be read, or nothing serves a ref.

    :raises StorageError: If the storage cannot be read.

    """
    folders = list(folders)

    def look() -> list[Garbage]:
        at = now()  # before anything is read; see `survey`
        roots = read_roots(folders, survey.keys)
        return _plan(survey, roots, _flows(roots, flow), min_age, at)

    try:
        return look()
    except SnapshotMissingError:
        # A flow that runs may have deleted, between two looks, what it had just superseded.
        return look()


def delete(catalog: Catalog, todo: Sequence[Garbage], wait: Callable[[], object]) -> list[Garbage]:
    """Delete what was planned.

    :arg catalog: Where.

    :arg todo: What goes.

    :arg wait: Waits for the grace period.

    :returns: What was deleted, by step.

    :raises SnapshotCorruptError: If a manifest cannot be read after the grace period.

    :raises StorageError: If something cannot be deleted.

    """
    for one in todo:
        garbage.delete_manifests(catalog, one.plan)
    wait()
    return [Garbage(garbage.delete_files(catalog, one.plan), one.sizes) for one in todo]


def _flows(roots: Roots, flow: str | None) -> Collection[str]:
    if not roots.flows and flow is None:
        msg = (
            "nothing in the recovery directory tells which flow it belongs to, so nothing of any flow is needed by it; "
            "if it is the right one, name the flow with --flow, and all its snapshots are garbage"
        )
        raise UsageError(msg)
    if roots.flows and flow is not None and flow not in roots.flows:
        msg = f"the recovery directory belongs to {', '.join(map(repr, roots.flows))}, so not to the flow {flow!r}"
        raise UsageError(msg)
    return roots.flows if flow is None else [flow]


def _plan(survey: Survey, roots: Roots, flows: Collection[str], min_age: timedelta, now: datetime) -> list[Garbage]:
    for why in roots.unreadable.values():
        raise why[0]
    wanted = {prefix for prefix in roots.needed if is_of(prefix, flows)}
    prefixes = wanted.union(survey.catalog.steps(map(component, flows)))
    steps = [survey.catalog.step(prefix) for prefix in sorted(prefixes)]
    plans = [(step, garbage.plan(step, roots.of(step), min_age, now)) for step in steps]
    return [Garbage(todo, _sizes(survey, step, todo)) for step, todo in plans if todo]


def _sizes(survey: Survey, step: StepListing, todo: Plan) -> dict[str, int | None]:
    """Tell the sizes of what goes; of files that a manifest names, it tells."""
    told: dict[str, int | None] = {name: entry.size for name, entry in step.named().items()}
    told |= {name_of(manifest): manifest.stats.manifest_bytes for manifest in step.manifests()}
    return told | survey.ask([name for name in todo.files if name not in told], survey.storage.size)
