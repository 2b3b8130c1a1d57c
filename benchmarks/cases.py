"""The pairs that are measured: which flow, how much of it, on which store, and the ratio that is asked for.

Owns the table of cases and nothing that runs. It does not own the flows (`flows`) nor the measuring (`pairs`, `turn`).
Called by the command line, and by each turn's process, which gets its case as JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Backend: TypeAlias = Literal["heap", "rocksdb"]

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
    """With recovery on both sides, and epochs of this length; `None`: without recovery."""

    @property
    def full_name(self) -> str:
        """Name that tells this case from all others."""
        return f"{self.name}:{self.backend}"


def _keyed_sums(operator: str) -> tuple[Case, ...]:
    heap = Case(operator, operator, "heap", items=1_000_000, keys=100_000, at_least=1.8)
    informs = replace(heap, at_least=None)
    return (
        heap,
        replace(heap, backend="rocksdb", at_least=1.2),
        replace(informs, name=f"{operator}_batches_of_100", batch_size=100),
        replace(informs, name=f"{operator}_batches_of_10000", batch_size=10_000),
        replace(informs, name=f"{operator}_recovery", epoch_seconds=1.0),
        replace(informs, name=f"{operator}_recovery", backend="rocksdb", epoch_seconds=1.0),
    )


_WINDOW = Case("fold_window", "fold_window", "heap", items=300_000, keys=10_000, at_least=5.0)

CASES: tuple[Case, ...] = (
    *_keyed_sums("stateful_map"),
    *_keyed_sums("stateful_batch"),
    _WINDOW,
    replace(_WINDOW, name="fold_window_batches_of_10000", at_least=None, batch_size=10_000),
)


def select(wanted: Sequence[str]) -> list[Case]:
    """Find cases.

    :arg wanted: Names, or full names with their backend; none: all.

    :returns: Cases, in the order of the table.

    :raises ValueError: If a name fits no case.

    """
    for name in wanted:
        if not any(name in (case.name, case.full_name) for case in CASES):
            known = ", ".join(case.full_name for case in CASES)
            msg = f"there is no case {name!r}; there are {known}"
            raise ValueError(msg)
    return [case for case in CASES if not wanted or case.name in wanted or case.full_name in wanted]
