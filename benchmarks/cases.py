"""The pairs that are measured: which flow, how much of it, on which store, and the ratio that is asked for.

Owns the table of cases and nothing that runs. It does not own the flows (`flows`) nor the measuring (`pairs`, `turn`).
Called by `suites`, and by each process of a side, which gets its case as JSON.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from benchmarks.flows import Feed
from benchmarks.operators import LIVE_OPERATORS

Backend: TypeAlias = Literal["heap", "rocksdb"]
Unit: TypeAlias = Literal["items/s", "CPU us/item"]
"""What is measured: time, or CPU time of all threads."""

BATCH_SIZE = 1_000
"""Items that a source hands over at once: the default of Bytewax's file and Kafka sources."""


@dataclass(frozen=True, slots=True)
class Case:
    """One pair."""

    name: str
    operator: str
    """Key of `operators.OPERATORS`."""
    backend: Backend
    keys: int
    at_least: float | None = None
    """Least ratio of ours to theirs; `None`: the figure is for information."""
    their_operator: str | None = None
    """What the other side runs, if not the same operator of Bytewax alone."""
    batch_size: int = BATCH_SIZE
    items: int = 200_000
    """Of a turn."""
    hot: float = 0.0
    """As in `Feed`."""
    cached: float = 2.0
    """Cache of a RocksDB store, as a multiple of the keys: from the default on, every key fits, however unevenly they
    hash."""
    epoch_seconds: float | None = None
    """Length of an epoch; `None`: Bytewax's default."""
    recovery: bool = False
    """Whether both sides have recovery directories, and ours has snapshots."""
    unit: Unit = "CPU us/item"
    to_end: bool = False
    """Whether a turn is a run of its own, and its end counts: where work is left for the end of input, or to others."""
    processes: int = 1
    """How many our side has. If there are several, theirs is the same flow, attached too, in one process."""

    @property
    def full_name(self) -> str:
        """Name that tells this case from all others. It may be cut off at a colon, to name several at once."""
        return f"{self.pair}:{self.batch_size}"

    @property
    def pair(self) -> str:
        """Name that it shares with those that differ in their turns only, and are measured together."""
        return f"{self.name}:{self.backend}:{self.keys}"

    @property
    def feed(self) -> Feed:
        """What the items are like."""
        return Feed(self.operator, self.keys, self.hot)

    @property
    def against(self) -> str:
        """What it is compared with."""
        if self.processes > 1:
            return "one process"
        return f"raw {self.their_operator}" if self.their_operator else "plain Bytewax"

    @property
    def is_live(self) -> bool:
        """Whether what happens depends on how fast: in a live flow, the slower side meets more windows."""
        return self.operator in LIVE_OPERATORS

    def is_named(self, name: str) -> bool:
        """Tell whether a name, which may be cut off, is one of this case."""
        return f"{self.full_name}:".startswith(f"{name}:")


_SIZES = (BATCH_SIZE, 100, 10, 1)
"""Of batches, in the order of all tuples below."""

_MAPPED = (200_000, 100_000, 50_000, 20_000)
"""Items of a turn by the size of a batch, as many as take some tenths of a second; so are the others."""
_LIVE = (30_000, 10_000, 4_000, 1_000)
_FINAL = (200_000, 100_000, 50_000, 20_000)
_HOT = (200_000, 100_000, 50_000, 20_000)
# With each batch, Bytewax looks through all keys that have windows of the past.
_HISTORIC = (3_000, 300, 30, 3)

_CROSSED = {1: 10_000, 3: 15_000, 10: 20_000, 30: 30_000, 100: 50_000, 1_000: 50_000}
"""Sizes of batches, and items of a turn, to find where ours begins to cost less."""


def _ratios(with_large_batches: float) -> Sequence[float]:
    return with_large_batches, round(0.7 * with_large_batches, 2), 0.9, 0.45


def _sizes(case: Case, ratios: Sequence[float], items: Sequence[int]) -> Iterator[Case]:
    for batch_size, at_least, count in zip(_SIZES, ratios, items, strict=True):
        yield replace(case, at_least=at_least, batch_size=batch_size, items=count)


def _mapping(operator: str, keys: int, heap: Sequence[float], rocksdb: Sequence[float]) -> Iterator[Case]:
    case = Case(operator, operator, "heap", keys)
    yield from _sizes(case, heap, _MAPPED)
    yield from _sizes(replace(case, backend="rocksdb"), rocksdb, _MAPPED)


def _heap(operator: str, keys: int, at_least: float, items: Sequence[int], to_end: bool = False) -> Iterator[Case]:
    return _sizes(Case(operator, operator, "heap", keys, to_end=to_end), _ratios(at_least), items)


def _windows(operator: str, historic: float, live: float) -> Iterator[Case]:
    yield from _heap(operator, 10_000, historic, _HISTORIC)
    yield from _heap(f"{operator}_now", 10_000, live, _LIVE)


def _crossover() -> Iterator[Case]:
    for keys in (1_000, 10_000, 100_000, 1_000_000):
        for batch_size, items in _CROSSED.items():
            yield Case("crossover", "stateful_map", "heap", keys, batch_size=batch_size, items=items)


CASES: tuple[Case, ...] = (
    *_mapping("stateful_map", 100_000, _ratios(5.5), _ratios(4.5)),
    *_mapping("stateful_map", 1_000, _ratios(4.2), _ratios(3.6)),
    *_sizes(Case("hot_keys", "stateful_map", "rocksdb", 2_000_000, hot=0.9, cached=0.02), _ratios(2.5), _HOT),
    Case("many_keys", "stateful_map", "rocksdb", 5_000_000, 0.7, their_operator="rocksdict", cached=0.02),
    *_heap("fold_window", 10_000, 20, _HISTORIC),
    Case("fold_window", "fold_window", "heap", 100_000, 40, items=1_000),
    *_heap("fold_window_now", 1_000, 1.5, _LIVE),
    *_heap("fold_window_now", 100_000, 6, _LIVE),
    *_windows("sliding_window", 8, 2),
    *_windows("session_window", 8, 2),
    *_windows("collect_window", 8, 2),
    *_windows("join_window", 8, 2),
    *_heap("window", 10_000, 2, _HISTORIC),
    *_heap("join", 10_000, 2.5, _FINAL),
    *_heap("count_final", 10_000, 2.5, _FINAL, to_end=True),
    *_heap("collect", 10_000, 1.5, (100_000, 50_000, 20_000, 4_000)),
    *_sizes(Case("stateful", "stateful", "heap", 100_000), (2.2, 1.7, 1.1, 0.6), _MAPPED),
    *_sizes(Case("stateful", "stateful", "heap", 1_000), (1.2, 1.0, 0.8, 0.5), _MAPPED),
    *_sizes(Case("notify", "notify", "heap", 1_000), (1.0, 0.9, 0.7, 0.45), _MAPPED),
    Case("stateful_batch", "stateful_batch", "heap", 100_000, 1.8),
    Case("stateful_batch", "stateful_batch", "rocksdb", 100_000, 1.2),
    *_crossover(),
    Case("recovery", "stateful_map", "heap", 100_000, epoch_seconds=1.0, recovery=True, items=_MAPPED[0]),
    Case("recovery", "stateful_map", "rocksdb", 100_000, epoch_seconds=1.0, recovery=True, items=_MAPPED[0]),
    Case("epoch_each", "stateful_map", "heap", 1_000, batch_size=1, epoch_seconds=0.0, items=_MAPPED[-1]),
    Case("two_processes", "mapper", "heap", 100_000, 1.7, unit="items/s", items=300_000, to_end=True, processes=2),
)
