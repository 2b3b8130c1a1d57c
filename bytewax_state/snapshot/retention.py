"""Retention: plan what may go (pure), then delete, so that nothing which can be resumed from ever goes.

Owns when a version, and a file, is no longer wanted by the execution that runs, and the order of deletion: manifests,
a grace period, a second look, files. It does not own what is garbage to somebody who looks from outside (`garbage`).
Called by the versions of a store, after each one that is published.

Why the order is safe, whoever restores meanwhile: a restore reads a manifest, writes its claim, and then looks whether
the manifest is still there. If it is, the claim was there before the manifest went, so the second look sees it, and
spares the files. If it is not, the restore fails, and says so. Likewise, an execution that was taken for dead writes
its first version, and then looks whether its claim is still there.

A look takes time, and whoever looks may stall in it, while another execution takes over, and deletes what was listed.
So nothing is concluded from a look in which a manifest went before it was read (see `Catalog.step`). And no execution
deletes a version before a newer one is older than the oldest list that a storage shows: see `Policy.stay`.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice

from bytewax_state.errors import StorageError
from bytewax_state.snapshot.catalog import Catalog, Shelf, StepListing
from bytewax_state.snapshot.layout import StoreId
from bytewax_state.snapshot.manifest import CLAIM, Manifest

logger = logging.getLogger("bytewax_state")

GRACE = timedelta(minutes=1)
"""How long files stay after the last manifest that named them: longer than any storage shows an old list."""

TOGETHER = 32
"""How many manifests are deleted at once, oldest first."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long what is no longer needed stays."""

    keep: int
    """How many of the newest versions of a store stay in any case."""
    retain_for: timedelta
    """How long a version stays after a newer one was known to be committed."""
    grace: timedelta = field(default_factory=lambda: GRACE)
    """How long files stay after the manifests that named them."""

    @property
    def stay(self) -> timedelta:
        """How long a version stays at least: even an old list then shows one of every store that runs."""
        return max(self.retain_for, self.grace)


@dataclass(frozen=True, slots=True)
class Published:
    """A version of the own store, as far as retention cares."""

    version: int
    files: frozenset[str]
    """Paths below the step."""
    superseded_at: datetime | None = None
    """When a newer version was known to be committed in the whole cluster."""


def published(manifest: Manifest) -> Published:
    """Note a version.

    :arg manifest: As it was written.

    :returns: The version.

    """
    return Published(manifest.version, frozenset(entry.path for entry in manifest.files))


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


def expired(past: Sequence[Published], policy: Policy, now: datetime) -> tuple[int, ...]:
    """Choose which versions of the own store may go.

    :arg past: Versions that are published, rising.

    :arg policy: How long they stay.

    :arg now: Current time.

    :returns: Versions, oldest first.

    """
    old = past[: max(0, len(past) - policy.keep)]
    return tuple(one.version for one in old if one.superseded_at is not None and one.superseded_at + policy.stay <= now)


def heir(step: StepListing, own: Manifest, since: datetime) -> str | None:
    """Find a store that goes on from this one, or from where this one began: this one was taken for dead.

    The latter is told from another worker of this execution, as these are as many as each of them says, and no two have
    the same index. A store that has claimed, and published nothing for long, died, or was started by mistake.

    :arg step: What there is.

    :arg own: Any manifest of this store.

    :arg since: How old a claim may be.

    :returns: Id of the heir, if there is one.

    """
    for store_id, shelf in step.stores.items():
        goes_on = own.store_id in shelf.ancestors or _is_rival(shelf, own)
        if goes_on and (shelf.versions[-1] != CLAIM or shelf.manifests[CLAIM].created_at > since):
            return store_id
    return None


def _is_rival(shelf: Shelf, own: Manifest) -> bool:
    oldest = shelf.oldest
    if oldest is None or shelf.store_id <= own.store_id or shelf.ancestors.isdisjoint(own.ancestors):
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
        for store_id, shelf in step.stores.items()
        if store_id < own.store_id and store_id not in own.ancestors and _died_early(shelf, own)
    ]


def orphaned(step: StepListing, own: Manifest, elders: Collection[str]) -> list[str]:
    """Find the stores of executions that died before they published anything, and began where only elders were.

    Another worker of this execution may have published nothing yet either, but it descends from the elders' heirs.

    :arg step: What there is.

    :arg own: Newest manifest of this store.

    :arg elders: Stores that are about to go.

    :returns: Store ids, oldest first.

    """
    return [
        store_id
        for store_id, shelf in step.stores.items()
        if store_id < own.store_id and shelf.versions == (CLAIM,) and shelf.ancestors and shelf.ancestors <= set(elders)
    ]


def _died_early(shelf: Shelf, own: Manifest) -> bool:
    if not shelf.versions:
        return True
    related = own.store_id not in shelf.ancestors and not shelf.ancestors.isdisjoint(own.ancestors)
    return shelf.versions == (CLAIM,) and related


def unnamed(step: StepListing, stores: Iterable[str], named: Collection[str] = ()) -> list[str]:
    """Find files that no manifest names.

    :arg step: What there is.

    :arg stores: Whose files.

    :arg named: Paths below the step that are named all the same.

    :returns: Paths below the step.

    """
    stay = {entry.path for entry in step.named().values()}.union(named)
    shelves = (step.stores[store_id] for store_id in stores if store_id in step.stores)
    return [path for shelf in shelves for path in shelf.files if path not in stay]


