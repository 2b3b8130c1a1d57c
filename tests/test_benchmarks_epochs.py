"""The benchmarks of epochs run, at tiny sizes, and give the figures that they promise; never how fast."""

from dataclasses import replace

import pytest

from benchmarks import epochs
from benchmarks.epoch_run import FIRST, Run, run


def tiny(what: Run) -> Run:
    """Shrink a run."""
    return replace(what, keys=400, changed=20, epochs=FIRST + 5)


@pytest.mark.parametrize("steps", [1, 2])
def test_an_epoch_is_measured(steps: int) -> None:
    """On both sides; only ours writes manifests."""
    ours = run(replace(tiny(epochs.SMALL), steps=steps))
    theirs = run(replace(tiny(epochs.SMALL), steps=steps, side="theirs"))
    assert 0 < theirs.median_ms <= theirs.worst_ms
    assert 0 < ours.standstill_ms <= ours.worst_standstill_ms < ours.worst_ms
    assert (theirs.manifest_bytes, 0 < ours.manifest_bytes < 4_000) == (0, True)


def test_the_figures_are_named_by_store_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what is asked for."""
    for name in ("SMALL", "LARGE"):
        monkeypatch.setattr(epochs, name, tiny(getattr(epochs, name)))
    found = [*epochs.figures(1, lambda text: None), *epochs.large_figures(1, lambda text: None)]
    assert [one.case.split(":", 1) for one in found if one.at_most] == [
        *(
            ["epochs", f"{store}:400:{steps}{more}"]
            for store in ("heap", "rocksdb")
            for steps in (1, 4)
            for more in ("", ":manifest")
        ),
        ["large_epochs", "rocksdb:400"],
        ["large_epochs", "rocksdb:400:worst"],
    ]
