"""Each invariant finds what it is there to find, and nothing in a step that is sound."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from bytewax_state.admin import invariants
from bytewax_state.admin.invariants import Finding
from bytewax_state.errors import SnapshotCorruptError
from bytewax_state.snapshot.manifest import Manifest
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.sweep import Sweep
from tests.snapshot.listings import PREFIX, manifest, named, step, store

SOUND = step(
    manifest("a0"),
    manifest("a1", "a1", [0, 1]),
    manifest("a2", "a1 a2", {0: 2, 1: 1}),
    manifest("b0", "a1 a2", ancestors="a"),
    manifest("b1", "a2 b11", {0: 0, 1: 1}, "a"),
)
REFS = [Ref(store("b"), 1, group, 2) for group in (0, 1)]


def other_content(one: Manifest) -> Manifest:
    entry = replace(one.files[0], sha256="cd" * 32)
    return replace(one, files=(entry, *one.files[1:]))


Check = Callable[[], Iterable[Finding]]
FOUND: dict[str, Check] = {
    "refs_can_be_restored": lambda: invariants.refs_can_be_restored(SOUND, [Ref(store("a"), 0, 0, 2)]),
    "refs_can_be_restored of a version": lambda: invariants.refs_can_be_restored(
        step(manifest("a2", groups=[0])), [Ref(store("a"), 1, 0, 2)]
    ),
    "refs_can_be_restored of a store": lambda: invariants.refs_can_be_restored(SOUND, [Ref(store("c"), 1, 0, 2)]),
    "manifests_can_be_read": lambda: invariants.manifests_can_be_read(
        replace(SOUND, unreadable={"x": SnapshotCorruptError("cut")})
    ),
    "named_files_exist": lambda: invariants.named_files_exist(SOUND, lambda name: None if "000011" in name else 10),
    "named_files_exist with their size": lambda: invariants.named_files_exist(
        SOUND, lambda name: 9 if "000011" in name else 10
    ),
    "named_files_are_sound": lambda: invariants.named_files_are_sound(
        SOUND, lambda name: ("cd" if "000011" in name else "ab") * 32
    ),
    "paths_mean_one_file": lambda: invariants.paths_mean_one_file(
        step(manifest("a1", "a1"), other_content(manifest("a2", "a1")))
    ),
    "versions_rise": lambda: invariants.versions_rise(step(manifest("a1", groups=[0]), manifest("a3", groups={0: 0}))),
    "versions_rise not in the past": lambda: invariants.versions_rise(
        step(manifest("a2", groups={0: 1}), manifest("a3", groups={0: 2}))
    ),
    "versions_rise with all groups": lambda: invariants.versions_rise(
        step(manifest("a1", groups=[0, 1]), manifest("a2", groups=[0]))
    ),
    "groups_have_rows": lambda: invariants.groups_have_rows(SOUND, REFS[:1]),
    "groups_have_rows of one number": lambda: invariants.groups_have_rows(SOUND, [*REFS, Ref(store("b"), 1, 0, 1)]),
    "nothing_is_unreachable": lambda: invariants.nothing_is_unreachable(Sweep(PREFIX, (), tuple(named("a1")))),
}


@pytest.mark.parametrize("which", FOUND)
def test_what_is_wrong_is_found(which: str) -> None:
    """Once, under the name of the invariant."""
    (finding,) = FOUND[which]()
    assert finding.invariant == which.partition(" ")[0]
    assert finding.name
    assert finding.text


def test_an_ancestor_that_descends_from_its_heir_is_found() -> None:
    """Both of them are named."""
    there = step(manifest("a1", ancestors="b"), manifest("b1", ancestors="a"))
    assert [finding.name for finding in invariants.ancestry_is_sound(there)] == [
        f"{PREFIX}/{store('a')}",
        f"{PREFIX}/{store('b')}",
    ]


def test_a_sound_step_has_no_findings() -> None:
    """The claim may name what later versions do not."""
    assert invariants.check_step(SOUND, REFS, lambda name: 10) == []
    assert list(invariants.named_files_are_sound(SOUND, lambda name: "ab" * 32)) == []


def test_a_step_of_which_no_refs_are_known_is_judged_without() -> None:
    """Where the recovery directory is not at hand."""
    assert invariants.check_step(SOUND, [], lambda name: 10) == []


def test_a_file_that_is_gone_is_told_once() -> None:
    """By the invariant that says so, not by the one that reads."""

    def missing(name: str) -> str:
        raise FileNotFoundError(name)

    assert list(invariants.named_files_are_sound(SOUND, missing)) == []


def test_every_file_is_looked_at_once() -> None:
    """However many manifests name it."""
    asked: list[str] = []

    def size(name: str) -> int:
        asked.append(name)
        return 10

    assert invariants.check_step(SOUND, [], size) == []
    assert sorted(asked) == sorted(named("a1", "a2", "b11"))
