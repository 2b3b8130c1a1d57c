"""What code says when it is asked, and not what its last version had said: each time as on plain Bytewax.

Every logic is asked when it wants to be notified after a resume, and told of the end of input, wherever its state is.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.operators import StatefulBatchLogic, StatefulLogic

from bytewax_state import Settings
from bytewax_state.keygroups import groups_of_workers
from bytewax_state.snapshot.layout import StepId
from bytewax_state.store.column import RUN
from tests.dataflow.hazards import Count, batched, cut
from tests.dataflow.runs import Batch, Job, Run, Step, causes, results
from tests.driver import Execution

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)
FUTURE = datetime(2100, 1, 1, tzinfo=timezone.utc)
SOON = timedelta(seconds=0.2)


@pytest.fixture(params=["heap", "spilled", "roomy"])
def settings(request: pytest.FixtureRequest, spilling: Settings) -> Settings:
    """Both stores; the RocksDB one with room for nothing, and for all."""
    backend = "heap" if request.param == "heap" else "rocksdb"
    return spilling.model_copy(update={"backend": backend, "cache_entries": 10_000 if request.param == "roomy" else 0})


class Timeout(Count):
    """Counts, and rings once when its timeout is over, which is no part of its state."""

    timeout: timedelta | None = None

    def __init__(self, state: Any = None) -> None:
        self.count, self.seen, self.rang = state or (0, PAST, False)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.seen = datetime.now(timezone.utc)
        return super().on_batch(values)

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        self.rang = True
        return [f"rang after {self.count}"], False

    def notify_at(self) -> datetime | None:
        return None if self.rang or self.timeout is None else self.seen + self.timeout

    def snapshot(self) -> Any:
        return (self.count, self.seen, self.rang)


def _with(timeout: timedelta | None) -> Step:
    return batched(type("Version", (Timeout,), {"timeout": timeout}))


TIMEOUTS = {"never": None, "at-once": timedelta(0), "soon": SOON, "late": timedelta(days=1)}


def _versions(
    first: Step,
    second: Step,
    batches: tuple[list[Batch], list[Batch]],
    folder: Path,
    settings: Settings | None,
    workers: int = 1,
) -> dict[str, list[Any]]:
    """Run a version of a flow, and go on with another one."""
    folder.mkdir()
    job = Job(first, [*batches[0], *batches[1]], folder)
    assert job.run(Run(stop=len(batches[0])), settings)
    job.step = second
    assert job.run(Run(workers=workers), settings)
    return job.results()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("before", "after"), [("never", "soon"), ("never", "at-once"), ("late", "soon"), ("late", "never")]
)
def test_another_version_may_have_another_timeout(
    before: str, after: str, workers: int, settings: Settings, tmp_path: Path
) -> None:
    """It applies to all keys, at the time that the new version says, though nothing else comes."""
    items = [(f"key{number % 40}", number) for number in range(80)]
    batches: tuple[list[Batch], list[Batch]] = (cut(items, 40), [SOON * 2.5])
    steps = _with(TIMEOUTS[before]), _with(TIMEOUTS[after])
    ours = _versions(*steps, batches, tmp_path / "ours", settings, workers)
    assert ours == _versions(*steps, batches, tmp_path / "plain", None, workers)
    assert ("rang after 2" in ours["key7 "]) is (after in ("at-once", "soon"))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("before", ["never", "at-once", "late"])
def test_what_is_due_on_a_resume_comes_before_the_first_item(
    before: str, workers: int, settings: Settings, tmp_path: Path
) -> None:
    """As the run that is resumed was not there to notify it."""
    items = [(f"key{number}", number) for number in range(40)]
    batches: tuple[list[Batch], list[Batch]] = ([items], [items, items])
    steps = _with(TIMEOUTS[before]), _with(timedelta(0))
    ours = _versions(*steps, batches, tmp_path / "ours", settings, workers)
    assert ours == _versions(*steps, batches, tmp_path / "plain", None, workers)
    assert ours["key7 "][1 if before != "at-once" else 2 :] == ["rang after 1", 2, 3][before == "at-once" :]


class Told(Timeout):
    """Is told of the end too."""

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [f"end at {self.count}"], False


def test_what_is_due_on_a_resume_comes_before_the_end(settings: Settings, tmp_path: Path) -> None:
    """Though the input ends at once."""
    first = batched(Told)
    second = batched(type("Later", (Told,), {"timeout": timedelta(0)}))
    batches: tuple[list[Batch], list[Batch]] = (cut([(f"key{number}", 1) for number in range(700)], 100), [])
    ours = _versions(first, second, batches, tmp_path / "ours", settings)
    assert {tuple(values) for values in ours.values()} == {(1, "end at 1", "rang after 1", "end at 1")}
    assert len(ours) == 700


@pytest.mark.parametrize("workers", [1, 3])
def test_an_idle_flow_gets_through_its_keys(workers: int, settings: Settings, tmp_path: Path) -> None:
    """It asks for itself to be called again, until all keys were asked, and does not wait for the end of input."""
    items = [(f"key{number}", 1) for number in range(1_000)]
    job = Job(_with(None), [items, timedelta(seconds=2), [("last", 1)]], tmp_path)
    job.run(Run(stop=1), settings)
    job.step = _with(timedelta(0))
    job.run(Run(workers=workers), settings)
    rang = [key for key, value in job.out[: job.out.index(("last", 1))] if value == "rang after 1"]
    assert sorted(rang) == sorted(key for key, _ in items)


@pytest.mark.parametrize("again", ["killed", "stopped"])
def test_a_second_resume_in_the_middle_asks_all_again(again: str, settings: Settings, tmp_path: Path) -> None:
    """Some rows are of the execution that was ended, and had asked them, and some of the one before."""
    items = [(f"key{number}", 1) for number in range(2_000)]
    some = [[item] for item in items[::200]]
    job = Job(_with(None), [*cut(items, 500), *some], tmp_path)
    job.run(Run(stop=4), settings)
    job.step = _with(timedelta(days=1))
    middle = 4 + len(some) // 2
    job.run(Run(stop=middle) if again == "stopped" else Run(abort=middle), settings)
    job.step = _with(timedelta(0))
    job.run(Run(), settings)
    ours = job.results()
    assert all(sum(str(value).startswith("rang") for value in values) == 1 for values in ours.values())
    assert len(ours) == 2_000


def test_a_time_that_is_wrong_on_a_resume_names_step_and_key(settings: Settings, tmp_path: Path) -> None:
    """Where a new version has a mistake, nothing is lost: the one after it goes on."""
    job = Job(_with(None), [*cut([("some key", 1)] * 3), SOON], tmp_path)
    job.run(Run(stop=3), settings)
    job.step = batched(type("Wrong", (Timeout,), {"notify_at": lambda self: "tomorrow"}))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        job.run(Run(), settings)
    told = [str(one) for one in causes(caught.value)]
    assert any("notify_at" in one and "'flow.s'" in one and "'some key'" in one for one in told)
    job.step = _with(timedelta(0))
    job.run(Run(), settings)
    assert job.results() == {"some key ": [1, 2, 3, "rang after 3"]}


class Hushed(Count):
    """Has no hook of its own."""


class Ends(Count):
    """Is told of the end."""

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [f"end at {self.count}"], False


class EndsByItself(Count):
    """Gets the method when it is built."""

    def __init__(self, state: int | None = None) -> None:
        super().__init__(state)
        self.on_eof = lambda: ([f"own end at {self.count}"], self.count == 5)  # type: ignore[method-assign]


class Inner(StatefulLogic[Any, Any, Any]):
    """One item at a time."""

    def __init__(self, state: int | None) -> None:
        self.count = state or 0

    def on_item(self, value: Any) -> tuple[Iterable[Any], bool]:
        self.count += 1
        return [self.count], False

    def snapshot(self) -> Any:
        return self.count


class InnerEnds(Inner):
    """Is told of the end."""

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [f"inner end at {self.count}"], False


def _by_state(*classes: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda state: classes[(state or 0) % len(classes)](state)


BY_STATE: dict[str, Step] = {
    "batch": batched(_by_state(Hushed, Hushed, Ends, EndsByItself)),
    "mostly-hushed": batched(_by_state(*[Hushed] * 6, Ends)),
    "stateful": lambda up: op.stateful("s", up, _by_state(Inner, InnerEnds, Inner)),
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("step", BY_STATE.values(), ids=BY_STATE)
def test_each_logic_is_told_of_the_end(step: Step, workers: int, settings: Settings, tmp_path: Path) -> None:
    """Whatever class a builder picks for another key's state: one logic does not speak for others."""
    batches = cut([(f"key{number % (number // 9 + 1)}", number) for number in range(400)], 30)
    ours, theirs = (_ends(step, batches, tmp_path / name, chosen, workers) for name, chosen in _sides(settings))
    assert ours == theirs
    assert ours


