"""The flows that are measured, their input and their sink: the same for both sides of a pair.

Owns what the step under test is fed with and what takes its results, both as cheap as Bytewax allows, so that a time is
that of the step. It knows nothing of stores. Called by `turn`, and by the tests.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import KeyedStream, StatefulBatchLogic, StatefulLogic
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.outputs import DynamicSink, StatelessSinkPartition

Item: TypeAlias = tuple[str, Any]

PAST = datetime(2024, 1, 1, tzinfo=timezone.utc)
SPAN = timedelta(minutes=10)
"""What all events of a windowed input lie in, at an even pace."""
WINDOW = timedelta(minutes=1)
WAIT = timedelta(seconds=10)
WORK_NS = 5_000
"""How long the mapper takes for an item."""

_SEED = 1


class Batches(FixedPartitionedSource[Item, int]):
    """Hands over batches that were made before."""

    def __init__(
        self, batches: Sequence[list[Item]], parts: int = 1, began: Callable[[], object] = lambda: None
    ) -> None:
        """Init.

        :arg batches: In order.

        :arg parts: How many partitions take them in turns.

        :arg began: Called when a partition is opened, which is when Bytewax begins to run.

        """
        self._batches = batches
        self._parts = parts
        self._began = began

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(part) for part in range(self._parts)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_BatchesPartition":
        """Open a partition.

        :arg step_id: Of the input step.

        :arg for_part: The partition.

        :arg resume_state: Number of its batches that were taken.

        """
        self._began()
        return _BatchesPartition(self._batches[int(for_part) :: self._parts], resume_state or 0)


class _BatchesPartition(StatefulSourcePartition[Item, int]):
    def __init__(self, batches: Sequence[list[Item]], taken: int) -> None:
        self._batches = batches
        self._taken = taken

    def next_batch(self) -> list[Item]:
        if self._taken == len(self._batches):
            raise StopIteration
        self._taken += 1
        return self._batches[self._taken - 1]

    def snapshot(self) -> int:
        return self._taken


class Count(DynamicSink[Any]):
    """Counts what comes, and keeps nothing."""

    def __init__(self) -> None:
        """Init."""
        self.items = 0

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_CountPartition":
        """Open the sink.

        :arg step_id: Of the output step.

        :arg worker_index: Of the worker.

        :arg worker_count: How many there are.

        """
        return _CountPartition(self)


class _CountPartition(StatelessSinkPartition[Any]):
    def __init__(self, sink: Count) -> None:
        self._sink = sink

    def write_batch(self, items: list[Any]) -> None:
        self._sink.items += len(items)


class RunningTotal(StatefulBatchLogic[int, int, int]):
    """Keyed sum as a user's batch logic."""

    def __init__(self, resume: int | None) -> None:
        """Init.

        :arg resume: Total so far.

        """
        self._total = resume or 0

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        """Emit a total for each value.

        :arg values: What to add.

        """
        totals = []
        for value in values:
            self._total += value
            totals.append(self._total)
        return totals, False

    def snapshot(self) -> int:
        """Return the total."""
        return self._total


class ItemTotal(StatefulLogic[int, int, int]):
    """Keyed sum as a user's logic."""

    def __init__(self, resume: int | None) -> None:
        """Init.

        :arg resume: Total so far.

        """
        self._total = resume or 0

    def on_item(self, value: int) -> tuple[list[int], bool]:
        """Emit the total.

        :arg value: What to add.

        """
        self._total += value
        return [self._total], False

    def snapshot(self) -> int:
        """Return the total."""
        return self._total


class ExpiringTotal(RunningTotal):
    """Keyed sum that is forgotten an hour after the last value, as a user's batch logic with a timer."""

    def __init__(self, resume: int | None) -> None:
        """Init.

        :arg resume: Total so far.

        """
        super().__init__(resume)
        self._due = _expiry()

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        """Emit a total for each value, and put the timer off.

        :arg values: What to add.

        """
        self._due = _expiry()
        return super().on_batch(values)

    def on_notify(self) -> tuple[list[int], bool]:
        """Forget the total."""
        return [], True

    def notify_at(self) -> datetime:
        """Return when it expires."""
        return self._due


def _expiry() -> datetime:
    return datetime.now(timezone.utc) + timedelta(hours=1)


def _stateful_map(up: KeyedStream[Any]) -> KeyedStream[Any]:
    return op.stateful_map("sum", up, _add)


def _add(total: int | None, value: int) -> tuple[int, int]:
    total = (total or 0) + value
    return total, total


def _stateful_batch(up: KeyedStream[Any]) -> KeyedStream[Any]:
    return op.stateful_batch("sum", up, RunningTotal)


def _stateful(up: KeyedStream[Any]) -> KeyedStream[Any]:
    return op.stateful("sum", up, ItemTotal)


def _notify(up: KeyedStream[Any]) -> KeyedStream[Any]:
    return op.stateful_batch("sum", up, ExpiringTotal)


def _mapper(up: KeyedStream[Any]) -> KeyedStream[Any]:
    return _stateful_map(op.map("work", up, _work))


def _work(item: Item) -> Item:
    end = time.perf_counter_ns() + WORK_NS
    while time.perf_counter_ns() < end:
        pass
    return item


def _fold_window(up: KeyedStream[Any]) -> KeyedStream[Any]:
    clock: EventClock[Any] = EventClock(lambda value: value[0], wait_for_system_duration=WAIT)
    windower = TumblingWindower(length=WINDOW, align_to=PAST)
    add = lambda total, value: total + value[1]  # noqa: E731
    return fold_window("sum", up, clock, windower, int, add, lambda one, other: one + other).down


OPERATORS: dict[str, Callable[[KeyedStream[Any]], KeyedStream[Any]]] = {
    "stateful_map": _stateful_map,
    "stateful_batch": _stateful_batch,
    "stateful": _stateful,
    "notify": _notify,
    "mapper": _mapper,
    "fold_window": _fold_window,
}


def batches_of(operator: str, items: int, keys: int, batch_size: int) -> list[list[Item]]:
    """Make an input: every key equally often, in random order, and each key a string of its own, as from a parser.

    :arg operator: Key of `OPERATORS`; a windowed one gets values with a time.

    :arg items: How many.

    :arg keys: How many different ones.

    :arg batch_size: Items in a batch.

    :returns: Batches of `(key, value)`; the same for the same arguments.

    """
    random = Random(_SEED)
    numbers = [index % keys for index in range(items)]
    random.shuffle(numbers)
    value = _event if operator == "fold_window" else _amount
    data: list[Item] = [(f"key-{number:08d}", value(index / items)) for index, number in enumerate(numbers)]
    return [data[start : start + batch_size] for start in range(0, items, batch_size)]


def _amount(at: float) -> int:
    return int(at * 100)


def _event(at: float) -> tuple[datetime, int]:
    return PAST + at * SPAN, _amount(at)


def flow_of(operator: str, source: Batches, sink: DynamicSink[Any]) -> Dataflow:
    """Make a flow: source, the step under test, sink.

    :arg operator: Key of `OPERATORS`.

    :arg source: Input.

    :arg sink: Gets what the step emits.

    :returns: The flow, not attached.

    """
    flow = Dataflow("benchmark")
    up = op.input("in", flow, source)
    op.output("out", OPERATORS[operator](up), sink)
    return flow
