"""What a damage may lead to: the right state, or an error that names what is damaged. All else is a finding.

Owns the damage to a job's objects, for the time of one restore, and what has to come of it. It does not own which
inputs there are (`damage`), nor Bytewax's recovery partitions (`partitions`).
"""

import random
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bytewax_state.errors import (
    BytewaxStateError,
    IncompatibleError,
    SnapshotCorruptError,
    SnapshotMissingError,
    UsageError,
)
from bytewax_state.signing import DIGEST, UNSIGNED
from bytewax_state.snapshot.envelope import FORMAT, MAGIC
from bytewax_state.snapshot.layout import parse_manifest_name
from bytewax_state.snapshot.manifest import name_of
from bytewax_state.snapshot.ref import is_ref
from tests.fuzz import commands
from tests.fuzz.damage import Input, altered
from tests.fuzz.jobs import ID, STEP, Job, Row, Stock
from tests.fuzz.worlds import Changes, World, link_tree, read_all, restore


@dataclass(slots=True)
class Verdict:
    """What an input led to."""

    outcome: str
    """`right`; the kind of an error of ours; `unprotected`: another answer, which nobody can tell from a right one;
    `wrong`; or the class of an exception that is none of ours."""
    message: str = ""
    findings: list[str] = field(default_factory=list)
    """What must not be, in words."""


Allowed = tuple[type[BytewaxStateError], str]
"""An error, and what its message has to name."""

COMMANDS = 8
"""One in so many inputs is looked at with the command line too."""

ANY: Sequence[Allowed] = [(kind, "") for kind in (SnapshotCorruptError, SnapshotMissingError, IncompatibleError)]


@dataclass(frozen=True, slots=True)
class Damage:
    """What a restore will meet, and what may come of it."""

    refs: Mapping[int, Row]
    """What Bytewax should load, by key group."""
    given: Mapping[int, object]
    """What it does load."""
    allowed: Sequence[Allowed] = ()
    must_fail: bool = False
    objects: Changes = field(default_factory=dict)
    local: Changes = field(default_factory=dict)
    forged: bool = False
    """Whether somebody made an object on purpose, where nothing can tell."""


