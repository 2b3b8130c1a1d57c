"""The faulty storage fails as it says, and does not do what no object store does; ours survives what it can."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from faulty_storage import FaultyFileSystem, ThrottledError, spoil, struck

from bytewax_state.errors import StorageError
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from tests.contracts.storage_contract import StorageContract
from tests.faults import KINDS, STRIKES

NAME = "flow/steps/flow.sum/store/000000000001.manifest"
DATA = b"0123456789" * 100

Fails = Callable[..., FaultyFileSystem]


@pytest.fixture
def fails(tmp_path: Path) -> Fails:
    """Make a file system that always fails in one way; it has an object `old`."""

    def make(kind: str, **options: Any) -> FaultyFileSystem:
        (tmp_path / "old").write_bytes(DATA)
        return FaultyFileSystem({kind: 1.0}, log=str(tmp_path / "faults.log"), **options)

    return make


def storage(folder: Path, **options: Any) -> Storage:
    """Open the storage as a run does, but wait for nothing."""
    return open_storage(f"faulty://{folder}", {"sleep": lambda seconds: None, **options}, 2, sleep=lambda seconds: None)


class TestWithoutFaults(StorageContract):
    """`faulty://`, well."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return storage(tmp_path / "snapshots")

    @pytest.fixture
    def beneath(self, tmp_path: Path) -> Storage:
        """The same folder, as `file://` has it."""
        return open_storage(str(tmp_path / "snapshots"), {}, 2)


