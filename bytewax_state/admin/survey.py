"""Survey: all that lies in a storage, looked at from outside, whether a flow runs on it or not.

Owns in which order things are read, so that a running flow is not misjudged, and that many objects are asked for at
once. It does not own what is wrong (`invariants`), nor what may go (`garbage`). Called by the command line.

The order is: clock, recovery partitions, storage. A version that is published while they are read has refs that were
not read, so it is kept by its age (`min_age`), which a clock that was read later would make too old. The other way
round, the refs would name versions that are not in the list of the storage yet, and all would seem lost.
"""

import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import get_ident
from typing import Protocol, TypeVar

from bytewax_state.admin import garbage, invariants
from bytewax_state.admin.garbage import Plan
from bytewax_state.admin.invariants import Finding
from bytewax_state.errors import BytewaxStateError, SnapshotError, StorageError, UsageError
from bytewax_state.recovery.partitions import read_refs
from bytewax_state.signing import Keys
from bytewax_state.snapshot.catalog import Catalog, StepListing
from bytewax_state.snapshot.layout import StepId, component, is_of, is_store_id, parse_manifest_name, store_worker
from bytewax_state.snapshot.manifest import FileEntry
from bytewax_state.snapshot.ref import Ref, decode_ref
from bytewax_state.snapshot.restore import serves
from bytewax_state.storage.storage import Storage

T = TypeVar("T")


class Progress(Protocol):
    """Hears how far a survey is, from any thread."""

    def expect(self, more: int) -> None:
        """Hear how many more objects there are to look at."""

    def advance(self) -> None:
        """Hear that one of them is done."""

    def close(self) -> None:
        """Hear that it takes a rest, or has ended."""


@dataclass(frozen=True, slots=True)
class Roots:
    """What the recovery partitions want to be kept. Steps are named by their folders in the storage."""

    flows: tuple[str, ...] = ()
    """Those that have refs there."""
    needed: Mapping[str, Sequence[Ref]] = field(default_factory=dict)
    """By step: what the next run of the flow loads."""
    older: Mapping[str, Sequence[Ref]] = field(default_factory=dict)
    """By step: what Bytewax has not forgotten yet. Retention counts time and Bytewax counts epochs, so some of it may
    have been let go, by right."""
    unreadable: Mapping[str, Sequence[BytewaxStateError]] = field(default_factory=dict)
    """By step: what is wrong with a ref."""
    plain: frozenset[str] = frozenset()
    """Steps, of any kind, that have rows there, and no refs."""

    def of(self, step: StepListing) -> list[Ref]:
        """Choose the refs whose versions have to stay.

        :arg step: What there is of the step.

        :returns: All that are needed, and of the older ones those that something serves.

        """
        older = [ref for ref in self.older.get(step.prefix, ()) if _is_served(step, ref)]
        return [*self.needed.get(step.prefix, ()), *older]

    def is_known(self, prefix: str) -> bool:
        """Tell whether these are the recovery partitions of a step's flow."""
        return is_of(prefix, self.flows)


def read_roots(folders: Iterable[Path], keys: Keys) -> Roots:
    """Read what the recovery partitions want to be kept.

    :arg folders: Folders that together hold all partitions of a set.

    :arg keys: One of them signed the refs.

    :returns: Roots.

    :raises UsageError: If a partition is missing, or is not one, or they do not belong together.

    """
    folders = list(folders)
    try:
        return _read_roots(folders, keys)
    except UsageError:
        # A flow that runs may have written to one partition, between two reads, what it had written to another before.
        return _read_roots(folders, keys)


def _read_roots(folders: Iterable[Path], keys: Keys) -> Roots:
    refs = read_refs(folders)
    wanted = set(refs.loadable(refs.resume_epoch))
    needed: dict[str, list[Ref]] = {}
    older: dict[str, list[Ref]] = {}
    unreadable: dict[str, list[BytewaxStateError]] = {}
    for row in refs.loadable():
        step = StepId.of(row.step_id)
        try:
            ref = decode_ref(row.value, step, keys)
        except BytewaxStateError as ex:
            unreadable.setdefault(step.prefix, []).append(ex)
        else:
            (needed if row in wanted else older).setdefault(step.prefix, []).append(ref)
    for prefix, those in needed.items():
        _check_one_execution(prefix, those)
    plain = frozenset(StepId.of(step_id).prefix for step_id in refs.plain)
    return Roots(tuple(refs.flows()), needed, older, unreadable, plain)


