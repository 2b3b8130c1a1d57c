"""Storages: the contract for each, what is tried again, and what a URI means."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import tenacity
from fsspec.implementations.memory import MemoryFileSystem

from bytewax_state.errors import BytewaxStateError, ConfigError, ConflictError, StorageError
from bytewax_state.snapshot.storage import Retrying, Storage, TransientError, open_storage
from tests.contracts.storage_contract import MEBIBYTE, NAME, StorageContract, file_of
from tests.disks import mounted
from tests.faults import ALWAYS, Fault, FaultyStorage, QuotaStorage, flipped

VERBS = ("put", "put_file", "get", "get_file", "size", "list", "delete")
_numbers = count()


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "snap shots"), {}, 2)


@pytest.fixture
def memory() -> Iterator[Storage]:
    path = f"/test-{next(_numbers)}"
    yield open_storage(f"memory:/{path}", {}, 2)
    for name in MemoryFileSystem().find(path):
        MemoryFileSystem().rm_file(name)


def retrying(storage: Storage, attempts: int = 3) -> Retrying:
    """Try again at once."""
    return Retrying(storage, attempts, tenacity.wait_none(), lambda seconds: None)


class TestFolder(StorageContract):
    """`file://` and plain paths."""

    @pytest.fixture
    def storage(self, folder: Storage) -> Storage:
        return folder


class TestMemory(StorageContract):
    """`memory://`."""

    @pytest.fixture
    def storage(self, memory: Storage) -> Storage:
        return memory


class TestRetryingBefore(StorageContract):
    """A storage that refuses the first call of each verb."""

    @pytest.fixture
    def beneath(self, memory: Storage) -> Storage:
        return memory

    @pytest.fixture
    def storage(self, beneath: Storage) -> Storage:
        return retrying(FaultyStorage(beneath, [Fault(verb, "before", times=2) for verb in VERBS]))


class TestRetryingAfter(StorageContract):
    """A storage that loses the reply to the first call of each verb, on a folder."""

    @pytest.fixture
    def beneath(self, folder: Storage) -> Storage:
        return folder

    @pytest.fixture
    def storage(self, beneath: Storage) -> Storage:
        return retrying(FaultyStorage(beneath, [Fault(verb, "after", times=2) for verb in VERBS]))


def test_a_failure_that_stays_is_told_after_the_last_try(memory: Storage) -> None:
    """Not earlier, and not with an error of the library that tries again."""
    faulty = FaultyStorage(memory, [Fault("put", "before", times=ALWAYS)])
    with pytest.raises(StorageError, match="refused"):
        retrying(faulty, attempts=4).put(NAME, b"")
    assert faulty.calls == [("put", NAME)] * 4


@pytest.mark.parametrize("how", ["full", "before"])
def test_where_there_is_no_hope_it_is_told_at_once(how: str, memory: Storage) -> None:
    """A full storage is not less full a second later."""
    faulty = FaultyStorage(memory, [Fault("put", how, times=ALWAYS, transient=False)])
    with pytest.raises(StorageError):
        retrying(faulty).put(NAME, b"")
    assert faulty.calls == [("put", NAME)]


def test_a_missing_object_and_a_conflict_are_told_at_once(memory: Storage) -> None:
    """They are answers."""
    faulty = FaultyStorage(memory, [])
    memory.put(NAME, b"data")
    with pytest.raises(FileNotFoundError):
        retrying(faulty).get("flow/missing")
    with pytest.raises(ConflictError):
        retrying(faulty).put(NAME, b"other")
    assert faulty.calls == [("get", "flow/missing"), ("put", NAME)]


def test_the_waits_between_tries_grow(memory: Storage) -> None:
    """And are passed to the one who sleeps."""
    waits: list[float] = []
    faulty = FaultyStorage(memory, [Fault("list", "before", times=3)])
    Retrying(faulty, 5, tenacity.wait_exponential(), waits.append).list("flow")
    assert waits == [1, 2, 4]


def test_a_torn_object_is_never_taken_for_a_whole_one(folder: Storage, tmp_path: Path) -> None:
    """Where a storage lets half of an object be seen, the next try finds it, and says so."""
    with pytest.raises(ConflictError):
        retrying(FaultyStorage(folder, [Fault("put", "torn")])).put("a/1", b"data")
    with pytest.raises(ConflictError):
        retrying(FaultyStorage(folder, [Fault("put_file", "torn")])).put_file(file_of(tmp_path, b"data"), "a/2")


def test_faults_strike_when_the_plan_says(memory: Storage, tmp_path: Path) -> None:
    """The second read of that name, and no other."""
    for name in ("a/1", "b/1"):
        memory.put(name, b"data")
    plan = [Fault("get", "corrupt", name="b/", skip=1), Fault("get_file", "corrupt"), Fault("size", "slow")]
    done = threading.Event()
    faulty = FaultyStorage(memory, plan, done.set)
    assert [faulty.get(name) for name in ("b/1", "a/1", "b/1", "b/1")] == [b"data", b"data", flipped(b"data"), b"data"]
    faulty.get_file("a/1", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == flipped(b"data")
    assert faulty.size("a/1") == 4
    assert done.is_set()


def test_a_quota_counts_objects_and_files(memory: Storage, tmp_path: Path) -> None:
    """What does not fit leaves nothing."""
    storage = QuotaStorage(memory, 10)
    storage.put("a/1", b"123456")
    for put in (lambda: storage.put("a/2", b"12345"), lambda: storage.put_file(file_of(tmp_path, b"12345"), "a/3")):
        with pytest.raises(StorageError, match="No space left"):
            put()
    assert memory.list("") == ["a/1"]


FILL = """
import sys
from pathlib import Path
from bytewax_state.errors import StorageError
from bytewax_state.snapshot.storage import TransientError, open_storage

