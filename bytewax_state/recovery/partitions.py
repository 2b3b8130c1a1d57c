"""Bytewax's recovery partitions, read from outside: which steps have refs in them, and which refs.

Owns how they are read, and what is told to whoever looks for garbage. It never writes to them, and never unpickles. It
does not own what is judged before a run begins (`preflight`). Called by `preflight`, and by `admin`.
"""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytewax_state.errors import UsageError
from bytewax_state.snapshot.ref import is_ref


@dataclass(frozen=True, slots=True)
class RefRow:
    """A ref, as the recovery partitions hold it."""

    step_id: str
    route: str
    """The name that Bytewax routes its key group by."""
    epoch: int
    value: bytes
    """What `decode_ref` reads."""


@dataclass(frozen=True, slots=True)
class RefRows:
    """All refs in a set of recovery partitions."""

    rows: tuple[RefRow, ...]
    resume_epoch: int
    """Where Bytewax would resume now: all epochs below it are committed."""
    oldest_epoch: int
    """The least epoch that Bytewax can resume from: what is superseded below it may be deleted."""
    plain: tuple[str, ...] = ()
    """Full ids of steps with rows that are no refs: sources, sinks, and what plain Bytewax kept the state of."""

    def loadable(self, oldest: int | None = None) -> list[RefRow]:
        """Choose the rows that Bytewax may load.

        :arg oldest: From which epoch on it may resume; `oldest_epoch` if not given.

        :returns: For each group, and each epoch that may be resumed from, the newest row below it.

        """
        first = min(self.oldest_epoch if oldest is None else oldest, self.resume_epoch)
        base: dict[tuple[str, str], int] = {}
        for row in self.rows:
            if row.epoch < first:
                at = row.step_id, row.route
                base[at] = max(base.get(at, row.epoch), row.epoch)
        return [
            row
            for row in self.rows
            if row.epoch < self.resume_epoch and row.epoch >= base.get((row.step_id, row.route), row.epoch)
        ]

    def flows(self) -> list[str]:
        """Name the flows that have refs here: one, but for a directory that was given to several."""
        return sorted({row.step_id.partition(".")[0] for row in self.rows})


def read_refs(folders: Iterable[Path]) -> RefRows:
    """Read all refs of a set of recovery partitions.

    :arg folders: Folders that together hold all partitions of the set.

    :raises UsageError: If a partition is missing, is not one, or is damaged, or they are of different moments.

    """
    parts = sorted(part for folder in folders for part in folder.glob("part-*.sqlite3"))
    for part in parts:
        check_sound(part)
    _check_complete(parts)
    rows = _all(parts, "SELECT step_id, state_key, snap_epoch, ser_change FROM snaps WHERE ser_change IS NOT NULL")
    refs = [
        RefRow(step, route, epoch, value)
        for step, route, epoch, data in rows
        if (value := ref_in(data)) is not None and is_ref(value)
    ]
    _check_unmixed(rows, refs)
    # A run that goes on advances both epochs. The oldest is read first, or it could seem to be ahead of the other one.
    oldest_epoch = max((epoch for (epoch,) in _all(parts, "SELECT commit_epoch FROM commits")), default=0)
    resume_epoch = resume_epoch_of(parts)
    if refs and not resume_epoch:
        msg = "the recovery partitions do not belong together: they hold refs, and no run that wrote them"
        raise UsageError(msg)
    if oldest_epoch > resume_epoch:
        msg = (
            f"the recovery partitions do not belong together: one of them has dropped what is needed before epoch "
            f"{oldest_epoch}, and together they say that epoch {resume_epoch} is to be resumed from; give partitions "
            "of one moment"
        )
        raise UsageError(msg)
    plain = sorted({step for step, *_ in rows} - {ref.step_id for ref in refs})
    return RefRows(tuple(refs), resume_epoch, oldest_epoch, tuple(plain))


def check_sound(part: Path) -> None:
    """Refuse a partition that is damaged, as far as SQLite can tell: rows that are lost in one would be lost roots.

    :raises UsageError: If it is.

    """
    ((found,), *_) = query(part, "PRAGMA integrity_check(1)")
    if found != "ok":
        raise _no_partition(part, found)


def _check_unmixed(rows: Iterable[Any], refs: Iterable[RefRow]) -> None:
    """Refuse a step that has refs, and a row that is none: it was one, and may be what a run would resume from."""
    steps = {ref.step_id for ref in refs}
    for step, route, epoch, data in rows:
        if step in steps and not is_ref(ref_in(data)):
            msg = (
                f"the recovery partitions hold refs of step {step!r}, and a row (for {route!r}, epoch {epoch}) that is "
                "none: it is damaged; bring back an older copy of the recovery directory"
            )
            raise UsageError(msg)


def _check_complete(parts: list[Path]) -> None:
    found = _all(parts, "SELECT part_index, part_count FROM parts")
    counts = sorted({count for _, count in found})
    if len(counts) != 1 or sorted(index for index, _ in found) != list(range(*counts)):
        there = ", ".join(f"part-{index}" for index, _ in sorted(found)) or "none"
        of = " and of ".join(map(str, counts)) or "any"
        msg = (
            f"not all recovery partitions of one set are given, or some twice: found {there}, of {of}; give every "
            "folder that holds some of the set, once"
        )
        raise UsageError(msg)


def resume_epoch_of(parts: list[Path]) -> int:
    """Tell the least frontier of the last execution's workers, as Bytewax does.

    :arg parts: Files of one set.

    :returns: Epoch; 0 if there was no execution.

    """
    executions = _all(parts, "SELECT ex_num, worker_count, resume_epoch FROM exs")
    if not executions:
        return 0
    newest, workers, resume_epoch = max(executions)
    fronts = dict.fromkeys(range(workers), resume_epoch)
    for ex_num, worker, front in _all(parts, "SELECT ex_num, worker_index, worker_frontier FROM fronts"):
        if ex_num == newest:
            fronts[worker] = max(front, fronts.get(worker, front))
    return int(min(fronts.values()))


def _all(parts: Iterable[Path], sql: str) -> list[Any]:
    return [row for part in parts for row in query(part, sql)]


def query(part: Path, sql: str) -> list[Any]:
    """Read from a partition, without a lock that a run would wait for.

    :raises UsageError: If it is no partition, or is damaged.

    """
    try:
        with closing(sqlite3.connect(f"{part.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()
    except (sqlite3.Error, UnicodeError) as ex:
        # SQLite quotes damaged bytes in its messages, and Python fails to decode these.
        raise _no_partition(part, ex) from ex


def _no_partition(part: Path, why: object) -> UsageError:
    return UsageError(f"{part} is not a recovery partition of Bytewax, or is damaged: {why}")


_PICKLED = re.compile(rb"\x80[\x03-\x05](?:\x95.{8})?C(.)(.*)(?:\x94|q.)\.", re.DOTALL)
"""What pickle makes of up to 255 bytes, in the protocols that have an opcode for them: that, in a frame, and a memo."""


def ref_in(data: object) -> bytes | None:
    """Take out of a pickle the bytes that it is of, if it is of bytes as short as a ref.

    Without unpickling: rows of plain Bytewax may be any pickle, and damaged ones may ask for any amount of memory.

    :arg data: A `ser_change` of Bytewax's.

    :returns: The bytes; `None` if it is anything else.

    """
    found = _PICKLED.fullmatch(data) if isinstance(data, bytes) else None
    return found[2] if found is not None and len(found[2]) == found[1][0] else None
