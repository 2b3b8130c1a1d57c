"""What a logic may know of time that no snapshot says: when to be notified, what the clock said, that the end came.

Each in one run with all of it spilled, killed on its way, and on other workers in the end.
"""

import gc
import time
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import pytest
from bytewax.dataflow import Stream
from bytewax.operators import StatefulBatchLogic, StatefulLogic
from bytewax.operators.windowing import EventClock, SystemClock, TumblingWindower, Windower
from bytewax.testing import TimeTestingGetter

from bytewax_state import Settings
from bytewax_state.store.column import RUN
from tests.dataflow.flows import MINUTE, OPERATORS, SESSION, SLIDING, START, tagged
from tests.dataflow.hazards import Count, Way, batched, cut
from tests.dataflow.runs import Batch, Job, Run, Step, causes, results

SOON = timedelta(seconds=0.5)


class Reminder(StatefulBatchLogic[Any, Any, Any]):
    """Keeps to itself when it wants to be notified."""

    def __init__(self, state: int | None) -> None:
        self.count = state or 0
        self.at: datetime | None = None

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        self.count += len(values)
        if "remind" in values:
            self.at = datetime.now(timezone.utc) + SOON
        return (["stopped"], True) if "stop" in values else ([], False)

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        self.at = None
        return ["notified"], False

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [f"end at {self.count}"], False

    def notify_at(self) -> datetime | None:
        return self.at

    def snapshot(self) -> Any:
        return self.count


REMINDED: list[Batch] = [
    [("a", "remind"), ("b", "remind"), ("c", 1)],
    [("c", "remind"), ("d", 1)],
    [("a", 1), ("d", 1)],
    [("b", 1), ("e", 1)],
    SOON * 1.5,
    [("a", 1)],
]


def test_a_notification_may_be_asked_for_outside_of_the_snapshot(way: Way) -> None:
    """It comes once, though the logic that asked for it is spilled; a resume loses it, as on plain Bytewax."""
    ours = way.results(batched(Reminder), REMINDED)
    theirs = way.plain(batched(Reminder), REMINDED)
    assert _without_notified(ours) == _without_notified(theirs)
    counts = {key: found.count("notified") for key, found in ours.items()}
    most = {"a ": 1, "b ": 1, "c ": 1, "d ": 0, "e ": 0}
    assert counts == most if way.name == "spilled" else all(counts[key] <= most[key] for key in most)


class Mindful(Reminder):
    """Keeps it in its snapshot."""

    def __init__(self, state: Any) -> None:
        super().__init__(state and state[0])
        self.at = state and state[1]

    def snapshot(self) -> Any:
        return (self.count, self.at)