disk, file = Path(sys.argv[1]), Path(sys.argv[2])
storage = open_storage(str(disk), {}, 1)
for put in (lambda: storage.put("a/1", file.read_bytes()), lambda: storage.put_file(file, "a/2")):
    try:
        put()
    except StorageError as ex:
        assert not isinstance(ex, TransientError)
        print(ex)
print(storage.list(""), [path for path in disk.rglob("*") if path.is_file()])
"""


class TestTheDisk:
    """What is special to a folder."""

    def test_what_a_killed_process_left_is_no_object(self, folder: Storage, tmp_path: Path) -> None:
        """Neither listed nor in the way of the next one with the same process id."""
        folder.put("a/1", b"data")
        left = [tmp_path / "snap shots" / "a" / f".tmp-{os.getpid()}-{number}" for number in range(3)]
        for path in left:
            path.write_bytes(b"da")
        folder.put("a/2", b"data")
        assert folder.list("") == ["a/1", "a/2"]
        assert all(path.read_bytes() == b"da" for path in left)

    def test_a_folder_goes_with_its_last_object(self, folder: Storage, tmp_path: Path) -> None:
        """With what a killed process left in it; a storage of many short runs would be full of empty ones."""
        root = tmp_path / "snap shots"
        for name in ("a/b/1", "a/b/2", "a/c/1"):
            folder.put(name, b"data")
        left = root / "a" / "b" / ".tmp-1-0"
        left.write_bytes(b"da")
        os.utime(left, (0, time.time() - 3700))
        folder.delete(["a/b/1"])
        assert left.exists()
        folder.delete(["a/b/2"])
        assert [path.name for path in (root / "a").iterdir()] == ["c"]
        folder.delete(["a/c/1"])
        assert list(root.iterdir()) == []
        folder.put("a/b/1", b"data")
        assert folder.list("") == ["a/b/1"]

    def test_an_upload_that_is_under_way_stays(self, folder: Storage, tmp_path: Path) -> None:
        """Though all objects beside it go."""
        folder.put("a/b/1", b"data")
        left = tmp_path / "snap shots" / "a" / "b" / ".tmp-1-0"
        left.write_bytes(b"da")
        folder.delete(["a/b/1"])
        assert left.exists()

    def test_a_folder_that_can_never_be_made_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Whatever the reason: some file systems say that it does not exist."""

        def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
            raise FileNotFoundError(2, "No such file or directory", str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(StorageError, match="BYTEWAX_STATE_URI"):
            open_storage(str(tmp_path / "typo"), {}, 1).put("a/1", b"data")

    @pytest.mark.parametrize("linked", ["a", "a/b"])
    def test_what_is_behind_a_link_that_leads_out_is_not_deleted(
        self, linked: str, folder: Storage, tmp_path: Path
    ) -> None:
        """Who can write to the storage cannot have anything else deleted."""
        root, other = tmp_path / "snap shots", tmp_path / "other"
        (other / "b").mkdir(parents=True)
        for path in (other / "1", other / "b" / "1", other / ".tmp-1", other / "b" / ".tmp-1"):
            path.write_bytes(b"somebody's")
            os.utime(path, (0, 0))
        folder.put("a/c/1", b"")
        (root / linked).parent.mkdir(exist_ok=True)
        if (root / linked).is_dir():
            shutil.rmtree(root / linked)
        (root / linked).symlink_to(other)
        with pytest.raises(StorageError, match="behind a link"):
            folder.delete([f"{linked}/1"])
        with pytest.raises(StorageError, match="behind a link"):
            folder.delete([f"{linked}/b/1"])
        assert len([path for path in other.rglob("*") if path.is_file()]) == 4

    def test_folders_come_and_go_under_each_other(self, folder: Storage) -> None:
        """Whoever writes finds its folder, though others delete the last object beside it."""

        def churn(name: str) -> None:
            for _ in range(300):
                folder.put(name, b"data")
                assert folder.get(name) == b"data"
                folder.delete([name])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(churn, [f"a/b/{number}/c/1" for number in range(4)]))
        assert folder.list("") == []

    def test_nothing_but_objects_is_left(self, folder: Storage, tmp_path: Path) -> None:
        """After a success, a repetition, a conflict and a failure."""
        path = file_of(tmp_path, b"data")
        for put in (lambda: folder.put("a/1", b"data"), lambda: folder.put_file(path, "a/1")):
            put()
        for name, data in (("a/1", b"other"), ("a/1/below", b"data")):
            with pytest.raises(BytewaxStateError):
                folder.put(name, data)
        root = tmp_path / "snap shots"
        assert [one for one in root.rglob("*") if one.is_file()] == [root / "a" / "1"]

    def test_a_file_in_place_of_a_folder_is_named(self, tmp_path: Path) -> None:
        """As the storage's place, and above it."""
        path = file_of(tmp_path, b"")
        for uri in (path, path / "snapshots"):
            storage = open_storage(str(uri), {}, 1)
            with pytest.raises(StorageError, match=str(uri)) as caught:
                storage.put("a/1", b"")
            assert not isinstance(caught.value, TransientError)
            with pytest.raises(StorageError, match="BYTEWAX_STATE_URI"):
                storage.get("a/1")

    def test_a_part_that_was_moved_and_linked_is_listed(self, folder: Storage, tmp_path: Path) -> None:
        """A deletion would take what it needs for garbage."""
        folder.put("a/b/1", b"")
        (tmp_path / "snap shots" / "a" / "b").rename(tmp_path / "moved")
        (tmp_path / "snap shots" / "a" / "b").symlink_to(tmp_path / "moved")
        assert folder.list("") == folder.list("a") == folder.list("a/b") == ["a/b/1"]

    def test_objects_can_be_read_by_others(self, folder: Storage, tmp_path: Path) -> None:
        """As far as the umask lets them, though they begin as temporary files."""
        plain = file_of(tmp_path, b"")
        folder.put("a/1", b"")
        assert (tmp_path / "snap shots" / "a" / "1").stat().st_mode == plain.stat().st_mode

    def test_a_folder_that_cannot_be_read_is_not_empty(self, folder: Storage, tmp_path: Path) -> None:
        """What is not listed would be deleted, or missed."""
        folder.put("a/b/1", b"")
        below = tmp_path / "snap shots" / "a" / "b"
        below.chmod(0)
        if os.access(below, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(StorageError, match="let this user read"):
            folder.list("")
        below.chmod(0o700)

    @pytest.mark.parametrize(
        ("options", "said"),
        [("size=64k", "No space left on device.*; free some"), ("ro", "Read-only file system.*; let this user")],
    )
    def test_a_disk_that_is_full_or_read_only(self, options: str, said: str, tmp_path: Path) -> None:
        """Says what to do, at once, and leaves nothing of what did not fit."""
        disk = tmp_path / "disk"
        script = [sys.executable, "-c", FILL, str(disk), str(file_of(tmp_path, bytes(MEBIBYTE)))]
        command = [*mounted(disk, options), *script]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.stderr == ""
        *messages, listed = done.stdout.splitlines()
        assert [bool(re.search(f"{disk}.*{said}", message)) for message in messages] == [True, True]
        assert listed == "[] []"


class BrokenFileSystem(fsspec.AbstractFileSystem):
    """A driver whose every call fails with what it is told."""

    protocol = "broken"
    failure: Exception = OSError()

    def info(self, path: str, **kwargs: object) -> object:
        raise type(self).failure

    cat_file = find = rm_file = info


class StatusError(Exception):
    """As drivers raise it: with the status of an HTTP reply."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


@pytest.fixture
def broken() -> Callable[[Exception], tuple[Storage, list[float]]]:
    """Make a storage that fails, and the list of its waits."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)

    def fail(failure: Exception) -> tuple[Storage, list[float]]:
        BrokenFileSystem.failure = failure
        waits: list[float] = []
        return open_storage("broken://user:pass@word@host/path?sig=abc", {"api_key": "s3cret"}, 1, waits.append), waits

    return fail


@pytest.mark.parametrize(
    "failure",
    [OSError("reset"), ConnectionResetError(), TimeoutError(), OSError(5, "Input/output error"), StatusError(503)],
)
def test_what_may_pass_is_tried_again(failure: Exception, broken: Callable[..., tuple[Storage, list[float]]]) -> None:
    """For about half a minute, with every verb."""
    storage, waits = broken(failure)
    with pytest.raises(StorageError, match="storage is back"):
        storage.get("a/1")
    assert 20 < sum(waits) < 60
    for call in (lambda: storage.size("a/1"), lambda: storage.list("a"), lambda: storage.delete(["a/1"])):
        with pytest.raises(StorageError):
            call()


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied"),
        PermissionError("Forbidden"),
        OSError(30, "Read-only file system"),
        StatusError(401),
        TypeError("no such argument"),
    ],
)
def test_what_stays_is_not_tried_again(failure: Exception, broken: Callable[..., tuple[Storage, list[float]]]) -> None:
    """It would only take longer."""
    storage, waits = broken(failure)
    with pytest.raises(StorageError, match="cannot write"):
        storage.put("a/1", b"")
    assert waits == []


