"""Executions of a flow, one after the other: to an end of the input, or killed, on any number of workers.

Owns a source whose batches can be told from outside, which `TestingSource` cannot do across a kill, and the recovery
directory. It does not own what the flow does. Called by the tests of hazards and of random flows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from bytewax_state import Settings, attach
from tests.dataflow.flows import ListSink, per_key

ZERO = timedelta(0)
LONG = timedelta(hours=1)
"""As the interval of epochs: an execution is one epoch."""

Step = Callable[[Stream[Any]], Stream[Any]]
Batch = list[Any] | timedelta
"""What the source gives at once, or how long it waits."""


class Killed(Exception):  # noqa: N818  # it is no error
    """What ends an execution in the middle of an epoch."""


@dataclass(frozen=True, slots=True)
class Run:
    """One execution."""

    stop: int | None = None
    """Batch before which the input ends, so that the next execution begins with it. `None`: it is all read."""
    abort: int | None = None
    """Batch before which the execution is aborted. Nothing is lost if each batch has an epoch of its own."""
    crash: int | None = None
    """Batch at whose first result there is an exception, so that its epoch is lost."""
    workers: int = 1
    interval: timedelta = ZERO
    """Of the epochs. Zero: each batch has one."""


@dataclass(slots=True)
class _Fuse:
    lit: bool = False
    blown: bool = False

    def __call__(self, item: Any) -> Any:
        if self.lit:
            self.blown = True
            raise Killed
        return item


@dataclass
class Batches(FixedPartitionedSource[Any, int]):
    """Gives lists of items. A resume goes on with the batch after the last one that was committed."""

    batches: Sequence[Batch]
    run: Run = field(default_factory=Run)
    fuse: _Fuse = field(default_factory=_Fuse)

    def list_parts(self) -> list[str]:
        return ["batches"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Partition":
        return _Partition(self, resume_state or 0)


class _Partition(StatefulSourcePartition[Any, int]):
    def __init__(self, source: Batches, at: int) -> None:
        self._source = source
        self._at = at
        self._awake: datetime | None = None

    def next_batch(self) -> list[Any]:
        source, at = self._source, self._at
        run = source.run
        if at == run.abort:
            source.fuse.blown = True
            # Only a single worker takes the first; several would wait for each other.
            raise AbortExecution if run.workers == 1 else Killed
        if at in (run.stop, len(source.batches)):
            raise StopIteration
        source.fuse.lit = source.fuse.lit or at == run.crash
        self._at += 1
        batch = source.batches[at]
        if isinstance(batch, timedelta):
            self._awake = datetime.now(timezone.utc) + batch
            return []
        self._awake = None
        return batch

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> int:
        return self._at


class Job:
    """A flow of one step or more, and all that is left of it from one execution to the next."""

    def __init__(self, step: Step, batches: Sequence[Batch], folder: Path | None = None) -> None:
        """Init.

        :arg step: Makes the steps.

        :arg batches: All the input.

        :arg folder: Gets the recovery directory, or has one; `None`: there is none.

        """
        self.step = step
        self.batches = batches
        self.out: list[Any] = []
        self._recovery: RecoveryConfig | None = None
        if folder is not None:
            recovery = folder / "recovery"
            if not recovery.exists():
                recovery.mkdir()
                init_db_dir(recovery, 2)
            self._recovery = RecoveryConfig(str(recovery), ZERO)

    def run(self, run: Run, settings: Settings | None) -> bool:
        """Run once, on plain Bytewax if there are no settings.

        :returns: Whether it came to its end.

        """
        source = Batches(self.batches, run)
        flow = Dataflow("flow")
        results = op.map("fuse", self.step(op.input("inp", flow, source)), source.fuse)
        op.output("out", op.map("keyed", results, lambda result: ("out", result)), ListSink(self.out))
        if settings is not None:
            attach(flow, settings)
        try:
            if run.workers == 1:
                run_main(flow, epoch_interval=run.interval, recovery_config=self._recovery)
            else:
                cluster_main(
                    flow,
                    [],
                    0,
                    epoch_interval=run.interval,
                    recovery_config=self._recovery,
                    worker_count_per_proc=run.workers,
                )
        except Exception:
            if not source.fuse.blown:
                raise
        return not source.fuse.blown

    def results(self) -> dict[str, list[Any]]:
        return per_key(self.out)


def results(
    step: Step, batches: Sequence[Batch], settings: Settings | None = None, runs: Sequence[Run] = (Run(),)
) -> dict[str, list[Any]]:
    """Run some steps, and return what each key gave; on plain Bytewax if there are no settings."""
    with TemporaryDirectory() as folder:
        job = Job(step, batches, Path(folder) if len(runs) > 1 else None)
        for run in runs:
            job.run(run, settings)
        return job.results()


def causes(ex: BaseException | None) -> Iterator[BaseException]:
    """Return an exception and what caused it, the original last."""
    while ex is not None:
        yield ex
        ex = ex.__cause__ or ex.__context__
