"""What `gc` lets go, as plans: what no ref reaches, and nothing that may be under way."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bytewax_state.admin.garbage import plan_step
from bytewax_state.errors import SnapshotCorruptError, SnapshotMissingError
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.sweep import Sweep
from tests.snapshot.listings import HOUR, NOW, manifest, named, step, store

LATER = NOW + 2 * HOUR


def ref(at: str, group: int = 0) -> Ref:
    return Ref(store(at[0]), int(at[1:]), group, 8)


def manifests(todo: Sweep) -> list[str]:
    """Name the manifests as the tests do."""
    return [f"{chr(int(name.split('/')[3][-8:], 16))}{int(name.split('/')[4][:12])}" for name in todo.manifests]


A = (manifest("a0"), manifest("a1", "a1", [0, 1]), manifest("a2", "a1 a2", {0: 2, 1: 1}), manifest("a3", "a2", [0, 1]))


def test_what_serves_a_ref_stays_and_the_newest_too() -> None:
    """The execution may be running, and go on from what it wrote last."""
    todo = plan_step(step(*A), [ref("a1", 0), ref("a1", 1)], HOUR, LATER)
    assert manifests(todo) == ["a0", "a2"]
    assert todo.files == ()


def test_a_ref_is_served_by_a_later_version_in_which_the_group_is_the_same() -> None:
    """So one may be gone already."""
    todo = plan_step(step(A[0], *A[2:]), [ref("a1", 1)], HOUR, LATER)
    assert manifests(todo) == ["a0"]


def test_files_go_with_the_manifests_that_named_them() -> None:
    """Unless one that stays does."""
    todo = plan_step(step(*A), [ref("a3")], HOUR, LATER)
    assert manifests(todo) == ["a0", "a1", "a2"]
    assert list(todo.files) == named("a1")


def test_a_store_that_no_ref_names_goes_whole() -> None:
    """With what it uploaded and never named; but not what others inherited from it."""
    successor = manifest("c1", "a2 c11", [0], ancestors="a")
    todo = plan_step(step(*A, manifest("b0"), successor, more="a9 b8"), [ref("c1")], HOUR, LATER)
    assert manifests(todo) == ["a0", "a1", "a2", "a3", "b0"]
    assert list(todo.files) == named("a1", "a9", "b8")


def test_a_store_that_a_ref_names_keeps_what_it_may_be_uploading() -> None:
    """Nothing tells an upload that is under way from one that was cut short, but that nothing runs."""
    there = step(*A, more="a9")
    assert named("a9")[0] not in plan_step(there, [ref("a3")], HOUR, LATER).files
    assert named("a9")[0] in plan_step(there, [ref("a3")], timedelta(0), LATER).files


@pytest.mark.parametrize("age", [timedelta(0), HOUR - timedelta(seconds=1), -HOUR])
def test_a_young_store_stays_with_all_that_it_reaches(age: timedelta) -> None:
    """Its execution may be about to commit; one from the future too, as clocks differ."""
    young = manifest("b1", "a1 b12", [0], ancestors="a", created_at=LATER - age)
    assert not plan_step(step(*A, young, more="b9"), [], HOUR, LATER)


@pytest.mark.parametrize("newer", ["b0", "b1"])
def test_a_store_that_is_newer_than_all_refs_stays(newer: str) -> None:
    """Its first upload may take longer than any age; only who says that nothing runs gets rid of it."""
    there = step(*A, manifest(newer, "a1", [0], ancestors="a"), more="b9")
    refs = [ref("a3")]
    assert not plan_step(there, refs, HOUR, LATER)
    assert {named("a1")[0], named("b9")[0]} <= set(plan_step(there, refs, timedelta(0), LATER).files)


def test_a_store_without_a_manifest_is_as_old_as_its_id() -> None:
    """Its claim may be about to be written."""
    at = NOW.replace(2025, 1, 2)
    assert not plan_step(step(more="b1"), [], HOUR, at + timedelta(minutes=59))
    assert list(plan_step(step(more="b1"), [], HOUR, at + HOUR).files) == named("b1")


def test_a_manifest_that_cannot_be_read_stops_it() -> None:
    """It may name anything."""
    there = replace(step(*A), unreadable={"x.manifest": SnapshotCorruptError("cut")})
    with pytest.raises(SnapshotCorruptError, match=r"x\.manifest"):
        plan_step(there, [ref("a3")], HOUR, LATER)


@pytest.mark.parametrize("which", ["a4", "b1"])
def test_a_ref_that_nothing_serves_stops_it(which: str) -> None:
    """The recovery directory and the storage do not belong together."""
    with pytest.raises(SnapshotMissingError, match="belong together"):
        plan_step(step(*A), [ref("a3"), ref(which)], HOUR, LATER)


def test_nothing_is_garbage_of_nothing() -> None:
    """An empty step is no error."""
    assert not plan_step(step(), [], HOUR, LATER)
