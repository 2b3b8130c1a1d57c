"""On one worker results come in plain Bytewax's order, over all keys, those of timers and of the end included."""

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Stream
from bytewax.operators import StatefulBatchLogic

from bytewax_state import Settings
from bytewax_state.dataflow.execution import TICK
from bytewax_state.keygroups import group_of, groups_of_workers
from bytewax_state.snapshot.layout import StepId
from tests.dataflow.flows import OPERATORS
from tests.dataflow.runs import LONG, ZERO, Batch, Job, Run, Step
from tests.driver import Execution

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)


class Bell(StatefulBatchLogic[int, Any, int]):
    """Rings at once after every third value, and at the end."""

    def __init__(self, count: int | None) -> None:
        self.count = count or 0
        self.rings = False

    def on_batch(self, values: list[int]) -> tuple[Iterable[Any], bool]:
        self.count += len(values)
        self.rings = self.count % 3 == 0
        return [("batch", *values)], False

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        self.rings = False
        return [("ring", self.count)], False

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [("end", self.count)], self.count % 2 == 0

    def notify_at(self) -> datetime | None:
        return PAST if self.rings else None

    def snapshot(self) -> int:
        return self.count


def _twice(up: Stream[Any]) -> Stream[Any]:
    """Two steps in a row, the upper one of which rings."""
    rung = op.stateful_batch("upper", up, Bell)
    return op.stateful_map("s", rung, lambda seen, value: ((seen or 0) + 1, (seen, value)))


STEPS: dict[str, Step] = {
    **{name: step for name, step in OPERATORS.items() if "window" not in name},
    "bell": lambda up: op.stateful_batch("s", up, Bell),
    "twice": _twice,
}


def _batches(seed: int) -> list[Batch]:
    random = Random(seed)
    keys = ["a", "B", "ö", "鍵", "", *(f"k{number}" for number in range(60))]
    return [[(random.choice(keys), random.randrange(9)) for _ in range(random.choice([1, 3, 40]))] for _ in range(12)]


RINGING = {"bell", "twice"}
"""Whether a ring comes before the next batch is up to how fast that comes, unless an epoch ends in between."""


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize(
    ("name", "interval"), [*((name, ZERO) for name in STEPS), *((name, LONG) for name in STEPS if name not in RINGING)]
)
def test_results_are_in_the_order_of_plain_bytewax(
    name: str, backend: str, interval: timedelta, tmp_path: Path
) -> None:
    """Though all keys of a worker are called at once, and plain Bytewax calls one after the other."""
    batches = _batches(len(name))
    settings = Settings(backend=backend, uri=None, dir=tmp_path / "work", memory="8MiB", key_groups=16)
    theirs, ours = Job(STEPS[name], batches), Job(STEPS[name], batches)
    theirs.run(Run(interval=interval), None)
    ours.run(Run(interval=interval), settings)
    assert theirs.out
    assert ours.out == theirs.out


class Timer(StatefulBatchLogic[datetime, str, Any]):
    """Rings at the time that is its value."""

    def __init__(self, due: datetime | None) -> None:
        self.due = due

    def on_batch(self, values: list[datetime]) -> tuple[list[str], bool]:
        self.due = values[-1]
        return [], False

    def on_notify(self) -> tuple[list[str], bool]:
        return ["ring"], True

    def notify_at(self) -> datetime | None:
        return self.due

    def snapshot(self) -> datetime | None:
        return self.due


@pytest.mark.parametrize("seconds", [2, 0.05])
@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_what_came_due_while_the_worker_was_busy_comes_in_the_order_of_the_keys(
    backend: str, seconds: float, tmp_path: Path
) -> None:
    """Though their groups sleep by then; whether Bytewax was told when they are due, or only of a tick."""
    now, due = [PAST], PAST + timedelta(seconds=seconds)
    settings = Settings(backend=backend, uri=None, dir=tmp_path / "work", memory="8MiB", key_groups=16)
    woken = {group_of("other", 16), groups_of_workers(16, 1)[0][-1]}
    keys = [key for number in range(40) if group_of(key := f"k{number:02}", 16) not in woken]
    with closing(Execution(StepId("flow", "flow.s"), settings, Timer, now=lambda: now[0])) as run:
        run.open()
        run.batch([(key, due) for key in keys])
        run.end_epoch()
        if seconds > 1:
            now[0] += TICK
            assert run.notify() == []
            run.end_epoch()
        now[0] = due + timedelta(seconds=0.01)
        run.batch([("other", PAST + timedelta(days=1))])
        out = run.notify()
        now[0] = max(now[0], PAST + TICK)
        assert [*out, *run.notify()] == [(key, "ring") for key in keys]
