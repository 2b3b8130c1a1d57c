"""One small flow for each of Bytewax's stateful operators, and how to compare what two runs of one gave."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import StatefulBatchLogic, StatefulLogic
from bytewax.operators.windowing import EventClock, SessionWindower, SlidingWindower, TumblingWindower, WindowLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import TestingSource

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
CLOCK: EventClock[Any] = EventClock(
    lambda value: START + timedelta(seconds=value), wait_for_system_duration=timedelta(days=30)
)
ITEM_CLOCK: EventClock[Any] = EventClock(
    lambda item: START + timedelta(seconds=item[1]), wait_for_system_duration=timedelta(days=30)
)
STOPPED: EventClock[Any] = EventClock(
    lambda value: START + timedelta(seconds=value), timedelta(seconds=20), now_getter=lambda: START
)
"""What is late, and what closes when, is up to the items only."""
MINUTE = TumblingWindower(length=timedelta(minutes=1), align_to=START)
SESSION = SessionWindower(gap=timedelta(seconds=40))
SLIDING = SlidingWindower(length=timedelta(seconds=60), offset=timedelta(seconds=25), align_to=START)

ITEMS = [(f"key{number * 7 % 13}", number * 11 % 200) for number in range(600)]


class RunningSum(StatefulLogic[int, tuple[str, int], int]):
    """A user's logic that is discarded now and then, and has something to say at the end."""

    def __init__(self, state: int | None) -> None:
        self.sum = state or 0

    def on_item(self, value: int) -> tuple[Iterable[tuple[str, int]], bool]:
        self.sum += value
        return [("sum", self.sum)], self.sum > 900

    def on_eof(self) -> tuple[Iterable[tuple[str, int]], bool]:
        return [("eof", self.sum)], False

    def snapshot(self) -> int:
        return self.sum


class BatchSum(StatefulBatchLogic[int, int, int]):
    """A user's batch logic."""

    def __init__(self, state: int | None) -> None:
        self.sum = state or 0

    def on_batch(self, values: list[int]) -> tuple[Iterable[int], bool]:
        out = []
        for value in values:
            self.sum += value
            out.append(self.sum)
        return out, False

    def snapshot(self) -> int:
        return self.sum


class WindowSum(WindowLogic[int, int, int]):
    """A user's window logic, which emits at every value."""

    def __init__(self, state: int | None) -> None:
        self.sum = state or 0

    def on_value(self, value: int) -> Iterable[int]:
        self.sum += value
        return [self.sum]

    def on_merge(self, original: "WindowSum") -> Iterable[int]:
        self.sum += original.sum
        return [self.sum]

    def on_close(self) -> Iterable[int]:
        return [-self.sum]

    def snapshot(self) -> int:
        return self.sum


def joined(name: str, up: Stream[Any], join: Callable[..., Stream[Any]]) -> Stream[Any]:
    left = op.map_value("left", up, lambda value: value)
    right = op.filter_map("right", up, lambda item: (item[0], item[1] + 1) if item[1] % 3 else None)
    return join(name, left, right)


def tagged(out: win.WindowOut[Any, Any]) -> Stream[Any]:
    down = op.map_value("down", out.down, lambda item: ("down", item))
    late = op.map_value("late", out.late, lambda item: ("late", item))
    meta = op.map_value("meta", out.meta, lambda item: ("meta", item))
    return op.merge("all", down, late, meta)


def _add(total: int | None, value: int) -> tuple[int, int]:
    total = (total or 0) + value
    return total, total


def _flat_add(total: int | None, value: int) -> tuple[int, list[int | None]]:
    return (total or 0) + value, [total, value]


OPERATORS: dict[str, Callable[[Stream[Any]], Stream[Any]]] = {
    "collect": lambda up: op.collect("s", up, timedelta(days=1), 7),
    "count_final": lambda up: op.count_final("s", up, lambda item: item[0]),
    "fold_final": lambda up: op.fold_final("s", up, list, lambda acc, value: [*acc, value]),
    "join": lambda up: joined("s", up, op.join),
    "max_final": lambda up: op.max_final("s", up),
    "min_final": lambda up: op.min_final("s", up),
    "reduce_final": lambda up: op.reduce_final("s", up, lambda one, other: one + other),
    "stateful": lambda up: op.stateful("s", up, RunningSum),
    "stateful_batch": lambda up: op.stateful_batch("s", up, BatchSum),
    "stateful_flat_map": lambda up: op.stateful_flat_map("s", up, _flat_add),
    "stateful_map": lambda up: op.stateful_map("s", up, _add),
    "collect_window": lambda up: tagged(win.collect_window("s", up, CLOCK, MINUTE)),
    "count_window": lambda up: tagged(win.count_window("s", up, ITEM_CLOCK, MINUTE, lambda item: item[0])),
    "session_window": lambda up: tagged(
        win.fold_window("s", up, CLOCK, SESSION, int, lambda acc, value: acc + value, lambda one, other: one + other)
    ),
    "fold_window": lambda up: tagged(
        win.fold_window("s", up, CLOCK, MINUTE, list, lambda acc, value: [*acc, value], lambda one, other: one + other)
    ),
    "join_window": lambda up: joined("s", up, lambda name, *ups: tagged(win.join_window(name, CLOCK, MINUTE, *ups))),
    "max_window": lambda up: tagged(win.max_window("s", up, CLOCK, MINUTE)),
    "min_window": lambda up: tagged(win.min_window("s", up, CLOCK, MINUTE)),
    "reduce_window": lambda up: tagged(win.reduce_window("s", up, CLOCK, MINUTE, lambda one, other: one + other)),
    "window": lambda up: tagged(win.window("s", up, CLOCK, SLIDING, WindowSum, ordered=False)),
}


class ListSink(FixedPartitionedSink[Any, int]):
    """A list that holds each result once: a resume takes back what came after the epoch it resumes from."""

    def __init__(self, out: list[Any]) -> None:
        self.out = out

    def list_parts(self) -> list[str]:
        return ["out"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_ListPartition":
        del self.out[resume_state or 0 :]
        return _ListPartition(self.out)


class _ListPartition(StatefulSinkPartition[Any, int]):
    def __init__(self, out: list[Any]) -> None:
        self.out = out

    def write_batch(self, values: list[Any]) -> None:
        self.out += values

    def snapshot(self) -> int:
        return len(self.out)


def aborted_at(place: int) -> list[Any]:
    """Return the items, with an abort in between, or behind the last.

    Only one at a time: on a resume, `TestingSource` does not count one that it passes, and gives an item twice.
    """
    return [*ITEMS[:place], TestingSource.ABORT(), *ITEMS[place:]] if place < len(ITEMS) else ITEMS


def flow_of(operator: str, items: list[Any], out: list[Any], batch_size: int = 10) -> Dataflow:
    """Make a flow.

    :arg operator: Key of `OPERATORS`.

    :arg items: `(key, value)`, and the source's sentinels.

    :arg out: Gets the results.

    :arg batch_size: Of the source.

    """
    flow = Dataflow("flow")
    up = op.input("inp", flow, TestingSource(items, batch_size))
    results = op.map("keyed", OPERATORS[operator](up), lambda result: ("out", result))
    op.output("out", results, ListSink(out))
    return flow


def per_key(out: Iterable[Any]) -> dict[str, list[Any]]:
    """Sort results by key, keeping the order within one."""
    found: dict[str, list[Any]] = {}
    for key, value in out:
        stream = value[0] if isinstance(value, tuple) and value[0] in ("down", "late", "meta") else ""
        found.setdefault(f"{key} {stream}", []).append(value)
    return found