def test_no_secret_is_shown(broken: Callable[..., tuple[Storage, list[float]]]) -> None:
    """Neither of the URI nor of the options, nor what the driver says of them, nor in the stack."""
    storage, _ = broken(PermissionError("user:pass@word@host?sig=abc with s3cret"))
    with pytest.raises(StorageError) as caught:
        storage.get("a/1")
    assert "host" in str(caught.value)
    for text in (storage.url, str(caught.value)):
        assert not [secret for secret in ("pass", "word@", "abc", "s3cret") if secret in text]
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "options",
    [
        {"client_kwargs": {"aws_secret_access_key": "s3cret"}},
        {"client_kwargs": {"endpoint_url": "https://minio:s3cret@host:9000"}},
        {"endpoint_url": "https://minio:s3cret@host:9000"},
        {"headers": {"Authorization": "Bearer s3cret"}},
        {"auth": ["user", "s3cret"]},
        {"passwd": "s3cret"},
        {"sas_token": "s3cret"},
    ],
)
def test_no_secret_is_shown_however_deep_it_lies(options: dict[str, Any]) -> None:
    """Where a driver tells its options."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)
    BrokenFileSystem.failure = PermissionError(f"could not connect to the host with {options}")
    with pytest.raises(StorageError, match="host") as caught:
        open_storage("broken://host/path", options, 1).get("a/1")
    assert "s3cret" not in str(caught.value)


def test_a_secret_is_not_shown_as_the_driver_sees_it() -> None:
    """A password in a URL is percent-encoded."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)
    BrokenFileSystem.failure = PermissionError("user with the password p@ssword was refused")
    with pytest.raises(StorageError, match="refused") as caught:
        open_storage("broken://user:p%40ssword@host/path", {}, 1).get("a/1")
    assert "p@ss" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "simplecache::s3://key:hidden@bucket/path",
        "memory://x::ftp://user:hidden@host/path",
        "no_such://user:hid@den@host/path?token=hidden",
        "nosuch://user:hidden@host/path?token=hidden",
    ],
)
def test_a_uri_that_is_refused_shows_no_secret(uri: str) -> None:
    """However wrong it is."""
    with pytest.raises(ConfigError) as caught:
        open_storage(uri, {}, 1)
    assert "hid" not in str(caught.value)