class Collector:
    """Deletes what one store, while it runs, knows to be of no use: its own past, and that of those before it.

    A round has two halves: the manifests go at one version, and the files at a later one, after the grace period.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: StoreId,
        policy: Policy,
        now: Callable[[], datetime],
        elders: Iterable[str] = (),
        outlived_at: datetime | None = None,
    ) -> None:
        """Init.

        :arg catalog: Where.

        :arg store: The store.

        :arg policy: How long what is no longer needed stays.

        :arg now: Tells the time.

        :arg elders: Ancestors of the stores that this one was restored from: that there was something to be restored
            from shows that those stores had committed, so that nobody needs the elders.

        :arg outlived_at: When that had happened, at the latest.

        """
        self._catalog = catalog
        self._step = store.step
        self._policy = policy
        self._now = now
        self._elders = frozenset(elders)
        self._outlived_at = outlived_at
        self._past = [Published(CLAIM, frozenset())]
        self._newest: Manifest | None = None
        self._committed_at: datetime | None = None
        self._settled: frozenset[str] = frozenset()  # ancestors that rounds have dealt with
        self._doomed: frozenset[str] | None = None  # stores of the round whose second half is to come
        self._due: datetime | None = None  # when that half may come
        self._not_before: datetime | None = None
        self._told: str | None = None

    def note_freeze(self, version: int, now: datetime) -> None:
        """Note that a version was frozen, which proves that the one before it is committed.

        :arg version: Of the store.

        :arg now: Current time.

        """
        self._past = note_freeze(self._past, version, now)
        if version > 1 and self._committed_at is None:
            self._committed_at = now

    def note_published(self, manifest: Manifest) -> None:
        """Note a version that was published.

        :arg manifest: As it was written.

        """
        self._newest = manifest
        self._past.append(published(manifest))

    def collect(self) -> tuple[str, ...]:
        """Go on with a round, or begin one, if there is something to do and it is time.

        :returns: The ancestors that there still are something of, and which the next manifests have to name.

        """
        own, now = self._newest, self._now()
        assert own is not None
        try:
            if self._doomed is None and (self._not_before is None or self._not_before <= now):
                self._begin(own, now)
            if self._doomed is not None and self._due is not None and self._due <= now:
                return self._finish(own, self._doomed, now)
        except StorageError as ex:
            # What is left over costs space and nothing else; a later round finds it again.
            self._stop(f"old snapshots of step {self._step.step_id!r} could not be deleted: {ex}", now)
        return own.ancestors

    def _begin(self, own: Manifest, now: datetime) -> None:
        old = expired(self._past, self._policy, now)
        going = self._going(own, now)
        step = None if not old and going <= self._settled else self._look(own, now)
        if step is None:
            return
        committed = self._passed(self._committed_at, now)
        going = going.union(died_early(step, own) if committed else orphaned(step, own, going))
        stores = sorted(going & step.stores.keys())
        versions = [(store_id, version) for store_id in stores for version in step.stores[store_id].versions]
        versions += [(own.store_id, version) for version in old]
        self._delete(StoreId(self._step, store_id).manifest(version) for store_id, version in versions)
        # Not before: what could not be deleted is found again.
        self._past = [one for one in self._past if one.version not in old]
        self._doomed, self._due = going, self._now() + self._policy.grace

    def _finish(self, own: Manifest, doomed: frozenset[str], now: datetime) -> tuple[str, ...]:
        self._doomed = self._due = None
        step = self._look(own, now)
        if step is None:
            return own.ancestors
        dead = doomed.intersection({*own.ancestors, *died_early(step, own)})
        paths = unnamed(step, sorted({own.store_id, *dead}), self._remembered())
        self._catalog.storage.delete([f"{self._step.prefix}/{path}" for path in paths])
        self._settled = dead.intersection(own.ancestors)
        inherited = {entry.path.partition("/")[0] for entry in own.files}
        return tuple(one for one in own.ancestors if one in inherited or not _is_gone(step, one, paths))

    def _going(self, own: Manifest, now: datetime) -> frozenset[str]:
        """Name the ancestors of which everything may go that nobody inherited."""
        if self._passed(self._committed_at, now):
            return frozenset(own.ancestors)
        return self._elders.intersection(own.ancestors) if self._passed(self._outlived_at, now) else frozenset()

    def _passed(self, since: datetime | None, now: datetime) -> bool:
        return since is not None and since + self._policy.stay <= now

    def _remembered(self) -> set[str]:
        """Name the files of the own versions that stay, whatever a list shows."""
        return {path for one in self._past for path in one.files}

    def _delete(self, names: Iterable[str]) -> None:
        left = iter(names)
        while some := list(islice(left, TOGETHER)):
            self._catalog.storage.delete(some)

    def _look(self, own: Manifest, now: datetime) -> StepListing | None:
        """List the step again; `None` if this is no time to delete anything."""
        step = self._catalog.step(self._step.prefix, brief=True)
        doubt = step.doubt()
        if doubt is not None:
            self._stop(f"old snapshots of step {self._step.step_id!r} stay, as {doubt}", now)
            return None
        newer = heir(step, own, now - self._policy.retain_for - self._policy.grace)
        if newer is not None:
            self._stop(
                f"store {own.store_id} of step {self._step.step_id!r} was taken over by {newer}: another run resumed "
                "from this one, or from where it began, so that it deletes nothing any more; end the one that was not "
                "meant to go on",
                now,
            )
            return None
        return step

    def _stop(self, why: str, now: datetime) -> None:
        self._doomed = self._due = None
        self._not_before = now + self._policy.grace
        if why != self._told:
            self._told = why
            logger.warning("%s", why)


def _is_gone(step: StepListing, store_id: str, deleted: Collection[str]) -> bool:
    shelf = step.stores.get(store_id)
    return shelf is None or (not shelf.versions and set(shelf.files) <= set(deleted))
