"""Windowed steps, on Bytewax's own logics and on ours, called as Bytewax would call them, at times that a test says.

Owns how Bytewax calls the logics of a step's keys. It does not own which calls there are, nor what has to come of them.
Called by the tests of windows.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import StatefulBatchLogic
from bytewax.operators.windowing import Clock, EventClock, SystemClock, Windower, _SystemClockLogic
from bytewax.testing import TestingSink, TestingSource, TimeTestingGetter

from bytewax_state import Settings
from bytewax_state.dataflow.attach import _stateful
from bytewax_state.dataflow.swap import Runner, by_logics, choose
from bytewax_state.keyed.processor import Processor
from bytewax_state.keyed.timed import TimedProcessor
from bytewax_state.keyed.windows import WindowProcessor
from bytewax_state.store.store import Backend, Store, heap, rocksdb
from bytewax_state.store.table import Memory, Table
from tests.dataflow.flows import START

GROUPS = 4
BACKENDS: dict[str, Backend] = {"heap": heap}
BACKENDS |= {f"rocksdb-{size}": rocksdb(size, lambda count: None, lambda count: None) for size in (0, 2, 100)}

Items = list[tuple[str, Any]]
Make = Callable[[Stream[Any], "Clock[Any, Any]", "Windower[Any]", bool], Stream[Any]]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Definition:
    """A windowed step."""

    make: Make
    windower: "Windower[Any]"
    ordered: bool = True
    wait: "timedelta | None" = timedelta(seconds=10)
    """Of an event clock; `None`: the clock is the system's."""
    own_time: bool = False
    """Whether the clock has functions of the user's."""
    to_system: Callable[[datetime], datetime | None] | None = None
    timestamp: Callable[[Any], datetime] = lambda value: at(value[0])

    def step(self, time: TimeTestingGetter, plain: bool) -> tuple[Any, tuple[Any, ...]]:
        """Make the core step, and those around it."""
        flow = Dataflow("flow")
        up = op.input("inp", flow, TestingSource([]))
        op.output("out", self.make(up, self._clock(time, plain), self.windower, self.ordered), TestingSink([]))
        ((_, step, outer),) = _stateful(flow.substeps)
        return step, outer

    def _clock(self, time: TimeTestingGetter, plain: bool) -> "Clock[Any, Any]":
        if self.wait is None:
            return _TestedSystemClock(time) if plain else SystemClock()
        clock: EventClock[Any] = EventClock(self.timestamp, self.wait)
        if plain or self.own_time:
            clock = replace(clock, now_getter=time.get)
        return replace(clock, to_system_utc=self.to_system) if self.to_system else clock


@dataclass
class _TestedSystemClock(SystemClock):
    time: TimeTestingGetter

    def build(self, resume_state: None) -> _SystemClockLogic:
        return _SystemClockLogic(self.time.get)


@dataclass
class Plain:
    """The logics of a step, as Bytewax has them on one worker."""

    time: TimeTestingGetter
    builder: Callable[[Any], "StatefulBatchLogic[Any, Any, Any]"] | None = None
    logics: dict[str, "StatefulBatchLogic[Any, Any, Any]"] = field(default_factory=dict)
    schedule: dict[str, datetime] = field(default_factory=dict)

    def begin(self, definition: Definition) -> None:
        """Begin an execution, on what the one before has left."""
        self.builder = definition.step(self.time, plain=True)[0].builder
        states = {key: pickle.loads(pickle.dumps(logic.snapshot())) for key, logic in self.logics.items()}
        self.logics = {key: self.builder(state) for key, state in states.items()}
        self.schedule.clear()
        self._ask(self.logics)

    def activate(self, items: Items) -> Items:
        """Take items in, and notify all keys that are due."""
        assert self.builder is not None
        out: Items = []
        values: dict[str, list[Any]] = {}
        for key, value in items:
            values.setdefault(key, []).append(value)
        due = {key for key, asked in self.schedule.items() if asked <= self.time.get()}
        for key in sorted(values):
            logic = self.logics.setdefault(key, self.logics.get(key) or self.builder(None))
            self._emit(key, logic.on_batch(values[key]), out)
        for key in sorted(due & self.logics.keys()):
            del self.schedule[key]
            self._emit(key, self.logics[key].on_notify(), out)
        self._ask(values.keys() | due)
        return out

    def end(self) -> Items:
        """Tell all keys that the input has ended."""
        out: Items = []
        for key in sorted(self.logics):
            self._emit(key, self.logics[key].on_eof(), out)
        self._ask(list(self.logics))
        return out

    def _emit(self, key: str, answer: Any, out: Items) -> None:
        events, complete = answer
        out += [(key, event) for event in events]
        if complete:
            del self.logics[key]
            self.schedule.pop(key, None)

    def _ask(self, keys: Any) -> None:
        for key in keys:
            due = self.logics[key].notify_at() if key in self.logics else None
            if due is not None:
                self.schedule[key] = due


class Ours:
    """The processor of a step, with its store."""

    def __init__(self, time: TimeTestingGetter, folder: Path, **chosen: Any) -> None:
        self._time = time
        self._folder = folder
        self._chosen = chosen
        self._began = 0
        self.store: Store
        self.processor: TimedProcessor[Any]

    def begin(self, definition: Definition, backend: str, by_logic: bool = False) -> None:
        """Begin an execution, on what the one before has left."""
        at = self._folder / f"live{self._began}"
        if self._began:
            self.store.freeze(at)
            self.store.close()
        chosen = Settings(uri=None, key_groups=GROUPS, **self._chosen)
        step, outer = definition.step(self._time, plain=by_logic)
        run: Runner = by_logics(step.step_id, step.builder, chosen) if by_logic else choose(step, outer, chosen)
        table = Table.open(at, Memory.of(8 << 20), create=not self._began)
        groups = dict.fromkeys(range(GROUPS)) if self._began else {}
        self.store = Store(table, BACKENDS[backend], GROUPS, range(GROUPS), groups)
        processor: Processor = run.make(self.store, self._began.to_bytes(8, "big"), self._time.get)
        assert isinstance(processor, TimedProcessor)
        assert by_logic or isinstance(processor, WindowProcessor)
        self.processor = processor
        self.processor.restore()
        self.processor.states.visit_all()
        self._began += 1

    def activate(self, items: Items) -> Items:
        """Take items in, and notify all keys that are due, in memory or not."""
        out = self.processor.on_items(items) if items else []
        while self.processor.states.is_due(self._time.get()):
            out += self.processor.on_due(range(GROUPS))
        return out

    def rows(self) -> set[str]:
        """Name the keys that have a state."""
        return {key for keys in self.processor._column.walk(lambda state: True) for key in keys}

    def end(self) -> Items:
        """Tell that the input has ended."""
        return self.processor.on_end()
