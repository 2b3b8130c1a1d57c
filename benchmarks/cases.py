"""The pairs that are measured: which flow, how much of it, on which store, and the ratio that is asked for.

Owns the table of cases and nothing that runs. It does not own the flows (`flows`) nor the measuring (`pairs`, `turn`).
Called by the command line, and by each turn's process, which gets its case as JSON.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

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
    """Key of `flows.OPERATORS`."""
    backend: Backend
    items: int
    keys: int
    at_least: float | None = None
    """Least ratio of ours to theirs; `None`: the figure is for information."""
    batch_size: int = BATCH_SIZE
    epoch_seconds: float | None = None
    """Length of an epoch; `None`: Bytewax's default."""
    recovery: bool = False
    """Whether both sides have recovery directories, and ours has snapshots."""
    unit: Unit = "items/s"
    processes: int = 1
    """How many our side has. If there are several, theirs is the same flow, attached too, in one process."""

    @property
    def full_name(self) -> str:
        """Name that tells this case from all others. It may be cut off at a colon, to name several at once."""
        return f"{self.name}:{self.backend}:{self.keys}:{self.batch_size}"

    def is_named(self, name: str) -> bool:
        """Tell whether a name, which may be cut off, is one of this case."""
        return f"{self.full_name}:".startswith(f"{name}:")


def _keyed_sums(operator: str) -> tuple[Case, ...]:
    heap = Case(operator, operator, "heap", items=1_000_000, keys=100_000, at_least=1.8)
    informs = replace(heap, at_least=None)
    return (
        heap,
        replace(heap, backend="rocksdb", at_least=1.2),
        replace(informs, name=f"{operator}_batches_of_100", batch_size=100),
        replace(informs, name=f"{operator}_batches_of_10000", batch_size=10_000),
        replace(informs, name=f"{operator}_recovery", epoch_seconds=1.0, recovery=True),
        replace(informs, name=f"{operator}_recovery", backend="rocksdb", epoch_seconds=1.0, recovery=True),
    )


_ITEMS = {1: 200_000, 10: 500_000, 100: 1_000_000, 1_000: 1_000_000}
"""By the size of a batch: as many as take some seconds."""

_AT_LEAST = {
    ("stateful_map", 1_000): (0.5, 1.1, 3.2, 4.0),
    ("stateful_map", 100_000): (0.6, 1.8, 4.0, 5.0),
    ("stateful", 1_000): (0.5, 0.8, 1.0, 1.2),
    ("stateful", 100_000): (0.6, 1.1, 1.7, 2.2),
    ("notify", 1_000): (0.45, 0.7, 0.9, 1.0),
}
"""Operator and number of keys to the ratios that are asked for, by the size of a batch, on the heap."""

_OF_HEAP = {"heap": 1.0, "rocksdb": 0.85}
"""How much of these is asked for, by the store."""


def _cpu_times() -> Iterator[Case]:
    for (operator, keys), ratios in _AT_LEAST.items():
        for backend, share in _OF_HEAP.items():
            for (batch_size, items), ratio in zip(_ITEMS.items(), ratios, strict=True):
                at_least = round(ratio * share, 3)
                name = f"cpu_{operator}"
                yield Case(name, operator, backend, items, keys, at_least, batch_size, unit="CPU us/item")


_WINDOW = Case("fold_window", "fold_window", "heap", items=300_000, keys=10_000, at_least=5.0)

CASES: tuple[Case, ...] = (
    *_keyed_sums("stateful_map"),
    *_keyed_sums("stateful_batch"),
    _WINDOW,
    replace(_WINDOW, name="fold_window_batches_of_10000", at_least=None, batch_size=10_000),
    *_cpu_times(),
    Case("epoch_each", "stateful_map", "heap", 50_000, 1_000, None, 1, epoch_seconds=0.0, unit="CPU us/item"),
    Case("two_processes", "mapper", "heap", 500_000, 100_000, 1.6, processes=2),
)


def select(wanted: Sequence[str]) -> list[Case]:
    """Find cases.

    :arg wanted: Names, which may be cut off at a colon; none: all.

    :returns: Cases, in the order of the table.

    :raises ValueError: If a name fits no case.

    """
    for name in wanted:
        if not any(case.is_named(name) for case in CASES):
            known = ", ".join(case.full_name for case in CASES)
            msg = f"there is no case {name!r}; there are {known}"
            raise ValueError(msg)
    return [case for case in CASES if not wanted or any(case.is_named(name) for name in wanted)]