class TestWithFaults(TestWithoutFaults):
    """`faulty://`, with all that trying again survives."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        rates = dict.fromkeys(("before", "after", "torn", "throttled", "slow"), 0.03)
        return storage(tmp_path / "snapshots", rates=rates, seed=1)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("before", ConnectionRefusedError),
        ("after", ConnectionResetError),
        ("throttled", ThrottledError),
        ("torn", ConnectionResetError),
        ("full", OSError),
    ],
)
def test_a_write_fails(kind: str, error: type[OSError], fails: Fails, tmp_path: Path) -> None:
    """The object is there only where just the reply was lost, and then all of it; nothing else is left."""
    fs = fails(kind)
    with pytest.raises(error) as raised:
        fs.pipe_file(str(tmp_path / "new"), DATA, mode="create")
    assert raised.value.errno == (errno.ENOSPC if kind == "full" else raised.value.errno)
    assert (tmp_path / "new").exists() == (kind == "after")
    assert {path.name for path in tmp_path.iterdir()} - {"new"} == {"old", "faults.log"}
    assert struck(tmp_path / "faults.log") == {**dict.fromkeys(KINDS, 0), kind: 1}


@pytest.mark.parametrize("kind", ["before", "after", "throttled", "torn"])
def test_a_read_fails(kind: str, fails: Fails, tmp_path: Path) -> None:
    """With an error, never with less than there is."""
    with pytest.raises(OSError, match="a fault"):
        fails(kind).cat_file(str(tmp_path / "old"))


def test_a_torn_read_leaves_half_a_local_file(fails: Fails, tmp_path: Path) -> None:
    """As a copy does that breaks in its middle."""
    with pytest.raises(ConnectionResetError):
        fails("torn").get_file(str(tmp_path / "old"), str(tmp_path / "local"))
    assert (tmp_path / "local").read_bytes() == DATA[: len(DATA) // 2]


def test_a_slow_call_is_done_later(fails: Fails, tmp_path: Path) -> None:
    """And is no error."""
    waits: list[float] = []
    assert fails("slow", sleep=waits.append).cat_file(str(tmp_path / "old")) == DATA
    assert len(waits) == 1
    assert 0 < waits[0] < 1


def test_a_corrupt_read_is_not_what_was_written(fails: Fails, tmp_path: Path) -> None:
    """The object itself stays sound."""
    assert fails("corrupt").cat_file(str(tmp_path / "old")) != DATA
    assert (tmp_path / "old").read_bytes() == DATA


def test_what_is_spoiled_differs() -> None:
    """In one bit, or in its length."""
    for seed in range(200):
        spoiled = spoil(DATA, Random(seed))
        bits = sum((one ^ other).bit_count() for one, other in zip(spoiled, DATA, strict=False))
        assert (bits, len(spoiled) < len(DATA)) in {(1, False), (0, True)}


def test_a_list_lacks_the_youngest(fails: Fails, tmp_path: Path) -> None:
    """Until they are some hundred milliseconds old."""
    fs = fails("stale")
    born = (tmp_path / "old").stat().st_mtime
    fs._now = lambda: born + 0.1
    assert fs.find(str(tmp_path)) == []
    fs._now = lambda: born + 5.0
    assert str(tmp_path / "old") in fs.find(str(tmp_path))


def test_there_is_no_space_for_a_while(tmp_path: Path) -> None:
    """For any object, and then there is."""
    times = iter([0.0, 0.0, 0.1, 9.0])
    fs = FaultyFileSystem({"full": 1.0}, now=lambda: next(times))
    with pytest.raises(OSError, match="space"):
        fs.pipe_file(str(tmp_path / "a"), DATA)
    fs._rates = {}
    with pytest.raises(OSError, match="space"):
        fs.pipe_file(str(tmp_path / "b"), DATA)
    fs.pipe_file(str(tmp_path / "b"), DATA)
    assert (tmp_path / "b").read_bytes() == DATA


def test_an_object_is_never_seen_torn(tmp_path: Path) -> None:
    """Not while it is written either: under its name there is all of it, or nothing."""
    big = b"x" * 1_000_000
    fs = FaultyFileSystem({"torn": 0.5, "after": 0.2}, seed=1)
    well, seen = FaultyFileSystem(), set[int]()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.update(one["size"] for one in well.find(str(tmp_path), detail=True).values())

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(50):
            with suppress(OSError):
                fs.pipe_file(str(tmp_path / f"{number}.sst"), big, mode="create")
    finally:
        over.set()
        reader.join()
    assert seen == {len(big)}


def test_the_same_seed_is_the_same_fate(tmp_path: Path) -> None:
    """For each object by itself, so in whatever order threads come."""

    def fates(names: list[str]) -> dict[str, bool]:
        fs = FaultyFileSystem({"before": 0.5}, seed=5)
        return {name: _works(fs, name) for name in names}

    names = [str(tmp_path / f"{number}.sst") for number in range(40)]
    assert fates(names) == fates(names[::-1])
    assert set(fates(names).values()) == {True, False}


def _works(fs: FaultyFileSystem, name: str) -> bool:
    try:
        fs.pipe_file(name, DATA)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", ["before", "after", "torn", "throttled", "slow"])
def test_trying_again_survives(kind: str, tmp_path: Path) -> None:
    """Each of the faults that may be over at the next try, on every tenth call."""
    there = storage(tmp_path / "snapshots", rates={kind: 0.1}, seed=3, log=str(tmp_path / "faults.log"))
    for number in range(20):
        there.put(NAME.replace("1", str(number)), DATA)
    (tmp_path / "local").write_bytes(DATA)
    there.put_file(tmp_path / "local", "flow/files/000008.sst")
    assert there.get_file("flow/files/000008.sst", tmp_path / "back") == hashlib.sha256(DATA).hexdigest()
    assert len(there.list("flow/steps")) == 20
    there.delete(there.list("flow/steps"))
    assert there.list("") == ["flow/files/000008.sst"]
    assert struck(tmp_path / "faults.log")[kind] > 2


def test_a_full_storage_is_an_error_at_once(tmp_path: Path) -> None:
    """Waiting does not make room; the operator has to."""
    with pytest.raises(StorageError, match="free some space"):
        storage(tmp_path / "snapshots", rates={"full": 1.0}).put(NAME, DATA)


def test_a_corrupt_file_is_known_by_its_digest(tmp_path: Path) -> None:
    """No try tells it from a sound one, so what is read has to be compared with what the manifest says."""
    well = open_storage(str(tmp_path / "snapshots"), {}, 2)
    well.put("flow/files/000008.sst", DATA)
    ill = storage(tmp_path / "snapshots", rates={"corrupt": 1.0})
    assert ill.get_file("flow/files/000008.sst", tmp_path / "back") != hashlib.sha256(DATA).hexdigest()


def test_a_fault_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the names of those that there are."""
    with pytest.raises(ValueError, match="before"):
        FaultyFileSystem({"sloth": 1.0})


def test_every_fault_can_strike() -> None:
    """There is a call for each kind."""
    assert {kind for kinds in STRIKES.values() for kind in kinds} == KINDS.keys()