class ShortFileSystem(MemoryFileSystem):
    """A driver that loses the end of a file and says nothing."""

    protocol = "short"

    def put_file(self, lpath: str, rpath: str, **kwargs: object) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes()[:-1])


def test_a_file_that_arrived_short_is_noticed(tmp_path: Path) -> None:
    """Before a manifest names it."""
    fsspec.register_implementation("short", ShortFileSystem, clobber=True)
    with pytest.raises(StorageError, match="has 3 bytes after an upload of 4"):
        open_storage(f"short://{tmp_path}", {}, 1).put_file(file_of(tmp_path, b"data"), "a/1")


class NoisyFileSystem(MemoryFileSystem):
    """A driver whose reads go wrong now and then, and whose first reply is lost."""

    protocol = "noisy"
    damage: ClassVar[list[Callable[[bytes], bytes]]] = []

    def pipe_file(self, path: str, value: bytes, mode: str = "create", **kwargs: Any) -> None:
        super().pipe_file(path, value, mode=mode)
        raise ConnectionResetError

    def put_file(self, lpath: str, rpath: str, mode: str = "create", **kwargs: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes(), mode)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        data: bytes = super().cat_file(path, start, end)
        return self.damage.pop()(data) if self.damage else data


@pytest.mark.parametrize("damage", [flipped, lambda data: data[:-1], lambda data: b""])
def test_what_comes_back_damaged_is_no_conflict(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """When a reply was lost, and the object is compared with what was to be written."""
    fsspec.register_implementation("noisy", NoisyFileSystem, clobber=True)
    storage = open_storage(f"noisy://{tmp_path}", {}, 1, lambda seconds: None)
    NoisyFileSystem.damage = [damage]
    storage.put("a/1", b"data")
    NoisyFileSystem.damage = [damage]
    storage.put_file(file_of(tmp_path, b"data"), "a/2")
    NoisyFileSystem.damage = [lambda data: b""]
    with pytest.raises(ConflictError):
        storage.put_file(file_of(tmp_path, b"DATA"), "a/2")


def test_many_threads_may_use_one_storage(folder: Storage, tmp_path: Path) -> None:
    """Uploads run in parallel, into one folder that none has made yet."""
    path = file_of(tmp_path, b"data")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: folder.put_file(path, f"a/b/files/{number:03}"), range(64)))
    assert len(folder.list("a/b")) == 64


