"""What an error of a damaged snapshot says about where else the state is, and that it is true.

That damage is found and named at all, the fuzzer sees to.
"""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from bytewax_state import Settings, attach
from bytewax_state.errors import SnapshotCorruptError, SnapshotMissingError, UsageError
from bytewax_state.recovery.partitions import read_refs
from bytewax_state.recovery.preflight import read
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.ref import MAGIC
from tests.dataflow.executions import STEP, Execution, names, resume, storage
from tests.dataflow.flows import ITEMS, flow_of
from tests.faults import flipped

EPOCHS = (3, 5, 8)


@pytest.fixture
def refs(tmp_path: Path, image_each: None) -> list[bytes]:
    """Refs of three versions, each with a file of its own; what the local disk had of them is lost."""
    run = Execution(tmp_path, None)
    made = [run.put(f"value of {epoch}", epoch) for epoch in EPOCHS]
    run.close()
    (tmp_path / "work").rename(tmp_path / "lost")
    return made


def spoil(folder: Path, name: str) -> None:
    """Flip a bit."""
    path = folder / "snapshots" / name
    path.write_bytes(flipped(path.read_bytes()))


def gone(folder: Path, name: str) -> None:
    storage(folder).delete([name])


@pytest.mark.parametrize(
    ("harm", "end", "error"),
    [
        (spoil, ".sst", SnapshotCorruptError),
        (gone, ".sst", SnapshotMissingError),
        (spoil, ".manifest", SnapshotCorruptError),
    ],
)
def test_the_versions_that_do_without_it_are_named(
    harm: Callable[[Path, str], None], end: str, error: type[Exception], refs: list[bytes], tmp_path: Path
) -> None:
    """With the epochs after which a copy of the recovery directory would have to be from; and they do work."""
    name = names(tmp_path, end)[-1]
    harm(tmp_path, name)
    with pytest.raises(error) as caught:
        resume(tmp_path, None, refs[2])
    assert name in str(caught.value)
    assert re.search(r"versions 1, 2 do not need it: .* after one of the epochs 3, 5 can be resumed", str(caught.value))
    assert [resume(tmp_path, None, ref) for ref in refs[:2]] == ["value of 3", "value of 5"]


@pytest.mark.parametrize("end", [".sst", ".manifest"])
def test_what_is_damaged_as_well_is_not_named(end: str, refs: list[bytes], tmp_path: Path) -> None:
    """A version whose manifest cannot be read serves nobody, and one that names the bad file does not either."""
    spoil(tmp_path, names(tmp_path, end)[-1])
    spoil(tmp_path, names(tmp_path, ".manifest")[1])
    with pytest.raises(SnapshotCorruptError, match=r"versions 1 do not need it: .* epochs 3 can"):
        resume(tmp_path, None, refs[2])


def test_where_all_versions_need_it_nothing_is_promised(refs: list[bytes], tmp_path: Path) -> None:
    """The first file is in all versions of a store that has not compacted yet."""
    spoil(tmp_path, names(tmp_path, ".sst")[0])
    with pytest.raises(SnapshotCorruptError) as caught:
        resume(tmp_path, None, refs[2])
    assert "do not need it" not in str(caught.value)


def test_what_cannot_be_read_keeps_nobody_alive(refs: list[bytes], tmp_path: Path) -> None:
    """A traceback would hold the worker that looked, with its lock, so that the next run in this process fails."""
    assert refs
    spoil(tmp_path, names(tmp_path, ".manifest")[1])
    ((name, why),) = Catalog(storage(tmp_path)).step(STEP.prefix).unreadable.items()
    assert name in str(why)
    assert (type(why), why.__traceback__, why.__context__) == (SnapshotCorruptError, None, None)


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    """Recovery partition of a job that ran."""
    folder = tmp_path / "recovery"
    folder.mkdir()
    init_db_dir(folder, 1)
    settings = Settings(uri=str(tmp_path / "snapshots"), dir=tmp_path / "work", key_groups=8, memory="8MiB")
    flow = attach(flow_of("stateful_map", ITEMS[:50], []), settings)
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(folder)))
    return folder


def spoil_row(recovery: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(recovery / "part-0.sqlite3")) as db, db:
        assert db.execute(sql, values).rowcount == 1


LAST = "rowid = (SELECT MAX(rowid) FROM snaps WHERE step_id LIKE '%stateful_batch')"


def test_a_ref_that_is_none_any_more_is_not_passed_over(recovery: Path) -> None:
    """Garbage collection would not know that something is still needed."""
    spoil_row(recovery, f"UPDATE snaps SET ser_change = substr(ser_change, 1, 20) WHERE {LAST}")
    with pytest.raises(UsageError, match=r"stateful_batch'.*is damaged"):
        read_refs([recovery])


PICKLES = [
    b"\x80\x04r\x00\x00\x00\x20.",  # would make the memo as large as 8 GiB
    b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00C\x04" + MAGIC + b"0" * 12,  # does not end
    b"cos\nsystem\n(S'exit 1'\ntR.",
    b"\x80\x04C\x06" + MAGIC + b"..0C\x06" + MAGIC + b"..\x94.",  # two values, of which one is dropped
]


@pytest.mark.parametrize("data", PICKLES)
def test_no_row_is_unpickled(data: bytes, recovery: Path) -> None:
    """A damaged one may ask for any amount of memory, and one that somebody made may run code."""
    spoil_row(recovery, f"UPDATE snaps SET ser_change = ? WHERE {LAST}", data)
    with pytest.raises(UsageError):
        read_refs([recovery])


def test_a_row_whose_index_says_otherwise_is_found(recovery: Path) -> None:
    """A bit of an epoch that flipped: SQLite alone reads it as it is, and the wrong version would go."""
    path = recovery / "part-0.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((route,),) = db.execute(f"SELECT state_key FROM snaps WHERE {LAST}").fetchall()
    data = path.read_bytes()
    # The table has the row with its value behind, and the index without.
    at = data.index(route.encode(), data.index(MAGIC) - 200)
    path.write_bytes(flipped(data, at))
    for look in (lambda: read(recovery), lambda: read_refs([recovery])):
        with pytest.raises(UsageError, match=r"part-0\.sqlite3 .*is damaged"):
            look()


@pytest.mark.parametrize("harm", ["folder", "denied", "text", "empty"])
def test_what_is_no_partition_is_named(harm: str, recovery: Path) -> None:
    """Whatever lies in its place."""
    path = recovery / "part-0.sqlite3"
    for other in recovery.glob("part-0.sqlite3-*"):
        other.unlink()
    path.unlink()
    if harm == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"" if harm == "empty" else b"not SQLite, but as long as it takes" * 100)
    if harm == "denied":
        path.chmod(0)
    with pytest.raises(UsageError, match=r"part-0\.sqlite3"):
        read(recovery)
    path.chmod(0o700)
