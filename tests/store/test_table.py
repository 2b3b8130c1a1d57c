"""The table: what RocksDB does silently, said aloud."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bytewax_state.errors import ConflictError, SnapshotCorruptError
from bytewax_state.store.table import Memory, Table
from tests.faults import flipped

pytestmark = pytest.mark.disk

MEMORY = Memory.of(8 << 20)
ROWS = [(b"\x00\x01k%06d" % number, b"v" * 100) for number in range(5_000)]
ALL = (b"", b"\xff")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A frozen image of one file."""
    table = Table.open(tmp_path / "live", MEMORY, create=True)
    table.write(ROWS)
    table.checkpoint(tmp_path / "image")
    table.close()
    return tmp_path / "image"


def test_a_merge_leaves_one_sorted_run(tmp_path: Path) -> None:
    """With the newest row of each key, and none of those that were deleted."""
    table = Table.open(tmp_path / "live", MEMORY, create=True)
    for number in range(3):
        table.write((key, b"%d" % number) for key, _ in ROWS)
        table.write([(ROWS[number][0], None)])
        table.checkpoint(tmp_path / f"image-{number}")
    assert len(list((tmp_path / "image-2").glob("*.sst"))) == 3
    table.merge()
    table.checkpoint(tmp_path / "merged")
    assert len(list((tmp_path / "merged").glob("*.sst"))) == 1
    assert dict(table.scan(*ALL)) == {key: b"2" for key, _ in ROWS if key != ROWS[2][0]}
    table.close()


def damage(image: Path) -> None:
    """Flip a bit in the first third of the rows' file."""
    (path,) = image.glob("*.sst")
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) // 3))


READS: dict[str, Callable[[Table], object]] = {
    "scan": lambda table: list(table.scan(*ALL)),
    "scan_many": lambda table: [key for keys, _ in table.scan_many(*ALL) for key in keys],
    "scan_keys": lambda table: list(table.scan_keys(*ALL)),
    "get_many": lambda table: table.get_many([key for key, _ in ROWS]),
}


@pytest.mark.parametrize("read", READS)
def test_a_damaged_file_is_an_error_and_not_the_end(read: str, image: Path) -> None:
    """An iterator of RocksDB just ends there, and only its status tells."""
    damage(image)
    table = Table.open(image, MEMORY, create=False)
    with pytest.raises(SnapshotCorruptError):
        READS[read](table)
    table.close()


@pytest.mark.parametrize("read", READS)
def test_a_sound_file_is_read_to_its_end(read: str, image: Path) -> None:
    """All rows, in their order."""
    table = Table.open(image, MEMORY, create=False)
    assert len(READS[read](table)) == len(ROWS)  # type: ignore[arg-type]
    table.close()


def test_an_image_is_opened_with_the_options_of_a_table(image: Path) -> None:
    """Without the map of column families, RocksDB silently takes its own defaults."""
    table = Table.open(image, MEMORY, create=False)
    with table._opened() as db:
        assert db.property_value("rocksdb.block-cache-capacity") == str(8 << 20)
    table.close()


def test_a_table_is_open_once(image: Path) -> None:
    """Also while somebody iterates over it; closed, it can be opened again."""
    table = Table.open(image, MEMORY, create=False)
    rows = table.scan(*ALL)
    next(rows)
    with pytest.raises(ConflictError):
        Table.open(image, MEMORY, create=False)
    table.close()
    Table.open(image, MEMORY, create=False).close()


FORK = r"""
import gc, os, signal, sys
from pathlib import Path
from threading import Event, Thread
from bytewax_state.errors import UsageError
from bytewax_state.store.table import Memory, Table

folder, memory, all = Path(sys.argv[1]), Memory.of(8 << 20), (b"", b"\xff")
ROWS = [(b"\x00\x01k%06d" % number, b"v" * 100) for number in range(5_000)]


def forked(child):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            child()
        except UsageError as ex:
            os._exit(7)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kept():
    # Logs are removed by RocksDB in its own time.
    return sorted(name for name in os.listdir(table.path) if not name.endswith(".log"))


def forget():
    global table, rows
    table.close()
    table = rows = None
    gc.collect()


def slowly(rows):
    yield rows[0]
    begun.set()
    go_on.wait()
    yield from rows[1:]


USES = (
    lambda: table.write(ROWS[:1]),
    lambda: table.get_many([ROWS[0][0]]),
    lambda: table.scan(*all),
    lambda: table.checkpoint(folder / "child"),
    lambda: table.ingest(ROWS, folder / "scratch"),
    lambda: Table.open(folder / "child", memory, create=True),
)

table = Table.open(folder / "live", memory, create=True)
table.write(ROWS)
rows = table.scan(*all)
next(rows)
table.checkpoint(folder / "image")
table.write(ROWS[:100])
before = kept()
print("refused", [forked(use) for use in USES])
print("left", forked(forget), forked(sys.exit), kept() == before)
print("read", len(list(rows)))
table.checkpoint(folder / "other")
begun, go_on = Event(), Event()
thread = Thread(target=lambda: print("ingested", table.ingest(slowly(ROWS), folder / "scratch")))
thread.start()
begun.wait()
forked(sys.exit)
go_on.set()
thread.join()
table.close()
print("closed", forked(USES[-1]))
"""


def test_a_forked_child_is_refused_and_lets_go_of_nothing(tmp_path: Path) -> None:
    """Else it writes into the files of its parent, or waits for threads that only the parent has."""
    # Without a buffer, as a forked child would write out what its parent has in it.
    command = [sys.executable, "-u", "-c", FORK, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    expected = ["refused [7, 7, 7, 7, 7, 7]", "left 0 0 True", "read 4999", "ingested 5000", "closed 7"]
    assert done.stdout.splitlines() == expected, done.stderr
