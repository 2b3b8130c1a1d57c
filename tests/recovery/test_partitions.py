"""Bytewax's recovery partitions, as Bytewax itself wrote them, read from outside."""

import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, cluster_main

from bytewax_state import Settings, attach
from bytewax_state.errors import UsageError
from bytewax_state.recovery.partitions import RefRow, RefRows, read_refs
from bytewax_state.snapshot.layout import StepId
from bytewax_state.snapshot.ref import decode_ref
from tests.dataflow.flows import ITEMS, flow_of

pytestmark = pytest.mark.disk

STEP = "flow.s.stateful_batch"


def run(folder: Path, items: list[Any], backup: timedelta = timedelta(0), workers: int = 1) -> Path:
    """Run a flow of eight key groups in epochs of a batch, and return its recovery directory."""
    recovery = folder / "recovery"
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 3)
    settings = Settings(uri=str(folder / "snapshots"), dir=folder / "work", key_groups=8, memory="8MiB")
    flow = attach(flow_of("stateful", items, []), settings)
    config = RecoveryConfig(str(recovery), backup)
    cluster_main(flow, [], 0, epoch_interval=timedelta(0), recovery_config=config, worker_count_per_proc=workers)
    return recovery


def test_the_refs_of_all_partitions_are_read(tmp_path: Path) -> None:
    """Each key group has one that Bytewax would load."""
    refs = read_refs([run(tmp_path, ITEMS[:100])])
    groups = [decode_ref(row.value, StepId("flow", row.step_id)).group for row in refs.loadable()]
    assert sorted(groups) == list(range(8))
    assert {row.step_id for row in refs.rows} == {STEP}
    assert refs.flows() == ["flow"]


def test_the_resume_epoch_is_that_of_bytewax(tmp_path: Path) -> None:
    """The next execution says which it was."""
    items = [*ITEMS[:100], TestingSource.EOF(), *ITEMS[100:200]]
    before = read_refs([run(tmp_path, items, workers=2)])
    run(tmp_path, items)
    rows = [row for part in (tmp_path / "recovery").glob("*.sqlite3") for row in _ask(part, "SELECT * FROM exs")]
    assert before.resume_epoch == max(row[3] for row in rows)
    assert before.resume_epoch > 5


def test_every_group_has_a_row_of_the_execution_that_runs(tmp_path: Path) -> None:
    """Also those without an item in it: what an execution that died had written of them must not come back."""
    run(tmp_path, [*ITEMS[:100], TestingSource.ABORT()])
    before = {_store_of(row) for row in read_refs([tmp_path / "recovery"]).rows}
    run(tmp_path, [*ITEMS[:100], *[("key0", 1)] * 30, TestingSource.ABORT()])
    refs = read_refs([tmp_path / "recovery"])
    newest = {row.route: _store_of(row) for row in sorted(refs.loadable(refs.resume_epoch), key=lambda row: row.epoch)}
    assert len(newest) == 8
    assert before.isdisjoint(newest.values())


def test_with_a_backup_interval_older_epochs_can_be_loaded(tmp_path: Path) -> None:
    """Their rows are kept by Bytewax, so their state has to be kept too."""
    refs = read_refs([run(tmp_path, ITEMS[:200], backup=timedelta(hours=1))])
    assert refs.oldest_epoch == 0
    assert len(refs.loadable()) > 8
    assert len(refs.loadable(refs.resume_epoch)) == 8


ROWS = RefRows(tuple(RefRow("f.s", route, epoch, b"") for route in "ab" for epoch in (1, 3, 5, 7)), 7, 4)


@pytest.mark.parametrize(("oldest", "epochs"), [(None, {3, 5}), (0, {1, 3, 5}), (1, {1, 3, 5}), (7, {5}), (9, {5})])
def test_what_may_be_loaded(oldest: int | None, epochs: set[int]) -> None:
    """The newest row below each epoch that may be resumed from; never one of an epoch that is not committed."""
    assert {row.epoch for row in ROWS.loadable(oldest)} == epochs


@pytest.mark.parametrize("gone", ["part-0.sqlite3", "part-1.sqlite3", "part-2.sqlite3", "*"])
def test_a_missing_partition_is_refused(gone: str, tmp_path: Path) -> None:
    """It may hold the refs that are wanted."""
    recovery = run(tmp_path, ITEMS[:20])
    for path in recovery.glob(gone):
        path.unlink()
    with pytest.raises(UsageError, match="not all recovery partitions"):
        read_refs([recovery])


def test_partitions_may_lie_in_several_folders(tmp_path: Path) -> None:
    """As the processes of a cluster have them."""
    recovery = run(tmp_path, ITEMS[:20])
    expected = read_refs([recovery])
    (tmp_path / "other").mkdir()
    shutil.move(recovery / "part-1.sqlite3", tmp_path / "other")
    found = read_refs([recovery, tmp_path / "other"])
    assert set(found.rows) == set(expected.rows)
    with pytest.raises(UsageError):
        read_refs([recovery, tmp_path / "other", tmp_path / "other"])


def test_rows_that_are_no_refs_are_passed_over(tmp_path: Path) -> None:
    """A source's offset, a row of plain Bytewax, a discard, and what no unpickling without code can read."""
    recovery = run(tmp_path, ITEMS[:20])
    expected = set(read_refs([recovery]).rows)
    with sqlite3.connect(recovery / "part-0.sqlite3") as db:
        for number, data in enumerate([None, b"", b"\x80\x04cos\nsystem\n(S'x'\ntR.", b"\x80\x04K\x01."]):
            db.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES ('flow.x', 'k', ?, ?)",
                (number, data),
            )
    db.close()
    assert set(read_refs([recovery]).rows) == expected


def _store_of(row: RefRow) -> str:
    return decode_ref(row.value, StepId("flow", row.step_id)).store_id


def _ask(part: Path, query: str) -> list[Any]:
    db = sqlite3.connect(part)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()
