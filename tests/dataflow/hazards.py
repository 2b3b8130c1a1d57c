"""What the tests of hazards share: the ways that a step may run, each of which forgets all that no snapshot says.

Owns how a step is spilled, killed or spread over other workers on its way. It does not own what its logic does to be a
hazard. Called by `test_hazards*.py`.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.operators import StatefulBatchLogic

from bytewax_state import Settings
from tests.dataflow.runs import Batch, Run, Step, results

Builder = Callable[[Any], StatefulBatchLogic[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Way:
    """How a step runs: where its state is, and in how many executions."""

    name: str
    settings: Settings

    def runs(self, batches: Sequence[Batch]) -> list[Run]:
        """Plan the executions that some batches go through."""
        one, two = len(batches) // 3, len(batches) * 2 // 3
        if self.name.endswith("killed"):
            return [Run(abort=one), Run(crash=two), Run()]
        if self.name.endswith("rescaled"):
            return [Run(stop=one), Run(stop=two, workers=3), Run(workers=2)]
        return [Run()]

    def results(self, step: Step, batches: Sequence[Batch]) -> dict[str, list[Any]]:
        """Return what each key gives."""
        return results(step, batches, self.settings, self.runs(batches))

    def plain(self, step: Step, batches: Sequence[Batch]) -> dict[str, list[Any]]:
        """Return what each key gives on plain Bytewax, in as many executions, each on one worker."""
        runs = [Run(stop=run.stop, abort=run.abort, crash=run.crash) for run in self.runs(batches)]
        return results(step, batches, None, runs)


def batched(builder: Builder) -> Step:
    return lambda up: op.stateful_batch("s", up, builder)


def cut(items: Sequence[Any], size: int = 1) -> list[Batch]:
    """Cut items into batches."""
    return [list(items[at : at + size]) for at in range(0, len(items), size)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class Count(StatefulBatchLogic[Any, Any, Any]):
    """Counts its values aloud, as one that behaves; the hazards are in what its subclasses do else."""

    def __init__(self, state: int | None = None) -> None:
        self.count = state or 0

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        before, self.count = self.count, self.count + len(values)
        return list(range(before + 1, self.count + 1)), False

    def snapshot(self) -> Any:
        return self.count


def noting(builder: Builder, states: list[Any]) -> Builder:
    """Note what a builder is given."""

    def build(state: Any) -> StatefulBatchLogic[Any, Any, Any]:
        states.append(state)
        return builder(state)

    return build