def _sides(settings: Settings) -> list[tuple[str, Settings | None]]:
    return [("ours", settings), ("plain", None)]


def _ends(
    step: Step, batches: list[Batch], folder: Path, settings: Settings | None, workers: int
) -> dict[str, list[Any]]:
    """Return what comes of a resume without further input, where each logic is built from its state."""
    folder.mkdir()
    job = Job(step, batches, folder)
    job.run(Run(abort=len(batches)), settings)
    job.out.clear()
    job.run(Run(workers=workers), settings)
    return job.results()


def test_a_hook_may_come_after_the_first_build(settings: Settings) -> None:
    """A class that has none, and an object that has none yet, do not speak for what an object asks for later."""

    class Late(StatefulBatchLogic[Any, Any, Any]):
        def __init__(self, state: Any) -> None:
            self.count = state or 0

        def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
            self.count += 1
            if self.count == 3:
                self.notify_at = lambda: PAST if self.count == 3 else None  # type: ignore[method-assign]
                self.on_notify = self._notify  # type: ignore[method-assign]
            return [], False

        def _notify(self) -> tuple[Iterable[Any], bool]:
            self.count += 1
            return ["notified"], False

        def snapshot(self) -> Any:
            return self.count

    in_memory = settings.model_copy(update={"cache_entries": 10_000})
    batches = cut([("a", 1), ("b", 1)] * 4, 2)
    assert results(batched(Late), batches, in_memory) == results(batched(Late), batches)
    assert results(batched(Late), batches)["a "] == ["notified"]


