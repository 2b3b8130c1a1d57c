"""Verify: are the snapshots in a storage sound, whether a flow runs on it or not?

Owns in which order things are read, so that a running flow is not misjudged. It does not own what is wrong
(`invariants`), nor what may go (`garbage`). Called by `bytewax-state verify`.

The order is: clock, recovery partitions, storage. A version that is published while they are read has refs that were
not read, so it is kept by its age (`min_age`), which a clock that was read later would make too old. The other way
round, the refs would name versions that are not in the list of the storage yet, and all would seem lost.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import get_ident

from bytewax_state.admin import garbage, invariants
from bytewax_state.admin.invariants import Finding
from bytewax_state.admin.roots import Roots
from bytewax_state.admin.survey import Survey
from bytewax_state.errors import SnapshotError
from bytewax_state.snapshot.catalog import StepListing
from bytewax_state.snapshot.manifest import FileEntry
from bytewax_state.snapshot.sweep import Sweep


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


def check(
    survey: Survey, look: Callable[[], Roots], deep: bool, min_age: timedelta, now: Callable[[], datetime]
) -> Report:
    """Check all invariants of all steps.

    What is found is looked at again, with fresh eyes: a flow that runs publishes and deletes meanwhile.

    :arg survey: Of the storage.

    :arg look: Reads the recovery partitions; gives empty roots if they are not known.

    :arg deep: Whether to read all files, and digest them.

    :arg min_age: How old a store has to be before nobody is taken to be about to use it.

    :arg now: Tells the time.

    :returns: What was found, both times.

    :raises StorageError: If something cannot be read.

    """
    run = _Check(survey, deep, min_age)
    report = run.all(now(), look())
    if not report.findings:
        return report
    again = run.all(now(), look())
    found = {(finding.invariant, finding.name) for finding in report.findings}
    findings = tuple(finding for finding in again.findings if (finding.invariant, finding.name) in found)
    return replace(again, findings=findings)


@dataclass(frozen=True, slots=True)
class _Check:
    survey: Survey
    deep: bool
    min_age: timedelta
    sound: set[str] = field(default_factory=set)
    """Names of files with the digest that they should have; no file ever changes."""

    def all(self, now: datetime, roots: Roots) -> Report:
        findings: list[Finding] = []
        named: list[FileEntry] = []
        steps = manifests = 0
        for prefix in sorted({*self.survey.steps(), *roots.needed, *roots.unreadable}):
            step = self.survey.catalog.step(prefix)
            findings += self.step(step, now, roots)
            named += step.named().values()
            steps += 1
            manifests += sum(len(store.manifests) for store in step.stores.values())
        refs = sum(map(len, roots.needed.values()))
        return Report(tuple(findings), steps, manifests, len(named), sum(entry.size for entry in named), refs)

    def step(self, step: StepListing, now: datetime, roots: Roots) -> Iterator[Finding]:
        unreadable = roots.unreadable.get(step.prefix, ())
        if unreadable:
            text = f"{len(unreadable)} refs cannot be read; the first: {unreadable[0]}"
            yield Finding("refs_can_be_restored", step.prefix, text)
        if step.prefix in roots.plain:
            text = "the recovery directory holds its state as plain Bytewax keeps it, not refs; no run goes on from it"
            yield Finding("refs_can_be_restored", step.prefix, text)
        sizes = self.survey.ask(step.named(), self.survey.storage.size)
        yield from invariants.check_step(step, roots.needed.get(step.prefix, ()), sizes.__getitem__)
        if self.deep:
            yield from invariants.named_files_are_sound(step, self._digest(step))
        if roots.is_known(step.prefix) and step.prefix not in roots.unreadable and step.doubt() is None:
            with suppress(SnapshotError):  # `refs_can_be_restored` or `manifests_can_be_read` tells it
                plan = garbage.plan_step(step, roots.of(step), self.min_age, now)
                yield from invariants.nothing_is_unreachable(_abandoned(plan, step, roots))

    def _digest(self, step: StepListing) -> Callable[[str], str]:
        """Digest all files of a step that are not known to be sound."""
        named = step.named()
        unknown = [name for name in named if name not in self.sound]
        with tempfile.TemporaryDirectory(prefix="bytewax-state-") as folder:
            found = self.survey.ask(unknown, lambda name: self._hash(name, Path(folder)))
        self.sound.update(name for name in unknown if found[name] == named[name].sha256)

        def digest(name: str) -> str:
            answer = named[name].sha256 if name in self.sound else found[name]
            if answer is None:
                raise FileNotFoundError(name)
            return answer

        return digest

    def _hash(self, name: str, folder: Path) -> str | None:
        try:
            return self.survey.storage.get_file(name, folder / str(get_ident()))
        except FileNotFoundError:
            return None


def _abandoned(plan: Sweep, step: StepListing, roots: Roots) -> Sweep:
    """Leave out of a plan what the next run deletes of its own accord: it descends from the stores of these refs."""
    parents = {ref.store_id for ref in roots.needed.get(step.prefix, ())}
    covered = parents.union(*(step.stores[store_id].ancestors for store_id in parents))

    def is_covered(name: str) -> bool:
        return name.removeprefix(f"{step.prefix}/").partition("/")[0] in covered

    manifests, files = ([name for name in names if not is_covered(name)] for names in (plan.manifests, plan.files))
    return Sweep(plan.prefix, tuple(manifests), tuple(files))
