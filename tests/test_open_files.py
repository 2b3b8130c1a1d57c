"""Open files: what tables take of a process's limit, and what is said where it is reached."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from bytewax.recovery import init_db_dir
from fsspec.implementations.local import LocalFileSystem

from bytewax_state.errors import StorageError
from bytewax_state.open_files import FIXED_FILES, MAX_ROW_FILES, MIN_ROW_FILES, remedy
from bytewax_state.storage.uri import open_storage


def limited(soft: int, hard: int, script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a script in a process that may have some files open."""
    front = ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"]
    command = [*front, sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


FLOW = """
import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, cluster_main
from bytewax_state import Settings, attach

folder, workers, epochs, out = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), []
items = [(f"k{number}", number) for _ in range(epochs) for number in range(100)]
flow = Dataflow("flow")
up = op.input("inp", flow, TestingSource(items, batch_size=100))
steps = [op.stateful_map(f"s{number}", up, lambda total, _: ((total or 0) + 1,) * 2) for number in range(8)]
op.output("out", op.merge("all", *steps), TestingSink(out))
attach(flow, Settings(uri=str(folder / "snapshots"), dir=folder / "work", memory="64MiB"))
recovery = RecoveryConfig(str(folder / "recovery"), timedelta(0))
cluster_main(flow, [], 0, epoch_interval=timedelta(0), recovery_config=recovery, worker_count_per_proc=workers)
print(len(out), {value for _, (_, value) in [("", one) for one in out]} >= {epochs})
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "recovery").mkdir()
    init_db_dir(tmp_path / "recovery", 1)
    return tmp_path


def test_many_steps_on_many_workers_fit_in_what_the_hard_limit_allows(job: Path) -> None:
    """Whatever the soft one is; also while a rescale needs a table more on each."""
    assert limited(256, 8192, FLOW, job, 8, 3).stdout == "2400 True\n"
    done = limited(256, 8192, FLOW, job, 3, 5)
    assert done.stdout == "1600 True\n", done.stderr


def test_a_hard_limit_that_is_too_low_is_named(job: Path) -> None:
    """With what counts against it, and what to do."""
    done = limited(256, 300, FLOW, job, 8, 3)
    assert done.returncode != 0
    assert "open files may run out" in done.stderr
    said = r"StorageError: .*Too many open files.*may have 300 files open, .* its \d+ tables .*raise the limit"
    assert re.search(said, done.stderr), done.stderr


TABLE = """
import os, resource, sys
from pathlib import Path
from bytewax_state.store import options
from bytewax_state.store.table import Memory, Table

options.RUNS = 100
table = Table.open(Path(sys.argv[1]), Memory.of(8 << 20), create=True)
for run in range(40):
    table.write([(b"%03d" % run, b"")])
    table.checkpoint(Path(f"{sys.argv[1]}-{run}"))
for run in range(40):
    assert table.get_many([b"%03d" % run]) == [b""]
names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
ours = [name for name in names if name.startswith(sys.argv[1])]
rows = [name for name in ours if name.endswith(".sst")]
print(len(rows), len(ours) - len(rows), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")
@pytest.mark.parametrize(
    ("soft", "hard", "rows", "raised"),
    [
        (64, 256, MIN_ROW_FILES, 128 + MIN_ROW_FILES + FIXED_FILES),
        (512, 1 << 14, 40, 1024 + MAX_ROW_FILES + FIXED_FILES),
        (8000, 8000, 40, 8000),
    ],
)
def test_a_table_opens_no_more_files_than_its_share(
    soft: int, hard: int, rows: int, raised: int, tmp_path: Path
) -> None:
    """As many as the process has room for, though reads need all of them; the soft limit follows, upwards only."""
    done = limited(soft, hard, TABLE, tmp_path / "table")
    found = [int(number) for number in done.stdout.split()]
    assert found == [rows, FIXED_FILES - 1, raised, hard], done.stderr


PLACES = """
import itertools, os, sys
from pathlib import Path
from fsspec.implementations.local import LocalFileSystem
from bytewax_state.errors import StorageError
from bytewax_state.storage.bucket import Bucket
from bytewax_state.snapshot.lock import FileLock
from bytewax_state.storage.uri import open_storage
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.workspace import Workspace
from bytewax_state.store import options
from bytewax_state.store.table import Memory, Table

root, memory = Path(sys.argv[1]), Memory.of(8 << 20)
options.RUNS = 100
table = Table.open(root / "table", memory, create=True)
for run in range(40):
    table.write([(b"%03d" % run, b"")])
    table.checkpoint(root / f"image-{run}")
folder = open_storage(str(root / "snapshots"), {}, 1, lambda seconds: None)
folder.put("a/1", b"data")
bucket = Bucket(LocalFileSystem(), str(root / "snapshots"), "bucket://", 1, str)
store = StoreId(StepId("flow", "flow.s"), "20260101T000000000000Z-w000-00000001")
space = Workspace(root / "work", store, 0, 1)
PLACES = {
    "open": lambda: Table.open(root / "image-0", memory, create=False),
    "make": lambda: Table.open(root / "new", memory, create=True),
    "get": lambda: table.get_many([b"%03d" % run for run in range(40)]),
    "scan": lambda: list(table.scan(b"", b"a")),
    "checkpoint": lambda: table.checkpoint(root / "image"),
    "ingest": lambda: table.ingest([(b"a", b"b")], root / "scratch"),
    "lock": lambda: FileLock(root / "a.lock"),
    "tidy": lambda: space.tidy(1),
    **{
        f"{kind} {verb}": call
        for kind, one in (("folder", folder), ("bucket", bucket))
        for verb, call in {
            "put": lambda one=one: one.put("a/2", b"data"),
            "put_file": lambda one=one: one.put_file(root / "image-0" / "CURRENT", "a/3"),
            "get": lambda one=one: one.get("a/1"),
            "get_file": lambda one=one: one.get_file("a/1", root / "got"),
        }.items()
    },
    "folder list": lambda: folder.list(""),
}
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for name, place in PLACES.items():
    try:
        place()
    except StorageError as ex:
        if "raise the limit" in str(ex) and "Too many open files" in str(ex):
            continue
        print(name, ex)
    except BaseException as ex:
        print(name, repr(ex))
    else:
        print(name, "did not fail")
print("tried", len(PLACES))
"""


def test_a_limit_that_is_reached_is_named_wherever_it_is(tmp_path: Path) -> None:
    """And is no conflict, no damage, and no disk that is full."""
    done = limited(256, 256, PLACES, tmp_path)
    assert done.stdout == "tried 17\n", done.stderr


def test_a_limit_that_a_driver_tells_of_is_named() -> None:
    """It may have an error of its own, with the one of the system as a cause; that of the machine is another."""
    for number, said in ((errno.EMFILE, "ulimit -n"), (errno.ENFILE, "fs.file-max")):
        error = ConnectionError("no route")
        error.__cause__ = OSError(number, os.strerror(number))
        assert said in (remedy(error) or "")
    assert remedy(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) is None


class Exhausted(LocalFileSystem):
    """A driver that has an error of its own for what the system says."""

    protocol = "exhausted"

    def __init__(self, **options: object) -> None:
        msg = "no connection"
        raise RuntimeError(msg) from OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_driver_that_cannot_begin_for_want_of_open_files_is_not_set_up_wrongly() -> None:
    """To change the settings would not help."""
    fsspec.register_implementation("exhausted", Exhausted, clobber=True)
    with pytest.raises(StorageError, match="ulimit -n"):
        open_storage("exhausted://bucket/snapshots", {}, 1)
