"""Sources: refs → the manifests that serve them.

Owns which manifest serves which ref, and what is said when none does. It does not own the files that a manifest names
(`restore`). Called by `restore`, and by those who ask what a recovery directory needs.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bytewax_state.errors import SnapshotError, SnapshotMissingError, StorageError
from bytewax_state.keygroups import HASH, NAMES_ID
from bytewax_state.snapshot.catalog import Catalog, StepListing
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.manifest import CLAIM, Manifest, check_compatible
from bytewax_state.snapshot.ref import Ref

logger = logging.getLogger("bytewax_state")


@dataclass(frozen=True, slots=True)
class Source:
    """A manifest, and the key groups that it serves."""

    manifest: Manifest
    groups: tuple[int, ...]


def serves(manifest: Manifest, ref: Ref) -> bool:
    """Tell whether a manifest holds the state that a ref names.

    :arg manifest: Of the ref's store.

    :returns: Whether it is the ref's version, or a later one in which the group had not changed since.

    """
    changed = manifest.groups.get(ref.group)
    if changed is None:
        return False
    return manifest.version == ref.version or (manifest.version > ref.version and changed <= ref.version)


def serving(step: StepListing, ref: Ref) -> list[Manifest]:
    """Choose the manifests that serve a ref.

    :arg step: What there is.

    :returns: Manifests, oldest first.

    """
    store = step.stores.get(ref.store_id)
    return [] if store is None else [manifest for manifest in store.manifests.values() if serves(manifest, ref)]


def find(catalog: Catalog, step: StepId, refs: Iterable[Ref]) -> list[Source]:
    """Find manifests that together serve all refs.

    :arg catalog: Where they are.

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
        for source in _serve(catalog, StoreId(step, store_id), wanted)
    ]
    return sorted(sources, key=lambda source: -len(source.groups))


def _serve(catalog: Catalog, store: StoreId, wanted: Sequence[Ref]) -> Iterator[Source]:
    # One run wrote all of a store, so if one ref of a store is signed, all of that store must be. Otherwise an attacker
    # could replace it by something unsigned while `KEY,none` accepts what earlier runs wrote without a key.
    catalog = catalog.strict() if any(ref.signed for ref in wanted) else catalog
    left = list(wanted)
    seen: list[int] = []
    unread: SnapshotError | None = None
    for version, is_enough in _candidates(catalog, store, wanted):
        try:
            manifest = catalog.read(store.manifest(version))
        except FileNotFoundError:
            continue
        except SnapshotError as ex:
            unread = unread or ex  # a later one may serve as well
            continue
        seen.append(version)
        check_compatible(manifest, wanted[0].key_groups, HASH, NAMES_ID)
        served = [ref for ref in left if serves(manifest, ref)]
        if served and is_enough(len(served)):
            left = [ref for ref in left if not serves(manifest, ref)]
            yield Source(manifest, tuple(sorted(ref.group for ref in served)))
        if not left:
            if unread is not None:
                logger.warning("%s; all that is needed is in other versions too", unread)
            return
    if unread is not None:
        msg = f"{unread}{alternatives(catalog, store, '')}"
        raise type(unread)(msg) from unread
    raise _missing(catalog, store, left[0], seen)


def _candidates(catalog: Catalog, store: StoreId, wanted: Sequence[Ref]) -> Iterator[tuple[int, Callable[[int], bool]]]:
    """Yield versions, the likeliest first, and tell of how many refs one has to serve some to be taken.

    The newest is best where it serves all: whoever still runs with that store deletes it last, and its files are the
    likeliest to be on the local disk. Where it does not, as its epoch did not commit, the exact ones are.
    """
    exact = sorted({ref.version for ref in wanted}, reverse=True)
    there = [version for version in reversed(catalog.versions(store)) if version >= exact[-1]]
    for version in there[:1]:
        yield version, lambda served: served == len(wanted)
    for version in dict.fromkeys([*exact, *there]):
        yield version, lambda served: True


def alternatives(catalog: Catalog, store: StoreId, path: str) -> str:
    """Say which versions of a store could serve an earlier epoch, when a file of one of them, or a manifest, is bad.

    :arg catalog: Where they are.

    :arg path: Of the bad file, below the step; empty for a manifest.

    :returns: End of a message; empty if there are none.

    """
    sound: dict[int, int] = {}
    with suppress(StorageError):
        for version in catalog.versions(store):
            with suppress(FileNotFoundError, SnapshotError):
                manifest = catalog.read(store.manifest(version))
                if version != CLAIM and all(entry.path != path for entry in manifest.files):
                    sound[version] = manifest.epoch
    if not sound:
        return ""
    versions, epochs = (", ".join(map(str, numbers)) for numbers in (sound, sorted(set(sound.values()))))
    return (
        f". Of the store {store.store_id!r}, versions {versions} do not need it: a copy of the recovery directory as "
        f"it was after one of the epochs {epochs} can be resumed from"
    )


def _missing(catalog: Catalog, store: StoreId, ref: Ref, seen: Sequence[int]) -> SnapshotMissingError:
    there = f"versions {sorted(set(seen))}, none of which holds that" if seen else "no manifest of that store"
    msg = (
        f"the state of key group {ref.group} of step {store.step.step_id!r} is gone: it is in version {ref.version} of "
        f"store {store.store_id!r}, and {catalog.storage.url} has {there}. Check BYTEWAX_STATE_URI, or bring back an "
        "older copy of the recovery directory together with its snapshots; to start without the state, use an empty "
        "recovery directory"
    )
    return SnapshotMissingError(msg)
