"""Damage to Bytewax's recovery partitions, and what reading them from outside may make of it.

They have no digests, so a number in them that is another one is nobody's to find; but each ref has, and SQLite knows
its own structure. So what has to come out: the rows as they are in the partition, each ref being one that was there or
refused, or a `UsageError`.
"""

import random
import shutil
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bytewax_state.errors import SnapshotError, UsageError
from bytewax_state.recovery.partitions import RefRows, read_refs
from bytewax_state.recovery.preflight import check, read
from bytewax_state.settings import keys_of
from bytewax_state.snapshot.ref import Ref, decode_ref
from tests.fuzz import commands
from tests.fuzz.damage import Input, altered
from tests.fuzz.jobs import FLOW, ID, ROUTES, STEP, Job
from tests.fuzz.judge import COMMANDS, Verdict

_ROW = "step_id = ? AND state_key = ? AND snap_epoch = ?"
_ROUTES = {group: route for route, group in ROUTES.items()}


class Reader:
    """Takes inputs for the partitions of one job, one after the other."""

    def __init__(self, job: Job, scratch: Path) -> None:
        """Init.

        :arg job: Job.

        :arg scratch: Folder for copies.

        """
        self._job = job
        self._scratch = scratch
        self._keys = keys_of(job.settings("none", job.work))
        self._sound = {(row.route, row.epoch): row.value for row in read_refs([job.recovery]).rows}
        self._refs = {self._ref(value) for value in self._sound.values()}

    def __call__(self, case: Input) -> Verdict:
        """Damage, read, judge."""
        with TemporaryDirectory(dir=self._scratch) as folder:
            recovery = Path(shutil.copytree(self._job.recovery, Path(folder) / "recovery"))
            if case.kind == "row":
                self._damage_row(case, recovery)
            else:
                _damage_partition(case, recovery)
            verdict = self._read(case, recovery)
            if case.seed % COMMANDS == 0:
                verdict.findings += commands.look_with(self._job, recovery)
            return verdict

    def _read(self, case: Input, recovery: Path) -> Verdict:
        try:
            # What `run` and `attach` do first, and then what the command line does.
            check(read(recovery), FLOW, [STEP])
            rows = read_refs([recovery])
        except UsageError as ex:
            named = any(word in str(ex) for word in ("part-", "partition", STEP))
            return Verdict(ex.kind, str(ex), [] if named else ["an error that does not tell what is damaged"])
        except BaseException as ex:
            return Verdict(type(ex).__name__, traceback.format_exc(), ["an exception that is none of ours"])
        return self._judge(case, rows)

    def _judge(self, case: Input, rows: RefRows) -> Verdict:
        found = {(row.route, row.epoch): row.value for row in rows.rows}
        refused: list[str] = []
        for at, value in found.items():
            if self._sound.get(at) == value:
                continue
            try:
                ref = self._ref(value)
            except SnapshotError as ex:
                refused.append(ex.kind)
                continue
            if ref not in self._refs:
                return Verdict("wrong", findings=["a ref that never was"])
        if refused:
            return Verdict(refused[0])
        if found == self._sound and rows.resume_epoch == self._job.resume_epoch:
            return Verdict("right")
        if case.kind == "partition" or case.way in ("swap", "older", "delete"):
            # It is what the partition says. A ref of another key group is found when that group wakes.
            return Verdict("unprotected", f"{len(found)} of {len(self._sound)} rows, epoch {rows.resume_epoch}")
        return Verdict("wrong", findings=["rows that were dropped, or moved"])

    def _ref(self, value: bytes) -> Ref:
        return decode_ref(value, ID, self._keys)

    def _damage_row(self, case: Input, recovery: Path) -> None:
        rng = random.Random(case.seed)
        refs = self._job.refs(case.groups, case.before)
        group, row = int(case.name), refs[int(case.name)]
        # What is in the partition is a pickle of the ref.
        data = _get(recovery, group, row.epoch)
        if case.way == "swap":
            other = int(case.other)
            _put(recovery, group, row.epoch, _get(recovery, other, refs[other].epoch))
            _put(recovery, other, refs[other].epoch, data)
        elif case.way == "older":
            _put(recovery, group, row.epoch, _get(recovery, group, rng.choice(self._job.rows[group]).epoch))
        elif case.way in ("delete", "empty"):
            _put(recovery, group, row.epoch, None if case.way == "delete" else b"")
        else:
            _put(recovery, group, row.epoch, altered(data, case.kind, case.way, case.region, rng))


def _get(recovery: Path, group: int, epoch: int) -> bytes:
    found = [
        row[0]
        for part in recovery.glob("*.sqlite3")
        for row in _do(part, f"SELECT ser_change FROM snaps WHERE {_ROW}", STEP, _ROUTES[group], epoch)
    ]
    (data,) = found
    assert isinstance(data, bytes)
    return data


def _put(recovery: Path, group: int, epoch: int, data: bytes | None) -> None:
    for part in recovery.glob("*.sqlite3"):
        _do(part, f"UPDATE snaps SET ser_change = ? WHERE {_ROW}", data, STEP, _ROUTES[group], epoch)


def _do(part: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(part)) as db, db:
        return db.execute(sql, values).fetchall()


def _damage_partition(case: Input, recovery: Path) -> None:
    path = recovery / case.name
    data = path.read_bytes()
    if case.way == "swap":
        other = recovery / case.other
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    elif case.way == "delete":
        path.unlink()
    elif case.way == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(altered(data, case.kind, case.way, case.region, random.Random(case.seed)))
