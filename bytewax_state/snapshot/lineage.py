"""Lineage: which stores a store goes on from, and which stores go on from it.

Owns what can be told of other stores by whom they descend from: which ones died early, which one took over. All of it
is pure. It does not own what is deleted then (`retention`). Called by `restore` and by `retention`.

    elders ── parents ── this store ── successor
                └─────── rival, which began where this store began

A store is restored from its parents. What these had been restored from are its elders. Both are its ancestors.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from bytewax_state.snapshot.catalog import StepListing, StoreListing
from bytewax_state.snapshot.manifest import CLAIM, Manifest


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a store goes on from."""

    ancestors: tuple[str, ...] = ()
    """Every store of which files may still be inherited, transitively."""
    elders: frozenset[str] = frozenset()
    """The ancestors of the parents. There was something of the parents to restore from, which shows that these had
    committed, so that nobody needs the elders any more."""
    parents_committed_at: datetime | None = None
    """When that had happened, at the latest."""


def descend(parents: Sequence[Manifest], at: datetime) -> Lineage:
    """Name the ancestors of a new store.

    :arg parents: What it is restored from.

    """
    known = {parent.store_id for parent in parents}
    elders = {ancestor for parent in parents for ancestor in parent.ancestors} - known
    # The second version of a store proves that its first one was committed by then. When the first one was committed,
    # nobody noted, so of a parent with one version it is only known that it is committed now.
    parents_committed_at = max(parent.created_at if parent.version > 1 else at for parent in parents)
    return Lineage(tuple(sorted(known | elders)), frozenset(elders), parents_committed_at)


def successor(step: StepListing, own: Manifest, since: datetime) -> str | None:
    """Find a store that goes on from this one, or from where this one began: this one was taken for dead.

    A store that has claimed, and published nothing for long, died, or was started by mistake: it is none.

    :arg step: What there is.

    :arg own: Any manifest of this store.

    :arg since: How old a claim may be.

    :returns: Its id, if there is one.

    """
    for store_id, store in step.stores.items():
        goes_on = own.store_id in store.ancestors or _is_rival(store, own)
        if goes_on and (store.versions[-1] != CLAIM or store.manifests[CLAIM].created_at > since):
            return store_id
    return None


def _is_rival(store: StoreListing, own: Manifest) -> bool:
    """Tell whether a store is of a younger execution that began where this one began.

    Workers of one execution agree on `worker_count`, and differ in `worker_index`. A younger store with an ancestor of
    this one that breaks either rule is of another execution.
    """
    oldest = store.oldest
    if oldest is None or store.store_id <= own.store_id or store.ancestors.isdisjoint(own.ancestors):
        return False
    return oldest.worker_count != own.worker_count or oldest.worker_index == own.worker_index


def died_early(step: StepListing, own: Manifest) -> list[str]:
    """Find the stores of executions that died before they published anything.

    They began where this execution began, before it did. Whoever has published may have committed, and stays. One that
    has files and not even a claim was found to be dead before: its claim was deleted, so it can publish no more.

    :arg step: What there is.

    :arg own: Newest manifest of this store.

    :returns: Store ids, oldest first.

    """
    return [
        store_id
        for store_id, store in step.stores.items()
        if store_id < own.store_id and store_id not in own.ancestors and _died_early(store, own)
    ]


def _died_early(store: StoreListing, own: Manifest) -> bool:
    if not store.versions:
        return True
    related = own.store_id not in store.ancestors and not store.ancestors.isdisjoint(own.ancestors)
    return store.versions == (CLAIM,) and related


def orphaned(step: StepListing, own: Manifest, elders: Collection[str]) -> list[str]:
    """Find the stores of executions that died before they published anything, and began where only elders were.

    Another worker of this execution may have published nothing yet either, but it descends from the parents too.

    :arg step: What there is.

    :arg own: Newest manifest of this store.

    :arg elders: Stores that are about to go.

    :returns: Store ids, oldest first.

    """
    return [
        store_id
        for store_id, store in step.stores.items()
        if store_id < own.store_id and store.versions == (CLAIM,) and store.ancestors and store.ancestors <= set(elders)
    ]
