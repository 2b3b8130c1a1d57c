"""What recovery partitions tell before a run begins: would the flow leave state behind?

Owns that judgement. It does not own how partitions are read (`partitions`). Called by `run`, and by `attach` where the
environment says where they are.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bytewax_state.errors import UsageError
from bytewax_state.recovery.partitions import check_sound, query, ref_in, resume_epoch_of
from bytewax_state.snapshot.ref import is_ref


@dataclass(frozen=True, slots=True)
class StepRows:
    """The newest row of a step in the recovery partitions."""

    step_id: str
    epoch: int
    ref: bool
    """Whether it is a ref of ours."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the recovery partitions tell."""

    steps: tuple[StepRows, ...]
    resume_epochs: tuple[int, ...]
    """Of all executions, in their order."""
    resume_epoch: int
    """Where Bytewax would resume now: all epochs below it are committed."""

    def claimed(self) -> list[str]:
        """Name the steps with refs that the last execution which committed something had.

        :returns: Full ids of core steps. One that an earlier execution had, and a later one did without, is not named.

        """
        since = max((epoch for epoch in self.resume_epochs if epoch < self.resume_epoch), default=0)
        return sorted(step.step_id for step in self.steps if step.ref and step.epoch >= since)


def read(folder: Path) -> Recovery:
    """Read the recovery partitions of a folder.

    :arg folder: As given to Bytewax; one without partitions has no steps.

    :raises UsageError: If a partition is not one, or is damaged.

    """
    newest: dict[str, StepRows] = {}
    epochs: dict[int, int] = {}
    parts = sorted(folder.glob("part-*.sqlite3"))
    for part in parts:
        check_sound(part)
        for step in _steps(part):
            if step.step_id not in newest or newest[step.step_id].epoch < step.epoch:
                newest[step.step_id] = step
        epochs.update(query(part, "SELECT ex_num, resume_epoch FROM exs"))
    resume_epochs = tuple(epochs[ex] for ex in sorted(epochs))
    return Recovery(tuple(newest[step] for step in sorted(newest)), resume_epochs, resume_epoch_of(parts))


def check(recovery: Recovery, flow_id: str, steps: Collection[str]) -> None:
    """Refuse a flow that would leave state behind.

    :arg recovery: What the recovery partitions tell.

    :arg flow_id: The flow that is about to run.

    :arg steps: Full ids of its stateful core steps.

    :raises UsageError: If there are refs of a step that the flow does not have, the partitions are another flow's, or
        they hold state of plain Bytewax for one of its steps.

    """
    plain = sorted(step.step_id for step in recovery.steps if step.step_id in steps and not step.ref)
    if plain:
        msg = (
            f"the recovery directory holds the state of {_join(plain)} as plain Bytewax keeps it, not refs to "
            "snapshots; run this flow without bytewax_state, or start with an empty recovery directory"
        )
        raise UsageError(msg)
    foreign = sorted({step.step_id.partition(".")[0] for step in recovery.steps} - {flow_id})
    if foreign and not any(step.step_id.startswith(f"{flow_id}.") for step in recovery.steps):
        msg = (
            f"the recovery directory belongs to the flow {_join(foreign)}, and this is {flow_id!r}; "
            "give the directory of this flow, or an empty one"
        )
        raise UsageError(msg)
    unclaimed = [step for step in recovery.claimed() if step not in steps]
    if unclaimed:
        msg = (
            f"the recovery directory has state of {_join(unclaimed)}, which the flow {flow_id!r} does not have; its "
            f"stateful steps are {_join(sorted(steps))}. Was a step renamed? Give it its old name back, or run with "
            "--ignore-unclaimed to leave that state behind"
        )
        raise UsageError(msg)


def _steps(part: Path) -> Iterator[StepRows]:
    rows = query(
        part,
        "SELECT step_id, MAX(snap_epoch), ser_change FROM snaps WHERE ser_change IS NOT NULL GROUP BY step_id",
    )
    for step_id, epoch, data in rows:
        yield StepRows(step_id, epoch, is_ref(ref_in(data)))


def _join(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
