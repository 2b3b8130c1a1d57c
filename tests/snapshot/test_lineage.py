"""What is told of other stores by whom they descend from: who took over, and who died early."""

from dataclasses import replace

import pytest

from bytewax_state.snapshot.lineage import died_early, successor
from tests.snapshot.listings import HOUR, NOW, manifest, step, store

OWN = manifest("d2", "a1 d11", groups=[0, 1], ancestors="a")
SUCCESSORS = {
    "a version that was restored from it": manifest("e1", ancestors="d"),
    "a young claim": manifest("e0", ancestors="d"),
    "one that began where it began": manifest("e1", ancestors="a"),
    "one that began where it began, with more workers": replace(manifest("e1", ancestors="a"), worker_count=2),
}
OTHERS = {
    "an old claim": manifest("e0", ancestors="d", created_at=NOW - HOUR),
    "another worker": replace(manifest("e1", ancestors="a"), worker_index=1),
    "one that began before": manifest("b1", ancestors="a"),
    "an unrelated one": manifest("e1", ancestors="c"),
    "one that began with nothing": manifest("e1"),
}


@pytest.mark.parametrize("which", SUCCESSORS)
def test_a_successor_shows_that_this_one_was_taken_for_dead(which: str) -> None:
    """So it has to keep what that one may want."""
    assert successor(step(OWN, SUCCESSORS[which]), OWN, NOW - HOUR) == store("e")


@pytest.mark.parametrize("which", OTHERS)
def test_others_are_no_successors(which: str) -> None:
    """A run that was started by mistake, and ended at once, must not stop the deletion for good."""
    assert successor(step(OWN, OTHERS[which]), OWN, NOW - HOUR) is None


DEAD = {
    "a claim": [manifest("b0", "a1", ancestors="a")],
    "files of which the claim was deleted": [],
}
ALIVE = {
    "one that has published": manifest("b1", "a1", groups=[0, 1], ancestors="a"),
    "a newer one": manifest("e0", "a1", ancestors="a"),
    "a successor": manifest("b0", "a1", ancestors="ad"),
    "an unrelated one": manifest("b0", ancestors="c"),
    "one that began with nothing": manifest("b0"),
}


@pytest.mark.parametrize("which", DEAD)
def test_a_store_that_died_before_its_first_commit_is_found(which: str) -> None:
    """It began where this execution began, and can publish nothing any more."""
    assert died_early(step(OWN, *DEAD[which], more="b11"), OWN) == [store("b")]


@pytest.mark.parametrize("which", ALIVE)
def test_a_store_that_may_be_alive_is_left_alone(which: str) -> None:
    """When in doubt, it stays."""
    assert died_early(step(OWN, ALIVE[which]), OWN) == []
