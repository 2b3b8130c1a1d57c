"""The guard: judges each deletion as it happens, and the storage after each rule.

Owns what may be missing, and whose fault it is. A timeline never deletes what it can be resumed from within the
retention, and a zombie never deletes what the main timeline needs, with one legal exception:

    A zombie that in its own world superseded a version more than RETAIN_FOR ago may delete its manifest, as long as it
    was not shown that anybody resumed from there: before the claim of the main timeline is written and listed, nobody
    can know. Bytewax's newest epoch in the main timeline may be just that version. Then the restore has to fail, with
    `SnapshotMissingError`, and the timeline is lost; it never comes up with a wrong state.

Files are not excused. Once a claim was written while the manifests that it goes by were there, no file that it names
ever goes. A zombie's own manifests may name files that are gone: the main timeline collects what its ancestors left,
and cannot know of what a zombie writes afterwards.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bytewax_state.admin import invariants
from bytewax_state.signing import Keys
from bytewax_state.snapshot.catalog import Catalog, StepListing, StoreListing
from bytewax_state.snapshot.layout import parse_manifest_name
from bytewax_state.snapshot.manifest import CLAIM, Manifest, name_of
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.sources import serving
from bytewax_state.snapshot.sweep import GRACE
from tests.model.execution import STEP
from tests.model.objects import Objects
from tests.model.timeline import Timeline

PREFIX = STEP.prefix


class Guard:
    """Looks at the truth."""

    def __init__(self, objects: Objects, keys: Keys) -> None:
        self.breaches: list[str] = []
        self.excused: set[str] = set()
        """Stores of which a zombie deleted manifests that the main timeline might have wanted."""
        self.zombies: dict[str, int] = {}
        """Stores of executions that went on when another one resumed, and their versions at that time."""
        self.taken: set[str] = set()
        """Those of them of which the main timeline deleted something."""
        self._objects = objects
        self._keys = keys
        self._catalog = Catalog(objects, keys)

    def look(self) -> StepListing:
        return self._catalog.step(PREFIX)

    def judge(self, name: str, own: Timeline, main: Timeline, last: "LastListing", retain_for: timedelta) -> None:
        """Judge a deletion that is about to happen.

        :arg name: Of the object.

        :arg own: The timeline of whoever deletes.

        :arg main: The main timeline.

        :arg last: What whoever deletes has last seen of the storage.

        :arg retain_for: How long a claim warns.

        """
        step = self.look()
        manifest = parse_manifest_name(name)
        if manifest is None:
            self._judge_file(step, name, main)
            return
        if manifest.version == CLAIM:
            return
        if own is main and manifest.store_id in self.zombies:
            self.taken.add(manifest.store_id)
        if manifest.store_id not in self.taken and self._loses(step, name, own, serving):
            self.breaches.append(f"{name} was deleted, though its own timeline can resume from it")
        if own is not main and self._loses(step, name, main, self._serving):
            warning = last.warning(step, main, retain_for)
            if warning is None:
                self.excused.add(manifest.store_id)
            else:
                self.breaches.append(f"{name} was deleted by {last.store_id}, though it was shown {warning}")

    def _loses(
        self, step: StepListing, name: str, timeline: Timeline, by: Callable[[StepListing, Ref], list[Manifest]]
    ) -> bool:
        refs = {ref for refs in timeline.roots(self._keys).values() for ref in refs}
        return any([name_of(one) for one in by(step, ref)] == [name] for ref in refs)

    def _judge_file(self, step: StepListing, name: str, main: Timeline) -> None:
        path = name.removeprefix(f"{PREFIX}/")
        for manifest in step.manifests():
            if any(entry.path == path for entry in manifest.files) and self._sound(manifest):
                self.breaches.append(f"{name} was deleted, though {name_of(manifest)} names it")
        if path in durable(main):
            self.breaches.append(f"{name} was deleted, though the running execution builds on it")

    def _sound(self, manifest: Manifest) -> bool:
        """Tell whether all that a manifest names has to be there."""
        # A claim is written before anybody knows whether the restore will go well; see `durable`.
        newest = self.zombies.get(manifest.store_id, manifest.version)
        return manifest.version != CLAIM and manifest.version <= newest

    def _only_sound(self, listing: StoreListing) -> StoreListing:
        return replace(listing, manifests={at: one for at, one in listing.manifests.items() if self._sound(one)})

    def _serving(self, step: StepListing, ref: Ref) -> list[Manifest]:
        return [one for one in serving(step, ref) if self._sound(one)]

    def lost(self, refs: Iterable[Ref]) -> bool:
        """Tell whether some refs can no longer be restored. (That they may be lost is what `inspect` says.)"""
        step = self.look()
        return any(not self._serving(step, ref) for ref in refs)

    def inspect(self, main: Timeline) -> list[str]:
        """Check the invariants that cost no reading of files.

        :returns: What is wrong.

        """
        step = self.look()
        sound = replace(step, stores={store_id: self._only_sound(listing) for store_id, listing in step.stores.items()})
        refs = [
            ref
            for refs in main.roots(self._keys).values()
            for ref in refs
            if ref.store_id not in self.excused or self._serving(step, ref)
        ]
        findings = [
            *invariants.manifests_can_be_read(step),
            *invariants.refs_can_be_restored(step, refs),
            *invariants.named_files_exist(sound, self._objects.size),
            *invariants.paths_mean_one_file(step),
            *invariants.versions_rise(step),
            *invariants.ancestry_is_sound(step),
        ]
        for refs in main.roots(self._keys).values():
            if refs:
                findings += invariants.groups_have_rows(step, refs)
        found = [f"{one.invariant}: {one.name}: {one.text}" for one in findings]
        found += [
            f"durable file is gone: {path}" for path in durable(main) if self._objects.size(f"{PREFIX}/{path}") is None
        ]
        return [*self._objects.breaches, *self.breaches, *found]


@dataclass(frozen=True, slots=True)
class LastListing:
    """What a collector has last seen of the storage."""

    store_id: str | None
    """Whose collector it is; `None`: that of `gc`."""
    names: Collection[str] = ()
    at: datetime = datetime.max

    def warning(self, step: StepListing, main: Timeline, retain_for: timedelta) -> str | None:
        """Name the store of the main timeline by which a zombie could tell that it is one.

        It was restored from the zombie's, or it began where that began, and cannot be another worker of its execution.
        A claim that nothing follows for long says nothing: whoever wrote it may have died.
        """
        own = step.stores.get(self.store_id) if self.store_id is not None else None
        if own is None or own.newest is None:
            return None
        seen: dict[str, set[int]] = {}
        for parsed in filter(None, map(parse_manifest_name, self.names)):
            seen.setdefault(parsed.store_id, set()).add(parsed.version)
        for one in sorted(seen.keys() & main.stores & step.stores.keys()):
            other = step.stores[one]
            claim = other.manifests.get(CLAIM)
            alive = seen[one] != {CLAIM} or (claim is not None and claim.created_at > self.at - retain_for - GRACE)
            if alive and _goes_on(own, other):
                return one
        return None


def _goes_on(own: StoreListing, other: StoreListing) -> bool:
    mine, its = own.newest, other.newest
    if mine is None or its is None:
        return False
    beside = mine.worker_index == its.worker_index or mine.worker_count != its.worker_count
    later = other.store_id > own.store_id
    return own.store_id in other.ancestors or (later and beside and bool(own.ancestors & other.ancestors))


def durable(timeline: Timeline) -> set[str]:
    """Name the files that the execution which runs does not upload again."""
    return set() if timeline.execution is None else timeline.execution.durable()
