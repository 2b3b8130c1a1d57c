"""Garbage: what nobody can resume from any more, seen from outside and with the recovery directory in hand.

Owns what is reachable from the refs in Bytewax's recovery partitions, and that all steps of a flow are planned before
anything of the first one goes, and wait for one grace period. It does not own the order of deletion (`sweep`), nor what
a running execution deletes of its own accord (`retention`). Called by `bytewax-state gc`, and by `verify`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bytewax_state.admin.roots import Roots, read_roots
from bytewax_state.admin.survey import Survey
from bytewax_state.errors import SnapshotMissingError, UsageError
from bytewax_state.snapshot.catalog import Catalog, StepListing, StoreListing
from bytewax_state.snapshot.layout import component, is_of, store_time
from bytewax_state.snapshot.manifest import Manifest, name_of
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.sources import serving
from bytewax_state.snapshot.sweep import Sweep, check_certain


@dataclass(frozen=True, slots=True)
class Garbage:
    """What may go of a step, or went."""

    plan: Sweep
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

    :arg min_age: See `plan_step`.

    :arg now: Tells the time.

    :returns: By step; a step without roots goes whole, and one without garbage is left out.

    :raises UsageError: If a partition is missing, or they are another flow's, or do not tell whose.

    :raises SnapshotError: If a ref or a manifest cannot be read, or nothing serves a ref.

    :raises StorageError: If the storage cannot be read.

    """
    folders = list(folders)

    def look() -> list[Garbage]:
        at = now()  # before anything is read; see `verify`
        roots = read_roots(folders, survey.keys)
        return _plan(survey, roots, _flows(roots, flow), min_age, at)

    try:
        return look()
    except SnapshotMissingError:
        # Between the two looks, at the partitions and at the storage, a flow that runs may have superseded and deleted
        # what the refs named. Its newer refs are in the partitions by now.
        return look()


def delete(catalog: Catalog, todo: Sequence[Garbage], wait: Callable[[], object]) -> list[Garbage]:
    """Delete what was planned.

    :arg todo: What goes.

    :arg wait: Waits for the grace period.

    :returns: What was deleted, by step.

    :raises SnapshotCorruptError: If a manifest cannot be read after the grace period.

    :raises StorageError: If something cannot be deleted.

    """
    for one in todo:
        one.plan.begin(catalog.storage)
    wait()
    looks = ((one, catalog.step(one.plan.prefix)) for one in todo)
    return [Garbage(one.plan.finish(catalog.storage, step), one.sizes) for one, step in looks]


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
    plans = [(step, plan_step(step, roots.of(step), min_age, now)) for step in steps]
    return [Garbage(todo, _sizes(survey, step, todo)) for step, todo in plans if todo]


def _sizes(survey: Survey, step: StepListing, todo: Sweep) -> dict[str, int | None]:
    """Tell the sizes of what goes; of files that a manifest names, it tells."""
    told: dict[str, int | None] = {name: entry.size for name, entry in step.named().items()}
    told |= {name_of(manifest): manifest.stats.manifest_bytes for manifest in step.manifests()}
    return told | survey.ask([name for name in todo.files if name not in told], survey.storage.size)


def plan_step(step: StepListing, refs: Collection[Ref], min_age: timedelta, now: datetime) -> Sweep:
    """Choose what may go of one step.

    What stays:

    - of each ref, the oldest manifest that serves it;
    - of a store that a ref names, the newest manifest: its execution may be running, and go on from there;
    - of a store that wrote a manifest within `min_age`, or is newer than all that the refs name, everything, and also
      of its ancestors: its execution may be about to commit;
    - every file that a manifest names which stays; and of a store that a ref names, the files that no manifest ever
      named: they may belong to an upload that is under way, or to one that was cut short.

    With a `min_age` of zero nothing runs, so nothing is spared for what may be under way.

    :arg step: What there is.

    :arg refs: All refs of the step in the recovery partitions.

    :arg min_age: How old the newest manifest of a store has to be; zero says that nothing runs.

    :raises SnapshotCorruptError: If a manifest cannot be read: it may name anything.

    :raises SnapshotMissingError: If a ref cannot be served, as then this is not the storage of these partitions, or
        something is wrong that must not become worse.

    :raises StorageError: If manifests were being deleted all the time.

    """
    check_certain(step, "nothing")
    served = {(one.store_id, one.version) for one in _serving(step, refs)}
    running = {store_id for store_id, _ in served}
    young = {store_id for store_id, store in step.stores.items() if _is_young(store, min_age, now)}
    if min_age and running:
        # A store that began after the last one that committed may be at its first upload, however long that takes.
        young.update(store_id for store_id in step.stores if store_id > max(running))
    spared = young.union(*(step.stores[store_id].ancestors for store_id in young))

    def stays(manifest: Manifest) -> bool:
        at = manifest.store_id, manifest.version
        newest = manifest.store_id in running and manifest is step.stores[manifest.store_id].newest
        return at in served or newest or manifest.store_id in spared

    named, ever = step.named(stays), step.named()
    files = [
        name
        for store_id, store in step.stores.items()
        for name in store.files
        if name not in named
        and store_id not in spared
        and (name in ever or store_id not in running or min_age == timedelta(0))
    ]
    return Sweep(step.prefix, tuple(name_of(one) for one in step.manifests() if not stays(one)), tuple(files))


def _serving(step: StepListing, refs: Collection[Ref]) -> Iterator[Manifest]:
    """Visit, for each ref, the oldest manifest that serves it."""
    for ref in refs:
        served = serving(step, ref)
        if not served:
            msg = (
                f"nothing of {step.prefix} is deleted: the recovery directory needs version {ref.version} of store "
                f"{ref.store_id!r}, which is not there; check that it and BYTEWAX_STATE_URI belong together"
            )
            raise SnapshotMissingError(msg)
        yield served[0]


def _is_young(store: StoreListing, min_age: timedelta, now: datetime) -> bool:
    newest = store.newest
    at = store_time(store.store_id) if newest is None else newest.created_at
    # Clocks differ, so a store may be dated in the future. It counts as young.
    return at is not None and now - at < min_age
