"""Invariants: what always holds of the snapshots of a step, each a predicate with the story of what it prevents.

Owns the predicates, which look and change nothing. It does not own what to do about a finding.
Called by `bytewax-state verify`, and by the tests after each thing that they do. Those that only a test can judge
(that a name is never written twice, that restored state is the state of its epoch) are in the tests.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from bytewax_state.snapshot.catalog import StepListing
from bytewax_state.snapshot.manifest import FileEntry, Manifest, name_of
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.sources import serving
from bytewax_state.snapshot.sweep import Sweep


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with the data."""

    invariant: str
    """Name of the predicate."""
    name: str
    """Of the object, or of the step."""
    text: str
    """What was found and expected."""


def refs_can_be_restored(step: StepListing, refs: Iterable[Ref]) -> Iterator[Finding]:
    """Every ref that Bytewax may load is served by a manifest.

    Or the job cannot be resumed. Prevented: retention that counts versions and not commits, or goes by age.
    """
    lost: dict[tuple[str, int], list[int]] = {}
    for ref in refs:
        if not serving(step, ref):
            lost.setdefault((ref.store_id, ref.version), []).append(ref.group)
    for (store_id, version), groups in lost.items():
        there = sorted(step.stores[store_id].manifests) if store_id in step.stores else "none"
        text = (
            f"no manifest serves {len(groups)} key groups ({_ranges(groups)}) at version {version} of store "
            f"{store_id}, of which these versions are there: {there}; do the recovery directory and the storage belong "
            "together?"
        )
        yield Finding("refs_can_be_restored", step.prefix, text)


def manifests_can_be_read(step: StepListing) -> Iterator[Finding]:
    """Every manifest is sound, signed as it has to be, and lies under its own name.

    Or nobody can tell which files are wanted, so nothing may be deleted.
    """
    for name, why in step.unreadable.items():
        yield Finding("manifests_can_be_read", name, str(why))


def named_files_exist(step: StepListing, size: Callable[[str], int | None]) -> Iterator[Finding]:
    """Every file that a manifest names exists, with its size.

    Prevented: a manifest that is written before its files, and files that go before their manifests.

    :arg step: What there is.

    :arg size: Tells the size of an object, in bytes; `None` if there is none.

    """
    for name, entry in step.named().items():
        found = size(name)
        if found != entry.size:
            there = "it is gone" if found is None else f"it has {found}"
            text = f"{_naming(step, entry)} names it with {entry.size} bytes; {there}"
            yield Finding("named_files_exist", name, text)


def named_files_are_sound(step: StepListing, sha256: Callable[[str], str]) -> Iterator[Finding]:
    """Every file that a manifest names has its SHA-256.

    Prevented: a storage, or somebody, that changes what is published.

    :arg step: What there is.

    :arg sha256: Digests an object; raises `FileNotFoundError` if there is none, which another predicate tells.

    """
    for name, entry in step.named().items():
        try:
            found = sha256(name)
        except FileNotFoundError:
            continue
        if found != entry.sha256:
            text = f"{_naming(step, entry)} names it with SHA-256 {entry.sha256}; found {found}"
            yield Finding("named_files_are_sound", name, text)


def paths_mean_one_file(step: StepListing) -> Iterator[Finding]:
    """All manifests that name a path mean the same file.

    Prevented: a file number that is used twice in a store, so that an old version gets the rows of a newer one.
    """
    first: dict[str, tuple[FileEntry, Manifest]] = {}
    for manifest in step.manifests():
        for entry in manifest.files:
            known, by = first.setdefault(entry.path, (entry, manifest))
            if (known.size, known.sha256) != (entry.size, entry.sha256):
                text = f"{name_of(by)} and {name_of(manifest)} name it with different content"
                yield Finding("paths_mean_one_file", f"{step.prefix}/{entry.path}", text)


def versions_rise(step: StepListing) -> Iterator[Finding]:
    """From one version of a store to the next, no group's last change goes back, or appears in the past.

    Prevented: a change that a version does not tell, so that a later manifest serves a ref with other rows.
    """
    for store in step.stores.values():
        versions = [manifest for version, manifest in store.manifests.items() if version]
        for older, newer in pairwise(versions):
            for group, before in older.groups.items():
                after = newer.groups.get(group)
                if after is None or not (after == before or after > older.version):
                    text = (
                        f"key group {group} last changed in version {after}; expected {before}, as in version "
                        f"{older.version}, or a later one than that"
                    )
                    yield Finding("versions_rise", name_of(newer), text)


def ancestry_is_sound(step: StepListing) -> Iterator[Finding]:
    """No store is its ancestor's ancestor. (That all stores whose files are inherited are named, the format checks.)

    Prevented: two stores that keep each other from being deleted, or delete each other.
    """
    ancestors = {store_id: store.ancestors for store_id, store in step.stores.items()}
    for store_id, before in ancestors.items():
        for one in sorted(before):
            if store_id in ancestors.get(one, ()):
                text = f"it and {one} are each other's ancestors"
                yield Finding("ancestry_is_sound", f"{step.prefix}/{store_id}", text)


def groups_have_rows(step: StepListing, refs: Collection[Ref]) -> Iterator[Finding]:
    """Every key group of a step has a row in the recovery partitions.

    Prevented: a group that begins anew in the next execution, or comes back as an older one left it.
    """
    key_groups = {ref.key_groups for ref in refs}
    if len(key_groups) > 1:
        yield Finding("groups_have_rows", step.prefix, f"its refs speak of {sorted(key_groups)} key groups")
    missing = sorted(set(range(max(key_groups, default=0))) - {ref.group for ref in refs})
    if missing:
        text = f"the recovery partitions have no row for {len(missing)} key groups ({_ranges(missing)})"
        yield Finding("groups_have_rows", step.prefix, text)


def nothing_is_unreachable(garbage: Sweep) -> Iterator[Finding]:
    """Nothing is left that nobody can resume from, but what retention and its grace period still cover.

    Prevented: crash loops that fill the storage. `bytewax-state gc` deletes what is found.
    """
    for name in (*garbage.manifests, *garbage.files):
        yield Finding("nothing_is_unreachable", name, "nobody can resume from it; `bytewax-state gc` deletes it")


def _ranges(numbers: Iterable[int]) -> str:
    """Write numbers for people: `0-5, 7`."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _naming(step: StepListing, entry: FileEntry) -> str:
    """Name the newest manifest that names a file so."""
    return [name_of(manifest) for manifest in step.manifests() if entry in manifest.files][-1]


def check_step(step: StepListing, refs: Collection[Ref], size: Callable[[str], int | None]) -> list[Finding]:
    """Check all that costs no reading of files.

    :arg step: What there is.

    :arg refs: Those that Bytewax may load; none if they are not known.

    :arg size: Tells the size of an object, in bytes; `None` if there is none.

    :returns: What was found.

    """
    return [
        *manifests_can_be_read(step),
        *refs_can_be_restored(step, refs),
        *groups_have_rows(step, refs),
        *named_files_exist(step, size),
        *paths_mean_one_file(step),
        *versions_rise(step),
        *ancestry_is_sound(step),
    ]
