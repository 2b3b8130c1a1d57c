"""The flows that are measured, their input and their sink: the same for both sides of a pair.

Owns what the step under test is fed with and what takes its results, both as cheap as Bytewax allows, so that a time is
that of the step; and when a section of the input begins and ends. It knows nothing of stores. Called by `turn`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from random import Random
from typing import Any, Protocol, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from benchmarks.operators import HISTORIC, HISTORIC_OPERATORS, LIVE_OPERATORS, OPERATORS, PAST, Item

Batch: TypeAlias = list[Item]

PER_WINDOW = 3
"""How many events of the past a key has in the length of a window, on average."""
HOT = 100
"""One key out of so many is a hot one."""

_SEED = 1
_WARM_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Section:
    """Part of the input that is timed."""

    number: int
    items: int
    batch_size: int


class Feed:
    """Makes the items of a flow: the same for the same sections."""

    def __init__(self, operator: str, keys: int, hot: float = 0.0) -> None:
        """Init.

        :arg operator: Key of `OPERATORS`.

        :arg keys: How many different ones.

        :arg hot: Share of the items that are of hot keys; the others are of any.

        """
        self._keys = keys
        self._hot = hot
        self._is_live = operator in LIVE_OPERATORS
        self._times: dict[int, float] | None = {} if operator in HISTORIC_OPERATORS else None

    def warm_up(self) -> Iterator[Batch]:
        """Make a batch after the other, of an item for each key, in random order."""
        random = Random(_SEED)
        numbers = list(range(self._keys))
        random.shuffle(numbers)
        for start in range(0, self._keys, _WARM_BATCH):
            yield self._batch(random, numbers[start : start + _WARM_BATCH])

    def batches(self, section: Section) -> list[Batch]:
        """Make the batches of a section, of random keys, each a string of its own, as from a parser.

        :arg section: Section.

        :returns: Batches.

        """
        random = Random(section.number)
        numbers = [self._number(random) for _ in range(section.items)]
        starts = range(0, section.items, section.batch_size)
        return [self._batch(random, numbers[start : start + section.batch_size]) for start in starts]

    def handed_over(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """Let batches happen when they are taken, if they are of a live flow."""
        return map(_stamped, batches) if self._is_live else batches

    def _batch(self, random: Random, numbers: list[int]) -> Batch:
        values = [int(random.random() * 100) for _ in numbers]
        if self._times is None:
            return [(f"key-{number:08d}", value) for number, value in zip(numbers, values, strict=True)]
        times = [self._time(random, number) for number in numbers]
        events = zip(times, values, strict=True)
        return [(f"key-{number:08d}", event) for number, event in zip(numbers, events, strict=True)]

    def _time(self, random: Random, number: int) -> datetime:
        """Say when the next event of a key is: each key has its own time, as it has its own watermark in Bytewax."""
        assert self._times is not None
        at = self._times[number] = self._times.get(number, 0.0) + random.expovariate(PER_WINDOW)
        return PAST + at * HISTORIC.window

    def _number(self, random: Random) -> int:
        if self._hot and random.random() < self._hot:
            return int(random.random() * (self._keys // HOT)) * HOT
        return int(random.random() * self._keys)


def _stamped(batch: Batch) -> Batch:
    now = datetime.now(timezone.utc)
    return [(key, (now, value)) for key, value in batch]


class Meter(Protocol):
    """Times the sections."""

    def begin(self) -> None:
        """Note that all before a section is done."""
        ...

    def lap(self) -> None:
        """Note that a batch is done."""
        ...

    def end(self) -> None:
        """Note that all of the section is done, or all of the warm-up."""
        ...


class Batches(FixedPartitionedSource[Item, None]):
    """Hands over the items of a warm-up, and then those of a section after the other, as it is told."""

    def __init__(self, feed: Feed, sections: Iterator[Section], meter: Meter, part: int = 0, parts: int = 1) -> None:
        """Init.

        :arg feed: What the items are like.

        :arg sections: Sections; the source waits, and the worker with it, until it is told of the next.

        :arg meter: Told when a section begins and ends.

        :arg part: The one of this process.

        :arg parts: How many processes take batches in turns.

        """
        self._feed = feed
        self._sections = sections
        self._meter = meter
        self._part = part
        self._parts = parts

    def list_parts(self) -> list[str]:
        """Name the partition of this process."""
        return [str(self._part)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_BatchesPartition":
        """Open the partition.

        :arg step_id: Of the input step.

        :arg for_part: The partition.

        :arg resume_state: Nothing.

        """
        return _BatchesPartition(self._script())

    def _script(self) -> Iterator[Batch]:
        feed, meter = self._feed, self._meter
        yield from feed.handed_over(islice(feed.warm_up(), self._part, None, self._parts))
        # When a source that gave nothing is asked again, nothing that it gave before is under way any more.
        yield []
        meter.end()
        for section in self._sections:
            batches = feed.batches(section)[self._part :: self._parts]
            yield []
            meter.begin()
            for batch in feed.handed_over(batches):
                yield batch
                meter.lap()
            yield []
            meter.end()


class _BatchesPartition(StatefulSourcePartition[Item, None]):
    def __init__(self, script: Iterator[Batch]) -> None:
        self._script = script

    def next_batch(self) -> Batch:
        return next(self._script)

    def snapshot(self) -> None:
        return None


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


def flow_of(operator: str, source: FixedPartitionedSource[Item, Any], sink: DynamicSink[Any]) -> Dataflow:
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