class Judge:
    """Takes inputs for one job, one after the other, and leaves all as it was."""

    def __init__(self, job: Job, stock: Stock, scratch: Path) -> None:
        """Init.

        :arg job: Job.

        :arg stock: What there is of it.

        :arg scratch: Folder for the local folders of restores.

        """
        self._job = job
        self._stock = stock
        self._scratch = scratch
        self._world = World(job)
        self._work = read_all(job.folder / "work")

    def __call__(self, case: Input) -> Verdict:
        """Damage, restore, judge."""
        damage = self._damage(case)
        with TemporaryDirectory(dir=self._scratch) as folder, self._world.changed(damage.objects):
            root = Path(folder) / "work"
            if case.warm:
                link_tree(self._job.folder / "work", root, damage.local)
            verdict = self._restore(damage, root, case.groups)
            if damage.objects and not damage.forged:
                verdict.findings += self._look(damage.objects, thoroughly=case.seed % COMMANDS == 0)
        return verdict

    def _restore(self, damage: Damage, root: Path, groups: tuple[int, ...]) -> Verdict:
        try:
            answer = restore(self._job, self._world.uri, root, damage.given, groups)
        except BytewaxStateError as ex:
            named = any(type(ex) is kind and name in str(ex) for kind, name in damage.allowed)
            return Verdict(ex.kind, str(ex), [] if named else ["an error that does not tell what is damaged"])
        except BaseException as ex:
            return Verdict(type(ex).__name__, traceback.format_exc(), ["an exception that is none of ours"])
        if answer == self._job.expected(damage.refs):
            return Verdict("right", findings=["damage that was not found"] if damage.must_fail else [])
        return Verdict("unprotected") if damage.forged else Verdict("wrong", findings=["a wrong answer"])

    def _look(self, objects: Changes, thoroughly: bool) -> Iterator[str]:
        """Look at the whole step as retention does, and as somebody at the command line."""
        changed = {name: data for name, data in objects.items() if data != self._world.objects[name]}
        if any(map(parse_manifest_name, changed)):
            yield from self._misread(changed)
        if thoroughly:
            yield from commands.look(self._job, self._world.uri, changed)

    def _misread(self, changed: Changes) -> Iterator[str]:
        """See that what is damaged is named, and that the rest is there."""
        try:
            step = self._world.catalog().step(ID.prefix)
        except Exception:
            yield f"the catalog cannot be read: {traceback.format_exc()}"
            return
        manifests = {name for name in self._world.objects if parse_manifest_name(name)}
        gone = {name for name, data in changed.items() if data is None}
        bad = (changed.keys() & manifests) - gone
        if set(step.unreadable) != bad:
            yield f"the catalog cannot read {sorted(step.unreadable)}, expected {sorted(bad)}"
        if manifests & {name_of(manifest) for manifest in step.manifests()} != manifests - gone - bad:
            yield "the catalog does not have all sound manifests"

    def _damage(self, case: Input) -> Damage:
        refs = self._job.refs(case.groups, case.before)
        if case.kind == "ref":
            return self._damaged_ref(case, refs)
        given = {group: row.value for group, row in refs.items()}
        if case.kind == "frozen sst" or case.kind == "frozen small":
            return Damage(refs, given, local=_changes(case, self._work))
        objects = self._world.objects
        changes = _changes(case, objects)
        needed = changes.keys() & self._stock.needed[case.before, case.groups]
        needed = {name for name in needed if changes[name] != objects[name]}
        if case.kind == "forged" and not self._job.signed:
            return Damage(refs, given, ANY, objects=changes, forged=True)
        allowed = [one for name in needed for one in _errors(name, changes[name])]
        return Damage(refs, given, allowed, case.kind == "sst" and bool(needed) and not case.warm, changes)

    def _damaged_ref(self, case: Input, refs: dict[int, Row]) -> Damage:
        rng = random.Random(case.seed)
        group = int(case.name)
        given: dict[int, object] = {one: row.value for one, row in refs.items()}
        sound = refs[group].value
        if case.way == "swap":
            given[group], given[int(case.other)] = given[int(case.other)], given[group]
            return Damage(
                refs, given, [(IncompatibleError, f"key group {one}") for one in (case.name, case.other)], True
            )
        if case.way == "older":
            older = rng.choice(self._job.rows[group])
            return Damage({**refs, group: older}, {**given, group: older.value})
        if case.way == "delete":
            del given[group]
            return Damage(refs, given, [(SnapshotMissingError, f"key group {group}")], must_fail=True)
        bad = b"" if case.way == "empty" else altered(sound, case.kind, case.way, case.region, rng)
        allowed: list[Allowed] = [(SnapshotCorruptError, STEP)]
        if not is_ref(bad):
            allowed = [(UsageError, STEP)]
        elif len(bad) > 4 and bad[4] != sound[4]:
            allowed.append((IncompatibleError, STEP))
        return Damage(refs, {**given, group: bad}, allowed, bad != sound)


def _changes(case: Input, objects: Mapping[str, bytes]) -> Changes:
    name, data = case.name, objects[case.name]
    if case.way == "swap":
        return {name: objects[case.other], case.other: data}
    if case.way == "older":
        return {name: objects[case.other]}
    if case.way in ("delete", "empty"):
        return {name: None if case.way == "delete" else b""}
    rng = random.Random(case.seed)
    if case.kind != "forged":
        return {name: altered(data, case.kind, case.way, case.region, rng)}
    bad = altered(data[:-DIGEST], case.kind, case.way, case.region, rng)
    return {name: bad + UNSIGNED.digest(bad)}


def _errors(name: str, data: bytes | None) -> Iterator[Allowed]:
    """Say which errors may tell of an object that is damaged, or gone."""
    at = parse_manifest_name(name)
    if data is not None:
        yield SnapshotCorruptError, name
        if (
            at is not None
            and data.startswith(MAGIC)
            and int.from_bytes(data[len(MAGIC) : len(MAGIC) + 2], "big") > FORMAT
        ):
            yield IncompatibleError, name
    elif at is None:
        yield SnapshotMissingError, name
    else:
        yield SnapshotMissingError, f"version {at.version} of store {at.store_id!r}"
