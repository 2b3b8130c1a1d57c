"""Retention: plan what may go (pure), and sweep it, so that nothing which can be resumed from ever goes.

Owns when a version, and a file, is no longer wanted by the execution that runs. It does not own the order of deletion
(`sweep`), nor who is related to whom (`lineage`), nor what is garbage to somebody who looks from outside (`garbage`).
Called by the versions of a store: told of each one by the flow's thread, and run in another one.

Staleness is the longest time for which a list may lack a new object. A version is kept for at least that long after
its successor: see `Policy.stay`.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock

from bytewax_state.errors import StorageError
from bytewax_state.snapshot.catalog import Catalog, StepListing
from bytewax_state.snapshot.layout import StoreId
from bytewax_state.snapshot.lineage import Lineage, died_early, orphaned, successor
from bytewax_state.snapshot.manifest import CLAIM, Manifest
from bytewax_state.snapshot.sweep import GRACE, Sweep

logger = logging.getLogger("bytewax_state")


@dataclass(frozen=True, slots=True)
class Policy:
    """How long what is no longer needed stays."""

    keep: int
    """How many of the newest versions of a store stay in any case."""
    retain_for: timedelta
    """How long a version stays after a newer one was known to be committed."""
    grace: timedelta = field(default_factory=lambda: GRACE)
    """How long files stay after the manifests that named them: longer than the staleness of a list."""

    @property
    def stay(self) -> timedelta:
        """How long a version stays after a newer one was known to be committed, at least.

        A list may lack what is newer than its staleness. As a version stays for longer than that after its successor,
        even such a list shows one version of every store that runs.
        """
        return max(self.retain_for, self.grace)


@dataclass(frozen=True, slots=True)
class Published:
    """A version of the own store, as far as retention cares."""

    version: int
    files: frozenset[str]
    """Names of objects."""
    superseded_at: datetime | None = None
    """When a newer version was known to be committed in the whole cluster."""


def published(manifest: Manifest) -> Published:
    """Note a version.

    :arg manifest: As it was written.

    """
    step = manifest.store.step
    return Published(manifest.version, frozenset(f"{step.prefix}/{entry.path}" for entry in manifest.files))


def note_freeze(past: Sequence[Published], version: int, now: datetime) -> list[Published]:
    """Draw the conclusion from a freeze: items of an epoch come only after the one before is written everywhere.

    :arg past: Versions that are published, rising.

    :arg version: The one that was just frozen; the one before it is thereby committed.

    :returns: The versions, those older than the committed one being superseded.

    """
    committed = version - 1
    # Those at the beginning were superseded before, and they may be many.
    known = len(past)
    while known and past[known - 1].superseded_at is None:
        known -= 1
    return [
        *past[:known],
        *(replace(one, superseded_at=now) if one.version < committed else one for one in past[known:]),
    ]


def expired(past: Sequence[Published], policy: Policy, now: datetime) -> tuple[int, ...]:
    """Choose which versions of the own store may go.

    :arg past: Versions that are published, rising.

    :arg policy: How long they stay.

    :returns: Versions, oldest first.

    """
    old = past[: max(0, len(past) - policy.keep)]
    return tuple(one.version for one in old if one.superseded_at is not None and one.superseded_at + policy.stay <= now)


def plan(step: StepListing, own: Manifest, going: Collection[str], old: Sequence[int], kept: Collection[str]) -> Sweep:
    """Plan what goes.

    :arg step: What there is; of each store at least its oldest manifest.

    :arg own: Any manifest of this store.

    :arg going: Other stores, of which everything goes that nobody inherited.

    :arg old: Versions of this store that go.

    :arg kept: Names of files of its versions that stay.

    """

    def stays(manifest: Manifest) -> bool:
        return manifest.store_id not in going and not (manifest.store_id == own.store_id and manifest.version in old)

    others = sorted(going & step.stores.keys())
    manifests = [
        StoreId(own.store.step, store_id).manifest(version)
        for store_id in others
        for version in step.stores[store_id].versions
    ]
    manifests += [own.store.manifest(version) for version in old]
    named = step.named(stays)
    listings = [step.stores[store_id] for store_id in (*others, own.store_id) if store_id in step.stores]
    files = [name for store in listings for name in store.files if name not in named and name not in kept]
    return Sweep(step.prefix, tuple(manifests), tuple(files))


@dataclass(frozen=True, slots=True)
class _Round:
    """A sweep that has begun."""

    sweep: Sweep
    stores: Collection[str]
    """All that it is about, besides the own one."""
    due: datetime
    """When it may be finished."""


class Collector:
    """Deletes what one store, while it runs, knows to be of no use: its own past, and that of those before it.

    A round has two halves: the manifests go at one version, and the files at a later one, after the grace period.
    `collect` may run in one thread while another one notes versions.
    """

    def __init__(
        self, catalog: Catalog, store: StoreId, policy: Policy, now: Callable[[], datetime], lineage: Lineage
    ) -> None:
        """Init.

        :arg policy: How long what is no longer needed stays.

        :arg now: Tells the time.

        :arg lineage: What the store was restored from.

        """
        self._catalog = catalog
        self._step = store.step
        self._policy = policy
        self._now = now
        self._lineage = lineage
        self._lock = Lock()  # of all that is noted
        self._past = [Published(CLAIM, frozenset())]
        self._uploading: set[str] = set()
        self._newest: Manifest | None = None
        self._committed_at: datetime | None = None
        self._settled: frozenset[str] = frozenset()  # stores that rounds have dealt with
        self._round: _Round | None = None
        self._not_before: datetime | None = None
        self._last_warning: str | None = None

    def note_freeze(self, version: int, now: datetime) -> None:
        """Note that a version was frozen, which proves that the one before it is committed.

        :arg version: Of the store.

        """
        with self._lock:
            self._past = note_freeze(self._past, version, now)
            if version > 1 and self._committed_at is None:
                self._committed_at = now

    def note_upload(self, names: Iterable[str]) -> None:
        """Note files that a later version will name, before the first of them is uploaded.

        A look shows them while no manifest names them yet. Where the upload takes longer than the grace period, the
        second look shows them like that too.

        :arg names: Names of objects.

        """
        with self._lock:
            self._uploading.update(names)

    def note_published(self, manifest: Manifest, uploaded: Iterable[str] | None = None) -> None:
        """Note a version that was published.

        :arg manifest: As it was written.

        :arg uploaded: Names of what else was uploaded, and a later version may name; `None`: all that was noted, but
            for what this one names.

        """
        with self._lock:
            self._newest = manifest
            self._past.append(published(manifest))
            self._uploading = self._uploading - self._past[-1].files if uploaded is None else set(uploaded)

    def is_due(self) -> bool:
        """Tell whether `collect` has something to do by now."""
        now, own, begun = self._now(), self._newest, self._round
        if own is None or begun is not None:
            return begun is not None and begun.due <= now
        if self._not_before is not None and now < self._not_before:
            return False
        return bool(expired(self._past[: self._policy.keep + 1], self._policy, now)) or not (
            self._going(own, now) <= self._settled
        )

    def collect(self) -> tuple[str, ...]:
        """Go on with a round, or begin one, if there is something to do and it is time.

        :returns: The ancestors that there still are something of, and which the next manifests have to name.

        """
        own, now = self._newest, self._now()
        assert own is not None
        try:
            if self._round is None and (self._not_before is None or self._not_before <= now):
                self._begin(own, now)
            if self._round is not None and self._round.due <= now:
                return self._finish(own, self._round, now)
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
        sweep = plan(step, own, going, old, self._kept(old))
        sweep.begin(self._catalog.storage)
        # Only after the deletion: had it failed, a later round has to find these versions again.
        with self._lock:
            self._past = [one for one in self._past if one.version not in old]
        self._round = _Round(sweep, going, self._now() + self._policy.grace)

    def _finish(self, own: Manifest, begun: _Round, now: datetime) -> tuple[str, ...]:
        self._round = None
        step = self._look(own, now)
        if step is None:
            return own.ancestors
        kept = self._kept()
        done = begun.sweep.finish(self._catalog.storage, step, kept)
        # Another worker may have deleted the last manifest that named a file between the two looks. That file stays for
        # another round, so the store that it is in is not dealt with yet.
        dealt_with = kept.union(step.named(), done.files)
        self._settled = frozenset(one for one in begun.stores if dealt_with.issuperset(_files(step, one)))
        inherited = {entry.path.partition("/")[0] for entry in own.files}
        return tuple(one for one in own.ancestors if one in inherited or not _is_gone(step, one, done.files))

    def _kept(self, old: Collection[int] = ()) -> set[str]:
        """Name the files that versions of this store name, but for some, or will name."""
        with self._lock:
            return _names(one for one in self._past if one.version not in old).union(self._uploading)

    def _going(self, own: Manifest, now: datetime) -> frozenset[str]:
        """Name the ancestors of which everything may go that nobody inherited."""
        if self._passed(self._committed_at, now):
            return frozenset(own.ancestors)
        outlived = self._passed(self._lineage.parents_committed_at, now)
        return self._lineage.elders.intersection(own.ancestors) if outlived else frozenset()

    def _passed(self, since: datetime | None, now: datetime) -> bool:
        return since is not None and since + self._policy.stay <= now

    def _look(self, own: Manifest, now: datetime) -> StepListing | None:
        """List the step again; `None` if this is no time to delete anything."""
        step = self._catalog.step(self._step.prefix, brief=True)
        doubt = step.doubt()
        if doubt is not None:
            self._stop(f"old snapshots of step {self._step.step_id!r} stay, as {doubt}", now)
            return None
        newer = successor(step, own, now - self._policy.retain_for - self._policy.grace)
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
        self._round = None
        self._not_before = now + self._policy.grace
        if why != self._last_warning:
            self._last_warning = why
            logger.warning("%s", why)


def _names(past: Iterable[Published]) -> set[str]:
    """Name the files of some versions."""
    return {name for one in past for name in one.files}


def _files(step: StepListing, store_id: str) -> tuple[str, ...]:
    return step.stores[store_id].files if store_id in step.stores else ()


def _is_gone(step: StepListing, store_id: str, deleted: Collection[str]) -> bool:
    versions = step.stores[store_id].versions if store_id in step.stores else ()
    return not versions and set(_files(step, store_id)) <= set(deleted)
