"""Garbage: what nobody can resume from any more, seen from outside and with the recovery directory in hand.

Owns what is reachable from the refs in Bytewax's recovery partitions, and deletes the rest in the order of `retention`.
It does not own what a running execution deletes of its own accord. Called by `bytewax-state gc`.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bytewax_state.errors import SnapshotMissingError
from bytewax_state.snapshot.catalog import Catalog, Shelf, StepListing
from bytewax_state.snapshot.layout import store_time
from bytewax_state.snapshot.manifest import Manifest, name_of
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.restore import serves


@dataclass(frozen=True, slots=True)
class Plan:
    """What may go of one step."""

    prefix: str
    """Folder of the step in the storage."""
    manifests: tuple[str, ...]
    """Names of objects, oldest first."""
    files: tuple[str, ...]
    """Names of objects."""

    def __bool__(self) -> bool:
        """Tell whether anything may go."""
        return bool(self.manifests or self.files)


def plan(step: StepListing, refs: Collection[Ref], min_age: timedelta, now: datetime) -> Plan:
    """Choose what may go of one step.

    What stays: for each ref the manifest that serves it; of a store with such a one, the newest manifest too, as its
    execution may be running; all of a store that wrote a manifest within `min_age`, or is newer than all that the refs
    name, and of its ancestors; and every file that one of these names. Files that no manifest ever named, as of an
    upload that was cut short, stay too in a store that a ref names, as they may belong to an upload that is under way.
    With a `min_age` of zero nothing runs, so neither these nor newer stores are spared.

    :arg step: What there is.

    :arg refs: All refs of the step in the recovery partitions.

    :arg min_age: How old the newest manifest of a store has to be; zero says that nothing runs.

    :arg now: Current time.

    :returns: The plan.

    :raises SnapshotCorruptError: If a manifest cannot be read: it may name anything.

    :raises SnapshotMissingError: If a ref cannot be served, as then this is not the storage of these partitions, or
        something is wrong that must not become worse.

    :raises StorageError: If manifests were being deleted all the time.

    """
    _check(step, "nothing")
    served = {(one.store_id, one.version) for one in _serving(step, refs)}
    running = {store_id for store_id, _ in served}
    young = {store_id for store_id, shelf in step.stores.items() if _is_young(shelf, min_age, now)}
    if min_age and running:
        # Begun after the last one that committed: its first upload may take longer than that.
        young.update(store_id for store_id in step.stores if store_id > max(running))
    spared = young.union(*(step.stores[store_id].ancestors for store_id in young))

    def stays(manifest: Manifest) -> bool:
        at = manifest.store_id, manifest.version
        newest = manifest.store_id in running and manifest is step.stores[manifest.store_id].newest
        return at in served or newest or manifest.store_id in spared

    stay = [one for one in step.manifests() if stays(one)]
    go = [one for one in step.manifests() if not stays(one)]
    named = {entry.path for one in stay for entry in one.files}
    once = {entry.path for one in go for entry in one.files}
    files = [
        f"{step.prefix}/{path}"
        for store_id, shelf in step.stores.items()
        for path in shelf.files
        if path not in named
        and store_id not in spared
        and (path in once or store_id not in running or min_age == timedelta(0))
    ]
    return Plan(step.prefix, tuple(name_of(one) for one in go), tuple(files))


def delete_manifests(catalog: Catalog, todo: Plan) -> None:
    """Begin to do what a plan says. The rest comes after the grace period: `delete_files`.

    :arg catalog: Where.

    :arg todo: The plan.

    :raises StorageError: If a manifest cannot be deleted; those behind it stay then.

    """
    for name in todo.manifests:
        catalog.storage.delete([name])


def delete_files(catalog: Catalog, todo: Plan) -> Plan:
    """Delete the files that still nobody names.

    :arg catalog: Where.

    :arg todo: The plan.

    :returns: What was deleted of it, with the manifests.

    :raises SnapshotCorruptError: If a manifest cannot be read; files stay then.

    :raises StorageError: If something cannot be deleted, or manifests were being deleted all the time.

    """
    step = catalog.step(todo.prefix)
    _check(step, "no file")
    named = step.named()
    files = tuple(name for name in todo.files if name not in named)
    catalog.storage.delete(files)
    return Plan(todo.prefix, todo.manifests, files)


def _check(step: StepListing, what: str) -> None:
    doubt = step.doubt()
    if doubt is not None:
        msg = f"{what} of {step.prefix} is deleted, as {doubt}"
        raise type(doubt)(msg)


def _serving(step: StepListing, refs: Collection[Ref]) -> Iterator[Manifest]:
    """Visit, for each ref, the oldest manifest that serves it."""
    for ref in refs:
        shelf = step.stores.get(ref.store_id)
        served = [one for one in shelf.manifests.values() if serves(one, ref)] if shelf else []
        if not served:
            msg = (
                f"nothing of {step.prefix} is deleted: the recovery directory needs version {ref.version} of store "
                f"{ref.store_id!r}, which is not there; check that it and BYTEWAX_STATE_URI belong together"
            )
            raise SnapshotMissingError(msg)
        yield served[0]


def _is_young(shelf: Shelf, min_age: timedelta, now: datetime) -> bool:
    newest = shelf.newest
    at = store_time(shelf.store_id) if newest is None else newest.created_at
    # A clock that is ahead of ours makes a store young.
    return at is not None and now - at < min_age
