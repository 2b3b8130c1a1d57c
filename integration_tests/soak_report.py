"""What a soak has to tell at its end: counts of what happened, and sizes.

It owns the record of a turn and of a job, and how they are summed up and shown. It does not own what happened, nor
whether that was right. Called by the soak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aftermath import Garbage, Size
from kill_harness import Execution, Turn


@dataclass(frozen=True)
class Taken:
    """One turn, and how it went."""

    turn: Turn
    execution: Execution
    backend: str
    disk_lost: bool
    """Whether there was a local folder to be deleted, and it was."""

    disturbed: str | None
    """How a `gc` ended that was run on a failing storage, and killed if it took long."""

    cleaned: Garbage | None
    """What `gc` deleted after it, if it ran; each `gc` was followed by another one, and by `verify --deep`."""

    def sentence(self) -> str:
        """Say how it went, in one line."""
        turn, execution = self.turn, self.execution
        marks = ((self.disk_lost, "disk lost"), (turn.faulty, "faulty"), (turn.starting, "starting"))
        said = [f"{turn.processes} processes", self.backend, *(mark for is_so, mark in marks if is_so)]
        ended = f"ended: {execution.error}" if execution.error else "killed" if execution.killed else "came to its end"
        said.append(f"{ended} after {execution.epochs} epochs" if execution.killed else ended)
        if self.disturbed is not None:
            said.append(f"gc on a failing storage: {self.disturbed}")
        if self.cleaned is not None:
            said.append(f"gc: {self.cleaned.manifests} manifests, {self.cleaned.files} files")
        return ", ".join(said)


@dataclass(frozen=True)
class Done:
    """One job, with its outputs compared."""

    taken: tuple[Taken, ...]
    faults: Mapping[str, int]
    signed: bool
    used_before: bool
    """Whether its storage holds what a job before left there."""

    storage: Size
    """After its last `gc`."""

    local: Size


def summarise(jobs: Sequence[Done], seconds: float) -> dict[str, Any]:
    """Count.

    :arg jobs: All that was done.

    :arg seconds: How long it took.

    :returns: What to show, in its order: name to number, or to a mapping of names to numbers.

    """
    turns = [one for job in jobs for one in job.taken]
    killed = [one for one in turns if one.execution.killed]
    errors = Counter(one.execution.error for one in turns if one.execution.error is not None)
    cleaned = [one.cleaned for one in turns if one.cleaned is not None]
    deleted = sum(cleaned, start=Garbage())
    return {
        "minutes": round(seconds / 60, 1),
        "jobs": len(jobs),
        "jobs signed": sum(job.signed for job in jobs),
        "jobs on a used storage": sum(job.used_before for job in jobs),
        "turns": len(turns),
        "kills": len(killed),
        "kills before the first epoch": sum(one.execution.epochs == 0 for one in killed),
        "rescales": _changes([one.turn.processes for one in job.taken] for job in jobs),
        "store changes": _changes([one.backend for one in job.taken] for job in jobs),
        "lost disks": sum(one.disk_lost for one in turns),
        "faulty turns": sum(one.turn.faulty for one in turns),
        "faults": _sums(job.faults for job in jobs),
        "runs ended by faults": dict(errors),
        "linked bytes": sum(one.linked_bytes for turn in turns for one in turn.execution.restored),
        "fetched bytes": sum(one.fetched_bytes for turn in turns for one in turn.execution.restored),
        "gc disturbed": dict(Counter(one.disturbed for one in turns if one.disturbed is not None)),
        "gc and verify": len(cleaned),
        "gc deleted": {"manifests": deleted.manifests, "files": deleted.files, "bytes": deleted.bytes},
        "storage bytes": _range(job.storage.bytes for job in jobs),
        "storage objects": _range(job.storage.objects for job in jobs),
        "temporary files left": _range(job.storage.temporary for job in jobs),
        "empty folders left": _range(job.storage.empty for job in jobs),
        "local bytes": _range(job.local.bytes for job in jobs),
    }


def table(summary: Mapping[str, Any]) -> str:
    """Show a summary.

    :arg summary: Of `summarise`.

    :returns: Lines.

    """
    wide = max(len(name) for name in summary)
    return "\n".join(f"{name:<{wide}}  {_shown(value)}" for name, value in summary.items())


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
    return f"{value:,}"


def _sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up, by name; what is 0 stays, as it is worth knowing."""
    sums: Counter[str] = Counter()
    for one in counts:
        sums.update(one)
    return dict(sums)


def _changes(histories: Iterable[Sequence[object]]) -> int:
    """Count how often something is not what it was in the turn before, in the same job."""
    return sum(before != after for history in histories for before, after in pairwise(history))


def _range(values: Iterable[int]) -> dict[str, int]:
    """Tell the values of the jobs, each at its end."""
    every = list(values)
    return {"first": every[0], "min": min(every), "max": max(every), "last": every[-1]} if every else {}