def _check_one_execution(prefix: str, refs: Iterable[Ref]) -> None:
    """Refuse partitions of several sets: all that a run would load of a step was written by one execution."""
    stores: dict[int, str] = {}
    for store_id in sorted({ref.store_id for ref in refs}):
        other = stores.setdefault(store_worker(store_id), store_id)
        if other != store_id:
            msg = (
                f"the recovery partitions do not belong together: of {prefix} they need the stores {other!r} and "
                f"{store_id!r}, which two runs wrote; give the partitions of one directory, all of one moment"
            )
            raise UsageError(msg)


def _is_served(step: StepListing, ref: Ref) -> bool:
    shelf = step.stores.get(ref.store_id)
    return shelf is not None and any(serves(manifest, ref) for manifest in shelf.manifests.values())


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what is wrong with it."""

    findings: tuple[Finding, ...]
    steps: int
    manifests: int
    files: int
    """Those that manifests name."""
    bytes: int
    """Of these files."""
    refs: int
    """Those that the next run loads, as far as the recovery partitions were given."""


class Survey:
    """A storage, to be looked at by many threads."""

    def __init__(self, storage: Storage, keys: Keys, threads: int, progress: Progress) -> None:
        """Init.

        :arg storage: Storage.

        :arg keys: One of them signed the manifests.

        :arg threads: How many objects are asked for at once.

        :arg progress: Hears of each object.

        """
        self.url = storage.url
        self.keys = keys
        self.storage = storage
        self.progress = progress
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bytewax-state-look")
        self.catalog = Catalog(_Watched(storage, progress), keys, threads)
        self.closed: dict[str, StorageError] = {}
        """Folders beside those of flows that cannot be read, to why: each may be a flow's, or somebody else's."""
        self._sound: set[str] = set()
        """Names of files with the digest that they should have; no file ever changes."""

    def close(self) -> None:
        """Stop asking."""
        self._pool.shutdown(cancel_futures=True)

    def steps(self, flow: str | None = None) -> list[str]:
        """List steps.

        :arg flow: Only of this flow; `None` for all flows. Then what cannot be read is left out, and noted in `closed`.

        :returns: Their folders in the storage.

        :raises StorageError: If the storage, or the flow that is asked for, cannot be listed.

        """
        if flow is not None:
            return self.catalog.steps([component(flow)])
        found = self.ask(self.catalog.flows(), self._steps_of)
        return sorted(prefix for steps in found.values() for prefix in steps)

    def _steps_of(self, flow: str) -> list[str]:
        try:
            return self.catalog.steps([flow])
        except StorageError as ex:
            self.closed[flow] = ex
            return []

    def find(self, text: str) -> str:
        """Find a manifest, in whatever step it is.

        :arg text: `STORE@VERSION`, or `STORE` for its newest version, or the name of the object.

        :returns: Name of the object.

        :raises UsageError: If that is none of it, or not there.

        """
        if parse_manifest_name(text) is not None:
            return text
        store_id, at, version = text.partition("@")
        if not is_store_id(store_id) or (at and not re.fullmatch(r"[0-9]{1,18}", version)):
            msg = f"{text!r} is no version; expected STORE@VERSION, such as 20261124T081500123456Z-w000-ab12cd34@17"
            raise UsageError(msg)
        found = self.ask([f"{prefix}/{store_id}" for prefix in self.steps()], self.storage.list)
        parsed = {name: parse_manifest_name(name) for names in found.values() for name in names}
        there = {one.version: name for name, one in parsed.items() if one is not None}
        wanted = int(version) if at else max(there, default=0)
        if wanted not in there:
            versions = f"versions {', '.join(map(str, sorted(there)))}" if there else "nothing"
            msg = f"{self.url} has {versions} of store {store_id}; `bytewax-state list` says what there is"
            raise UsageError(msg)
        return there[wanted]

    def verify(self, look: Callable[[], Roots], deep: bool, min_age: timedelta, now: Callable[[], datetime]) -> Report:
        """Check all invariants of all steps.

        What is found is looked at again, with fresh eyes: a flow that runs publishes and deletes meanwhile.

        :arg look: Reads the recovery partitions; gives empty roots if they are not known.

        :arg deep: Whether to read all files, and digest them.

        :arg min_age: How old a store has to be before nobody is taken to be about to use it.

        :arg now: Tells the time.

        :returns: What was found, both times.

        :raises StorageError: If something cannot be read.

        """
        report = self._verify(now(), look(), deep, min_age)
        if not report.findings:
            return report
        again = self._verify(now(), look(), deep, min_age)
        found = {(finding.invariant, finding.name) for finding in report.findings}
        findings = tuple(finding for finding in again.findings if (finding.invariant, finding.name) in found)
        return replace(again, findings=findings)

    def _verify(self, now: datetime, roots: Roots, deep: bool, min_age: timedelta) -> Report:
        findings: list[Finding] = []
        named: list[FileEntry] = []
        steps = manifests = 0
        for prefix in sorted({*self.steps(), *roots.needed, *roots.unreadable}):
            step = self.catalog.step(prefix)
            findings += self._check(step, now, roots, deep, min_age)
            named += step.named().values()
            steps += 1
            manifests += sum(len(shelf.manifests) for shelf in step.stores.values())
        refs = sum(map(len, roots.needed.values()))
        return Report(tuple(findings), steps, manifests, len(named), sum(entry.size for entry in named), refs)

    def _check(
        self, step: StepListing, now: datetime, roots: Roots, deep: bool, min_age: timedelta
    ) -> Iterator[Finding]:
        unreadable = roots.unreadable.get(step.prefix, ())
        if unreadable:
            text = f"{len(unreadable)} refs cannot be read; the first: {unreadable[0]}"
            yield Finding("refs_can_be_restored", step.prefix, text)
        if step.prefix in roots.plain:
            text = "the recovery directory holds its state as plain Bytewax keeps it, not refs; no run goes on from it"
            yield Finding("refs_can_be_restored", step.prefix, text)
        sizes = self.ask(step.named(), self.storage.size)
        yield from invariants.check_step(step, roots.needed.get(step.prefix, ()), sizes.__getitem__)
        if deep:
            yield from invariants.named_files_are_sound(step, self._digest(step))
        if roots.is_known(step.prefix) and step.prefix not in roots.unreadable and step.doubt() is None:
            with suppress(SnapshotError):  # another predicate tells
                plan = garbage.plan(step, roots.of(step), min_age, now)
                yield from invariants.nothing_is_unreachable(_abandoned(plan, step, roots))

    def _digest(self, step: StepListing) -> Callable[[str], str]:
        """Digest all files of a step that are not known to be sound."""
        named = step.named()
        unknown = [name for name in named if name not in self._sound]
        with tempfile.TemporaryDirectory(prefix="bytewax-state-") as folder:
            found = self.ask(unknown, lambda name: self._hash(name, Path(folder)))
        self._sound.update(name for name in unknown if found[name] == named[name].sha256)

        def digest(name: str) -> str:
            answer = named[name].sha256 if name in self._sound else found[name]
            if answer is None:
                raise FileNotFoundError(name)
            return answer

        return digest

    def _hash(self, name: str, folder: Path) -> str | None:
        try:
            return self.storage.get_file(name, folder / str(get_ident()))
        except FileNotFoundError:
            return None

    def ask(self, names: Collection[str], one: Callable[[str], T]) -> dict[str, T]:
        """Ask the same of many objects, at once.

        :arg names: Names of objects.

        :arg one: What is asked of each.

        :returns: Name to answer.

        """
        self.progress.expect(len(names))
        found = {}
        for name, answer in zip(names, self._pool.map(one, names), strict=True):
            found[name] = answer
            self.progress.advance()
        return found


class _Watched:
    """A storage that tells of the manifests that are read."""

    def __init__(self, storage: Storage, progress: Progress) -> None:
        self.url = storage.url
        self.put = storage.put
        self.put_file = storage.put_file
        self.get_file = storage.get_file
        self.size = storage.size
        self.folders = storage.folders
        self.delete = storage.delete
        self._storage = storage
        self._progress = progress
        self._seen: set[str] = set()
        self._left: set[str] = set()

    def list(self, prefix: str) -> list[str]:
        names = self._storage.list(prefix)
        new = {name for name in names if name not in self._seen and parse_manifest_name(name) is not None}
        self._seen |= new
        self._left |= new
        self._progress.expect(len(new))
        return names

    def get(self, name: str) -> bytes:
        try:
            return self._storage.get(name)
        finally:
            if name in self._left:
                self._left.discard(name)
                self._progress.advance()


def _abandoned(plan: Plan, step: StepListing, roots: Roots) -> Plan:
    """Leave out of a plan what the next run deletes of its own accord: it descends from the stores of these refs."""
    heirs = {ref.store_id for ref in roots.needed.get(step.prefix, ())}
    covered = heirs.union(*(step.stores[store_id].ancestors for store_id in heirs))

    def is_covered(name: str) -> bool:
        return name.removeprefix(f"{step.prefix}/").partition("/")[0] in covered

    manifests, files = ([name for name in names if not is_covered(name)] for names in (plan.manifests, plan.files))
    return Plan(plan.prefix, tuple(manifests), tuple(files))
