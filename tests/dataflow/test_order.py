"""On one worker results come in plain Bytewax's order, over all keys, those of timers and of the end included."""

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Stream
from bytewax.operators import StatefulBatchLogic

from bytewax_state import Settings
from tests.dataflow.flows import OPERATORS
from tests.dataflow.runs import LONG, ZERO, Batch, Job, Run, Step

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
