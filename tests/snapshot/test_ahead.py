"""Files that are uploaded before there is a version that names them: only whole ones, and no version lacks any."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bytewax_state.errors import ConflictError, StorageError
from bytewax_state.snapshot import ahead
from bytewax_state.snapshot.ahead import Ahead
from bytewax_state.snapshot.manifest import FileEntry
from bytewax_state.snapshot.publish import Sent
from bytewax_state.store import rows
from bytewax_state.store.table import Memory, Table
from tests.snapshot.test_restore import Writer

ENTRY = FileEntry("000001.sst", "store/files/000001.sst", 100, "ab" * 32)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small files be worth it, and do not wait for them."""
    monkeypatch.setattr(ahead, "LARGE", 100)
    monkeypatch.setattr(ahead, "PAUSE", 0.001)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """Make a table with a file of its own."""
    table = Table.open(tmp_path / "live", Memory.of(8 << 20), create=True)
    table.write((b"\x00\x01k%06d" % number, b"v" * 100) for number in range(1_000))
    table.checkpoint(tmp_path / "image")
    table.close()
    return tmp_path / "live"


class Sender:
    """Notes what it is to send, and what was in it."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}
        self.done = threading.Event()

    def __call__(self, path: Path) -> Sent:
        self.sent[path.name] = path.read_bytes()
        self.done.set()
        return Sent(ENTRY, 0, 0)


def test_what_rocksdb_has_finished_is_sent_once(live: Path) -> None:
    """Not what it is still writing, nor what is small, or known."""
    (file,) = live.glob("*.sst")
    data = file.read_bytes()
    (live / "000100.sst").write_bytes(data[:-1])
    (live / "000101.sst").write_bytes(data[-50:])
    (live / "000102.sst").write_bytes(b"")
    (live / "000001.sst").write_bytes(data)
    sender = Sender()
    one = Ahead(live, sender)
    one.note_published({"000001.sst": ENTRY})
    one.begin()
    assert sender.done.wait(60)
    assert one.end().keys() == {file.name}
    assert sender.sent == {file.name: data}
    assert one.note_published({"000001.sst": ENTRY}) == [file.name]
    assert one.note_published({"000001.sst": ENTRY, file.name: ENTRY}) == []
    assert one.end() == {}
    assert sender.sent == {file.name: data}
    assert list((live.parent / "ahead").iterdir()) == []


def test_what_is_merged_away_meanwhile_is_passed_over(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may go between any two looks."""
    (file,) = live.glob("*.sst")
    is_finished = ahead._is_finished

    def gone(path: Path) -> bool:
        found = is_finished(path)
        path.unlink()
        return found

    monkeypatch.setattr(ahead, "_is_finished", gone)
    one = Ahead(live, Sender())
    one.note_published({"000001.sst": ENTRY})
    one.begin()
    one._background.settle()
    assert one.end() == {}
    assert not file.exists()


def test_an_upload_that_fails_is_told_to_whoever_needs_it(live: Path) -> None:
    """At the end of the epoch, as any that fails then."""

    def fail(path: Path) -> Sent:
        raise StorageError(path.name)

    one = Ahead(live, fail)
    one.note_published({"000001.sst": ENTRY})
    one.begin()
    with pytest.raises(StorageError, match="sst"):
        one._background.settle()
    one.close()


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """Make one whose every version has an image."""
    monkeypatch.setattr(rows, "SMALL", 0)
    made = Writer(tmp_path, 0, [])
    yield made
    made.close()


def test_versions_name_what_was_sent_ahead(writer: Writer, tmp_path: Path) -> None:
    """Whatever compaction made, and took away, between them; and all can be restored."""
    writer.add(0)
    taken = 0
    expected: dict[str, object] = {}
    for number in range(80):
        for key in range(number, number + 20):
            writer.put(0, f"k{key % 50}", number)
            expected[f"k{key % 50}"] = number
        writer.store.store.flush()
        writer.table.write([])
        with writer.table._opened() as db:
            db.flush()
        writer.versions._ahead._background.settle()
        taken += len(writer.versions._ahead._sent)
        refs = writer.publish()
    assert taken > 20
    assert {name.rpartition("/")[2] for name in writer.versions._collector._uploading} <= {
        path.name for path in writer.space.live.glob("*.sst")
    }
    writer.close()
    again = Writer(tmp_path, 0, refs)
    assert again.contents() == {0: expected}
    again.close()


def test_a_file_that_only_seemed_to_be_finished_is_never_named(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that a file ends with may be in a row too, where RocksDB stops for a while."""
    monkeypatch.setattr(ahead, "_is_finished", lambda path: True)
    writer.add(0)
    writer.put(0, "k", 0)
    writer.publish()
    writer.versions._ahead.end()
    writer.put(0, "k", 1)
    writer.store.store.flush()
    with writer.table._opened() as db:
        db.flush()
    (grown,) = [path for path in writer.space.live.glob("*.sst") if path.name not in writer.versions._durable.files]
    whole = grown.read_bytes()
    half = whole[:-200]
    grown.unlink()
    grown.write_bytes(half)
    writer.versions._ahead._upload(grown)
    grown.write_bytes(whole)
    with pytest.raises(ConflictError, match="with other bytes"):
        writer.publish()


def test_what_is_sent_to_no_use_is_counted(writer: Writer) -> None:
    """By the next version, as any byte that is written."""
    writer.add(0)
    writer.put(0, "k", 0)
    writer.publish()
    before = dict(writer.versions._durable.files)
    writer.versions._ahead._untold.append(Sent(ENTRY, 0, 0))
    writer.put(0, "k", 1)
    writer.publish()
    (*_, newest) = [writer.catalog.read(name) for name in sorted(writer.storage.list("")) if name.endswith(".manifest")]
    assert newest.stats.uploaded_bytes == ENTRY.size + sum(
        entry.size for entry in newest.files if entry.local not in before
    )