@pytest.mark.parametrize(
    "uri", ["snapshots", "./snapshots", "file://snapshots", "{}/snapshots/", "file://{}/snapshots"]
)
def test_where_a_folder_is(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the working directory at the start, whatever it becomes."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage(uri.format(tmp_path), {}, 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    storage.put("a/1", b"")
    assert (tmp_path / "snapshots" / "a" / "1").exists()
    assert storage.url == f"file://{tmp_path}/snapshots"


def test_nothing_is_made_by_opening(tmp_path: Path) -> None:
    """The folder comes with the first object."""
    storage = open_storage(str(tmp_path / "snapshots"), {}, 1)
    assert storage.list("") == []
    assert not (tmp_path / "snapshots").exists()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nosuch://bucket", "'nosuch' is not known"),
        ("gs:/bucket", "expected a folder, or one URL such as"),
        ("no_such://bucket", "expected a folder, or one URL such as"),
        ("simplecache::memory://x", "expected a folder, or one URL such as"),
        ("memory://x::memory://y", "expected a folder, or one URL such as"),
        ("broken:///", "the name of a bucket"),
    ],
)
def test_a_uri_that_means_nothing_is_refused(uri: str, said: str) -> None:
    """At the start, and never taken for a folder of that name."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)
    with pytest.raises(ConfigError, match=said):
        open_storage(uri, {}, 1)


@pytest.mark.parametrize(("uri", "extra"), [("gs://b/p", "gcs"), ("s3://b/p", "s3"), ("abfs://c@a/p", "azure")])
def test_a_driver_that_is_not_installed_is_named(uri: str, extra: str) -> None:
    """With the command that installs it."""
    try:
        fsspec.get_filesystem_class(uri.partition(":")[0])
    except ImportError:
        with pytest.raises(ConfigError, match=rf"pip install 'bytewax-state\[{extra}\]'"):
            open_storage(uri, {}, 1)
    else:
        pytest.skip("it is installed here")