class Bell(Count):
    """Rings at a time that all keys have in common."""

    at = FUTURE

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        self.count = -100
        return ["rang"], False

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return ["end"], False

    def notify_at(self) -> datetime | None:
        return self.at if self.count > 0 else None


def test_all_that_is_due_at_a_resume_comes_before_the_first_item(settings: Settings) -> None:
    """Though the wakes of the groups come in two activations, of which the first has the one that comes last."""
    step, now = StepId("flow", "flow.s"), [PAST]
    items = [(f"key{number}", 1) for number in range(20)]
    with closing(Execution(step, settings, Bell, now=lambda: now[0])) as run:
        run.open()
        run.batch(items)
        refs = run.end_epoch()
    now[0] = FUTURE
    with closing(Execution(step, settings, Bell, refs=refs, now=lambda: now[0])) as run:
        run.load(0)
        *others, anchor = groups_of_workers(settings.key_groups, 1)[0]
        out = run.hello(0, [others.pop(), anchor])
        assert out
        out += run.hello(0, others)
        out += run.batch([(key, 0) for key, _ in items])
    assert sorted(key for key, what in out if what == "rang") == sorted(key for key, _ in items)


def test_all_that_is_due_comes_before_the_end(settings: Settings) -> None:
    """Though the time came together with the end, and for more keys than come back into memory at once."""
    now = [PAST]
    chosen = settings.model_copy(update={"key_groups": 1, "uri": None})
    items = [(f"key{number}", 1) for number in range(3 * RUN)]
    with closing(Execution(StepId("flow", "flow.s"), chosen, Bell, now=lambda: now[0])) as run:
        run.open()
        run.batch(items)
        now[0] = FUTURE
        out = run.end()
    assert sorted(key for key, what in out if what == "rang") == sorted(key for key, _ in items)
    assert [what for key, what in out if key == "key7"] == ["rang", "end"]
    assert len(out) == 2 * len(items)
