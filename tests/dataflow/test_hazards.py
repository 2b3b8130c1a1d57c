"""What a logic may do to its state that no snapshot says: each time the results of plain Bytewax.

Each in one run with all of it spilled, killed on its way, and on other workers in the end.
"""

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import pytest
from bytewax.operators import StatefulBatchLogic

from bytewax_state import Settings
from bytewax_state.errors import IncompatibleError, UsageError
from tests.dataflow.flows import ITEMS, MINUTE, STOPPED, RunningSum
from tests.dataflow.hazards import Builder, Count, Way, batched, cut, noting, warnings
from tests.dataflow.runs import LONG, Job, Run, Step, causes, results

BATCHES = cut(ITEMS[:130], 13)


class Fragile(Count):
    """Cannot be built of what it was."""

    def __init__(self, state: int | None = None) -> None:
        if state is not None:
            msg = "boom"
            raise ValueError(msg)
        super().__init__(state)


IGNORING: dict[str, Step] = {
    "batch": batched(lambda state: Count()),
    "wrapped": lambda up: op.stateful("s", up, lambda state: RunningSum(None)),
}


@pytest.mark.parametrize("step", IGNORING.values(), ids=IGNORING)
def test_a_builder_that_ignores_its_state(step: Step, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """The logics stay in memory, so that only a resume loses what it always lost; each worker warns once."""
    assert way.results(step, BATCHES) == way.plain(step, BATCHES)
    told = warnings(caplog)
    assert all(re.search(r"'flow\.s.*does not rebuild what its snapshot says; nor will a resume", one) for one in told)
    workers = sum(run.workers for run in way.runs(BATCHES)) if way.settings.backend == "rocksdb" else 0
    assert bool(workers) <= len(told) <= workers


def test_a_builder_that_fails_on_its_state(spilling: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """The logics stay in memory, and the user is told once."""
    assert results(batched(Fragile), BATCHES, spilling) == results(batched(Fragile), BATCHES)
    (warning,) = warnings(caplog)
    assert re.search(r"'flow\.s'.*builder fails on its own snapshot; so will a resume.*boom", warning)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_builder_that_fails_on_a_resume(backend: str, workers: int, spilling: Settings, tmp_path: Path) -> None:
    """Fails it as it always did, and nothing is lost: a builder that was repaired goes on."""
    job = Job(batched(Fragile), BATCHES, tmp_path)
    chosen = spilling.model_copy(update={"backend": backend})
    job.run(Run(stop=5), chosen)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        job.run(Run(workers=workers), chosen)
    assert [str(one) for one in causes(caught.value) if isinstance(one, ValueError)] == ["boom"]
    assert any(re.search(r"builder of step 'flow\.s' .* key 'key\d+'", str(one)) for one in causes(caught.value))
    job.step = batched(Count)
    job.run(Run(workers=workers), chosen)
    assert job.results() == results(batched(Count), BATCHES)


class Total(int):
    """A state of the user's own class."""


class Totals(Count):
    """Keeps it."""

    def snapshot(self) -> Any:
        return Total(self.count)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_a_class_that_was_renamed(
    backend: str, spilling: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends the run, naming the class, the step and a key; with the old name it goes on."""
    job = Job(batched(Totals), BATCHES, tmp_path)
    chosen = spilling.model_copy(update={"backend": backend})
    job.run(Run(stop=5), chosen)
    with monkeypatch.context() as patch, pytest.raises(Exception) as caught:  # noqa: PT011, PT012
        patch.delitem(globals(), "Total")
        job.run(Run(), chosen)
    (ours,) = (str(one) for one in causes(caught.value) if type(one) is IncompatibleError and "step" in str(one))
    assert re.search(r"step 'flow\.s' for key 'key\d+'.*Total", ours)
    job.run(Run(), chosen)
    assert job.results() == results(batched(Count), BATCHES)


class Flag(Count):
    """Has nothing to keep until a value is high."""

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.count = max([self.count, *(value for value in values if value > 100)])
        return [self.count], False


def test_a_builder_is_judged_by_a_state_that_says_something(spilling: Settings) -> None:
    """One that ignores its state rebuilds what a new logic has; that does not show what it does with any other."""
    items = [(f"key{number}", value) for value in (1, 2, 101, 3) for number in range(50)]
    step = batched(lambda state: Flag())
    assert results(step, cut(items, 20), spilling) == results(step, cut(items, 20))


def test_a_logic_that_behaves_is_spilled(spilling: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Or nothing here would test anything: each batch rebuilds what it needs, also after one of many keys."""
    states: list[Any] = []
    batches = [[(f"key{number}", 1) for number in range(50)], *cut([("key0", 1), ("key1", 1)] * 20)]
    results(batched(noting(Count, states)), batches, spilling.model_copy(update={"key_groups": 1}))
    assert [states.count(number) >= 2 for number in range(1, 20)] == [True] * 19
    assert warnings(caplog) == []


class Silent(Count):
    """Has nothing to say of itself at every other count."""

    def snapshot(self) -> Any:
        return None if self.count % 2 else self.count


def test_a_snapshot_of_none_is_not_the_end(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """A builder takes `None` for a new key, so the logic stays until it has something to say."""
    batches = cut([(f"key{number % (number // 10 + 1)}", number) for number in range(120)], 10)
    ours = way.results(batched(Silent), batches)
    assert ours == way.plain(batched(Silent), batches)
    assert max(map(max, ours.values())) > 9
    assert warnings(caplog) == []


def test_what_had_nothing_to_say_is_spilled_later(spilling: Settings) -> None:
    """And comes back as it was, not as a key that never was."""
    states: list[Any] = []
    batches = cut([(f"key{number % (number // 10 + 1)}", number) for number in range(120)], 10)
    ours = results(batched(noting(Silent, states)), batches, spilling.model_copy(update={"key_groups": 1}))
    assert ours == results(batched(Silent), batches)
    assert max(state or 0 for state in states) > 9


def _vanishing(acc: Any, value: int) -> Any:
    return None if value % 3 == 0 else f"{acc} {value}"


NOTHING_SO_FAR: dict[str, Step] = {
    "fold_final": lambda up: op.fold_final("s", up, lambda: "fresh", _vanishing),
    "reduce_final": lambda up: op.reduce_final("s", up, _vanishing),
    "fold_window": lambda up: (
        win.fold_window("s", up, STOPPED, MINUTE, lambda: "fresh", _vanishing, _vanishing, ordered=False).down
    ),
    "stateful_map": lambda up: op.stateful_map("s", up, lambda acc, value: (_vanishing(acc, value), acc)),
}
# Nothing is lost in the first spills, each of which is tried out.
LATER = [1, 2, 4, 5, 7, 15, 16, 130, 132]


@pytest.mark.parametrize("step", NOTHING_SO_FAR.values(), ids=NOTHING_SO_FAR)
def test_an_accumulator_of_none_is_not_a_new_one(step: Step, way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """Though the builders of folds, also those of single windows, take it for that: in a resume, and only there."""
    batches = cut([(key, value) for value in LATER for key in "abcd"], 4)
    assert way.results(step, batches) == way.plain(step, batches)
    assert "None" in str(results(step, batches))
    assert warnings(caplog) == []


class Holds(Count):
    """Has something in its snapshot, up to some count."""

    what: Any = None
    until = 1_000

    def snapshot(self) -> Any:
        return (self.what if self.count < self.until else "nothing", self.count)


def _holding(what: Any, until: int = 1_000) -> Step:
    cls = type("Holding", (Holds,), {"what": staticmethod(what) if callable(what) else what, "until": until})
    return batched(lambda state: cls(state and state[1]))


@pytest.mark.parametrize("kind", ["lambda", "file"])
def test_a_snapshot_that_cannot_be_serialised(
    kind: str, spilling: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stays in memory while the epoch lasts; at its end there is an error, which names step and key."""
    with (tmp_path / "file").open("w") as file:
        step = _holding(file if kind == "file" else lambda: None)
        job = Job(step, cut([("some key", 1), ("other key", 1)] * 3), tmp_path)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            job.run(Run(interval=LONG), spilling)
    assert job.results() == {"some key ": [1, 2, 3], "other key ": [1, 2, 3]}
    chain = list(causes(caught.value))
    ours = next(one for one in chain if isinstance(one, UsageError))
    assert "'flow.s'" in str(ours)
    assert re.search("key '(some|other) key'", str(ours))
    assert isinstance(chain[-1], (AttributeError, TypeError))  # what pickle says
    assert len(warnings(caplog)) == 1


class Broken(Holds):
    """Comes upon something that cannot be serialised."""

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.what = (lambda: None) if 111 in values else None
        return super().on_batch(values)


def _builder(cls: type[Holds]) -> Builder:
    return lambda state: cls(state and state[1])


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_snapshot_that_cannot_be_serialised_loses_nothing(
    backend: str, workers: int, spilling: Settings, tmp_path: Path
) -> None:
    """But the epoch: a logic that was repaired goes on from the one before."""
    batches = cut([*ITEMS[:70], ("key3", 111), *ITEMS[70:100]], 10)
    job = Job(batched(_builder(Broken)), batches, tmp_path)
    chosen = spilling.model_copy(update={"backend": backend})
    job.run(Run(stop=4, workers=workers), chosen)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        job.run(Run(workers=workers), chosen)
    assert any("'key3'" in str(one) for one in causes(caught.value) if isinstance(one, UsageError))
    job.step = batched(_builder(Holds))
    job.run(Run(workers=4 - workers), chosen)
    assert job.results() == results(job.step, batches)


def test_what_cannot_be_serialised_needs_no_snapshot(spilling: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Where none are taken, the flow runs to its end."""
    step, batches = _holding(lambda: None), cut([("a", 1), ("b", 1)] * 30)
    ours = results(step, batches, spilling.model_copy(update={"uri": None}))
    assert ours == results(step, batches)
    assert len(warnings(caplog)) == 1


def test_what_can_be_serialised_again_is_no_error(way: Way) -> None:
    """Only the end of an epoch asks."""
    step, batches = _holding(lambda: None, until=3), cut([("a", 1), ("b", 1)] * 20)
    runs = [dataclasses.replace(run, interval=LONG) for run in way.runs(batches)]
    assert results(step, batches, way.settings, runs) == results(step, batches)


class Accumulates(StatefulBatchLogic[Any, Any, Any]):
    """Emits the object that is its state."""

    def __init__(self, state: list[Any] | None) -> None:
        self.values = state or []

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.values += values
        return [self.values], False

    def snapshot(self) -> Any:
        return list(self.values)


def test_the_emitted_object_may_be_the_state(way: Way) -> None:
    """On the heap it goes on changing downstream, as it always did; one that was spilled is another from then on."""
    batches = cut([("a", number) for number in range(8)])
    theirs = way.plain(batched(Accumulates), batches)
    expected = theirs if way.name.startswith("heap") else {"a ": [list(range(number)) for number in range(1, 9)]}
    assert way.results(batched(Accumulates), batches) == expected
    assert theirs["a "][:2] == [theirs["a "][1]] * 2
