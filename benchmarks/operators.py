"""The steps that are measured, and the users' code in them.

Owns the operators under test, with the cheapest functions that make sense in each. It does not own what they are fed
with (`flows`). Called by `flows`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, cast

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic, StatefulLogic
from bytewax.operators.windowing import (
    EventClock,
    SessionWindower,
    SlidingWindower,
    TumblingWindower,
    Windower,
    WindowLogic,
    collect_window,
    fold_window,
    join_window,
    window,
)
from rocksdict import Rdict, WriteBatch

from bytewax_state.store.options import MIB, Memory, table_options, write_options

Item: TypeAlias = tuple[str, Any]
Event: TypeAlias = tuple[datetime, int]
Up: TypeAlias = KeyedStream[Any]

PAST = datetime(2024, 1, 1, tzinfo=timezone.utc)
WORK_NS = 5_000
"""How long the mapper takes for an item."""
MAX_SIZE = 10
"""Of what `collect` collects."""
MEMORY = 256 * MIB
"""Of RocksDB: the default of the settings."""
FILES = 100
"""That RocksDB keeps open."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take in the time of the events."""

    window: timedelta
    wait: timedelta
    """For events that are late."""


HISTORIC = Times(timedelta(days=365), timedelta(days=1))
"""Beside these, the time that a run takes is nothing, and moves hardly a watermark past the end of a window."""
LIVE = Times(timedelta(seconds=0.5), timedelta(seconds=0.05))


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


def _stateful_map(up: Up) -> Up:
    return op.stateful_map("sum", up, _add)


def _add(total: int | None, value: int) -> tuple[int, int]:
    total = (total or 0) + value
    return total, total


def _stateful_batch(up: Up) -> Up:
    return op.stateful_batch("sum", up, RunningTotal)


def _stateful(up: Up) -> Up:
    return op.stateful("sum", up, ItemTotal)


def _notify(up: Up) -> Up:
    return op.stateful_batch("sum", up, ExpiringTotal)


def _mapper(up: Up) -> Up:
    return _stateful_map(op.map("work", up, _work))


def _work(item: Item) -> Item:
    end = time.perf_counter_ns() + WORK_NS
    while time.perf_counter_ns() < end:
        pass
    return item


class WindowTotal(WindowLogic[Event, int, int]):
    """Sum of a window as a user's logic."""

    def __init__(self, resume: int | None) -> None:
        """Init.

        :arg resume: Total so far.

        """
        self._total = resume or 0

    def on_value(self, value: Event) -> list[int]:
        """Add a value.

        :arg value: What to add.

        """
        self._total += value[1]
        return []

    def on_merge(self, original: "WindowTotal") -> list[int]:
        """Add what another window has.

        :arg original: The other.

        """
        self._total += original.snapshot()
        return []

    def on_close(self) -> list[int]:
        """Emit the total."""
        return [self._total]

    def snapshot(self) -> int:
        """Return the total."""
        return self._total


def _dict(up: Up) -> Up:
    totals: dict[str, int] = {}

    def add(batch: list[Item]) -> list[Item]:
        out = []
        for key, value in batch:
            total = totals[key] = totals.get(key, 0) + value
            out.append((key, total))
        return out

    return op.flat_map_batch("sum", up, add)


def _rocksdict(up: Up) -> Up:
    """Keep totals as our store does: in a table with the same options, read and written in batches."""
    folder = TemporaryDirectory(prefix="benchmark-")
    options = table_options(Memory.of(MEMORY), create=True, files=FILES)
    db = Rdict(f"{folder.name}/table", options)
    db.set_write_options(write_options())

    def add(batch: list[Item], _kept: TemporaryDirectory[str] = folder) -> list[Item]:
        rows = [key.encode() for key, _ in batch]
        found = cast(list[bytes | None], db.get(cast(list[Any], rows)))
        totals = {key: int.from_bytes(row, "big") if row else 0 for (key, _), row in zip(batch, found, strict=True)}
        out = []
        for key, value in batch:
            totals[key] += value
            out.append((key, totals[key]))
        changes = WriteBatch(raw_mode=True)
        for key, total in totals.items():
            changes.put(key.encode(), total.to_bytes(8, "big"))
        db.write(changes)
        return out

    return op.flat_map_batch("sum", up, add)


def _join(up: Up) -> Up:
    sides = _sides(up, lambda item: item[1] % 2 == 0)
    return op.join("join", *sides, emit_mode="running")


def _count_final(up: Up) -> Up:
    return op.count_final("count", up, lambda item: item[0])


def _collect(up: Up) -> Up:
    return op.collect("collect", up, timeout=timedelta(hours=1), max_size=MAX_SIZE)


def _sides(up: Up, is_left: Callable[[Item], bool]) -> tuple[Up, Up]:
    sides = op.branch("sides", up, is_left)
    return sides.trues, sides.falses


def _tumbling(times: Times) -> TumblingWindower:
    return TumblingWindower(length=times.window, align_to=PAST)


def _sliding(times: Times) -> SlidingWindower:
    return SlidingWindower(length=times.window, offset=times.window / 2, align_to=PAST)


def _session(times: Times) -> SessionWindower:
    return SessionWindower(gap=times.window / 3)


def _clock(times: Times) -> EventClock[Event]:
    return EventClock(lambda value: value[0], wait_for_system_duration=times.wait)


def _fold(times: Times, windower: Windower[Any]) -> Callable[[Up], Up]:
    add = lambda total, value: total + value[1]  # noqa: E731
    merge = lambda one, other: one + other  # noqa: E731
    return lambda up: fold_window("sum", up, _clock(times), windower, int, add, merge).down


def _collect_window(times: Times) -> Callable[[Up], Up]:
    return lambda up: collect_window("collect", up, _clock(times), _tumbling(times)).down


def _join_window(times: Times) -> Callable[[Up], Up]:
    def join(up: Up) -> Up:
        sides = _sides(up, lambda item: item[1][1] % 2 == 0)
        return join_window("join", _clock(times), _tumbling(times), *sides).down

    return join


def _window(times: Times) -> Callable[[Up], Up]:
    return lambda up: window("sum", up, _clock(times), _tumbling(times), WindowTotal).down


def _windowed(times: Times) -> dict[str, Callable[[Up], Up]]:
    return {
        "fold_window": _fold(times, _tumbling(times)),
        "sliding_window": _fold(times, _sliding(times)),
        "session_window": _fold(times, _session(times)),
        "collect_window": _collect_window(times),
        "join_window": _join_window(times),
        "window": _window(times),
    }


_PAST, _NOW = _windowed(HISTORIC), {f"{name}_now": step for name, step in _windowed(LIVE).items()}

OPERATORS: dict[str, Callable[[Up], Up]] = {
    "stateful_map": _stateful_map,
    "stateful_batch": _stateful_batch,
    "stateful": _stateful,
    "notify": _notify,
    "mapper": _mapper,
    "dict": _dict,
    "rocksdict": _rocksdict,
    "join": _join,
    "count_final": _count_final,
    "collect": _collect,
    **_PAST,
    **_NOW,
}
HISTORIC_OPERATORS = frozenset(_PAST)
"""Those whose items are events of the past."""
LIVE_OPERATORS = frozenset(_NOW)
"""Those whose items are events that happen as they are handed over."""