def _without_notified(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {key: [one for one in values if one != "notified"] for key, values in found.items()}


def test_a_key_that_is_complete_is_not_notified(way: Way) -> None:
    """Nor is what comes after it under the same key. Where the machine is slow, the notification may come before."""
    batches: list[Batch] = [
        [("a", "remind"), ("b", "remind"), ("c", "remind")],
        [("a", 1), ("b", "stop")],
        [("c", "stop")],
        [("b", 1)],
        SOON * 1.5,
        [("c", 1)],
    ]
    ours = way.results(batched(Mindful), batches)
    assert ours["a "].count("notified") == 1
    assert all("notified" not in ours[key][ours[key].index("stopped") :] for key in ("b ", "c "))


class Session(StatefulLogic[int, list[int], Any]):
    """Emits its values when there was none for some time."""

    def __init__(self, state: Any) -> None:
        self.values, self.at = state or ([], None)

    def on_item(self, value: int) -> tuple[Iterable[list[int]], bool]:
        self.values.append(value)
        self.at = datetime.now(timezone.utc) + SOON
        return [], False

    def on_notify(self) -> tuple[Iterable[list[int]], bool]:
        return [self.values], True

    def on_eof(self) -> tuple[Iterable[list[int]], bool]:
        return [self.values], True

    def notify_at(self) -> datetime | None:
        return self.at

    def snapshot(self) -> Any:
        return self.values, self.at


def test_a_key_that_is_due_when_a_value_comes(spilling: Settings) -> None:
    """It is notified with that value, though its logic asks for another time then."""

    def work(item: tuple[str, int]) -> tuple[str, int]:
        time.sleep(0.8 if item[1] == 2 else 0)
        return item

    step: Step = lambda up: op.stateful("s", op.map("work", up, work), Session)  # noqa: E731
    expected = results(step, cut([("a", 1), ("a", 2), ("a", 3)]))
    assert expected == {"a ": [[1, 2], [3]]}
    for backend in ("heap", "rocksdb"):
        chosen = spilling.model_copy(update={"backend": backend, "uri": None})
        assert results(step, cut([("a", 1), ("a", 2), ("a", 3)]), chosen) == expected


SYSTEM = TimeTestingGetter(START)
"""The system's time, as the items tell it."""

WINDOWERS: dict[str, Windower[Any]] = {"tumbling": MINUTE, "sliding": SLIDING, "session": SESSION}


def _folded(windower: Windower[Any], wait: timedelta, tell: bool = True) -> Step:
    """Fold windows of values `(event time, system time)`, both in seconds."""
    clock: EventClock[Any] = EventClock(
        lambda value: START + timedelta(seconds=value[0]),
        wait,
        now_getter=SYSTEM.get,
        to_system_utc=lambda timestamp: None,
    )

    def hear(item: Any) -> Any:
        SYSTEM.now = START + timedelta(seconds=item[1][1] if tell else 0)
        return item

    def step(up: Stream[Any]) -> Stream[Any]:
        SYSTEM.now = START
        heard = op.map("hear", up, hear)
        return tagged(
            win.fold_window("s", heard, clock, windower, list, lambda acc, value: [*acc, value[0]], list.__add__)
        )

    return step


SET_BACK = cut([(key, (20 * n, now)) for n, now in enumerate([100, 300, 10, 310, 150, 5, 200, 199]) for key in "ab"], 2)


@pytest.mark.parametrize("windower", WINDOWERS.values(), ids=WINDOWERS)
def test_a_system_clock_that_is_set_back(windower: Windower[Any], way: Way) -> None:
    """Between spill and rebuild, or while the job was down, it never kills the flow, and is no reason to be late."""
    day = timedelta(days=1)
    assert way.results(_folded(windower, day), SET_BACK) == way.plain(_folded(windower, day, tell=False), SET_BACK)


def test_plain_bytewax_dies_of_a_system_clock_that_was_set_back(way: Way) -> None:
    """In a resume only; so this is no hazard that we made up."""
    step = _folded(SESSION, timedelta(days=1))
    if way.name == "spilled":
        assert way.plain(step, SET_BACK)
        return
    with pytest.raises(Exception) as caught:  # noqa: PT011
        way.plain(step, SET_BACK)
    assert isinstance(list(causes(caught.value))[-1], AssertionError)


@pytest.mark.parametrize("windower", WINDOWERS.values(), ids=WINDOWERS)
def test_what_is_late_is_as_late(windower: Windower[Any], way: Way) -> None:
    """The watermark goes on with the system's time from where it was, whoever holds it."""
    items = [
        (key, (event, 15 * now + shift))
        for now, event in enumerate([0, 30, 10, 90, 60, 45, 100, 70, 180, 130, 100, 260])
        for shift, key in enumerate("ab")
    ]
    step = _folded(windower, timedelta(seconds=20))
    ours = way.results(step, cut(items, 2))
    assert ours == way.plain(step, cut(items, 2))
    assert {key: len(values) > 1 for key, values in ours.items() if "late" in key} == {"a late": True, "b late": True}


def test_what_was_late_stays_late(spilling: Settings) -> None:
    """When the system's clock is set back, the watermark waits for it."""
    batches = cut([("a", value) for value in [(0, 0), (30, 40), (15, 100), (30, 20), (70, 30), (110, 50), (95, 130)]])
    step = _folded(SESSION, timedelta(seconds=20))
    ours = results(step, batches, spilling)
    assert ours == results(step, batches)
    assert [values[1][1] for values in ours["a late"]] == [(15, 100), (30, 20), (70, 30), (95, 130)]


def test_windows_of_the_system_clock(way: Way) -> None:
    """Have no state of the clock at all."""
    windower = TumblingWindower(length=timedelta(days=100_000), align_to=START)

    def step(up: Stream[Any]) -> Stream[Any]:
        return tagged(win.collect_window("s", up, SystemClock(), windower))

    batches = cut([(key, number) for number in range(8) for key in "ab"], 2)
    assert way.results(step, batches) == way.plain(step, batches)


ENDING = ["stateful", "collect", "count_final", "fold_final", "session_window"]


@pytest.mark.parametrize("operator", ENDING)
def test_the_end_of_input_comes_to_every_key(operator: str, way: Way) -> None:
    """Though hardly one of them is in memory; each end, where there is more than one."""
    batches = cut([(f"key{number * 7 % 61}", number) for number in range(160)], 16)
    assert way.results(OPERATORS[operator], batches) == way.plain(OPERATORS[operator], batches)


class Counted(Count):
    """Counts how many of its kind there are at once."""

    alive = 0
    peak = 0

    def __init__(self, state: int | None) -> None:
        super().__init__(state)
        Counted.alive += 1
        Counted.peak = max(Counted.peak, Counted.alive)

    def __del__(self) -> None:
        Counted.alive -= 1

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [f"end at {self.count}"], False


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_of_input_is_bounded_in_memory(workers: int, spilling: Settings, tmp_path: Path) -> None:
    """Keys come back for it a thousand at a time, also those that nothing else woke since the last resume."""
    batches = cut([(f"key{number}", number) for number in range(5_000)], 500)
    job = Job(batched(Counted), batches, tmp_path)
    for _ in range(2):
        gc.collect()
        Counted.peak = Counted.alive
        job.run(Run(workers=workers), spilling.model_copy(update={"key_groups": workers}))
        assert Counted.peak <= workers * RUN + 500
    assert {tuple(values) for values in job.results().values()} == {(1, "end at 1", "end at 1")}
    assert len(job.results()) == 5_000


class Insistent(Count):
    """Asks for a time that is past, always, and takes its time when it comes."""

    calls = 0

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        Insistent.calls += 1
        if Insistent.calls > 3_000:
            msg = "nothing else gets a turn"
            raise AssertionError(msg)
        time.sleep(0.001)
        return [], False

    def notify_at(self) -> datetime | None:
        return START


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_keys_that_are_always_due_leave_turns_to_others(backend: str, spilling: Settings) -> None:
    """Though to notify all of them takes longer than a key is held back at least."""
    Insistent.calls = 0
    every = [(f"key{number}", 1) for number in range(200)]
    batches: list[Batch] = [every, timedelta(seconds=0.1), every, timedelta(seconds=0.1), every]
    chosen = spilling.model_copy(update={"backend": backend})
    assert results(batched(Insistent), batches, chosen) == results(batched(Count), batches)
