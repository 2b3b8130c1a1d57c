"""A folder as a storage: the contract, and what is special to a disk."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bytewax_state.errors import BytewaxStateError, StorageError
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.translation import TransientError
from bytewax_state.storage.uri import open_storage
from tests.contracts.storage_contract import MEBIBYTE, StorageContract, file_of
from tests.disks import linkless, mounted
from tests.links import without_links

pytestmark = pytest.mark.disk


class TestFolder(StorageContract):
    """`file://` and plain paths."""

    @pytest.fixture
    def storage(self, folder: Storage) -> Storage:
        return folder


FILL = """
import sys
from pathlib import Path
from bytewax_state.errors import StorageError
from bytewax_state.storage.translation import TransientError
from bytewax_state.storage.uri import open_storage

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


REFUSALS = ("EPERM", "EOPNOTSUPP", "ENOSYS", "EXDEV", "EMLINK")
"""What a file system may answer that has no hard links."""


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

    def test_a_folder_that_can_never_be_made_is_named(self) -> None:
        """Whatever the reason: this file system says that it does not exist."""
        with pytest.raises(StorageError, match="BYTEWAX_STATE_URI"):
            open_storage("/proc/snapshots", {}, 1).put("a/1", b"data")

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

    def test_a_link_that_leads_back_is_not_followed(self, folder: Storage, tmp_path: Path) -> None:
        """It would be followed for ever, or as often as the system lets it."""
        root = tmp_path / "snap shots"
        for name in ("a/1", "b/2"):
            folder.put(name, b"")
        (root / "a" / "up").symlink_to(root)
        (root / "a" / "over").symlink_to(root / "b")
        (root / "b" / "back").symlink_to(root / "a")
        assert folder.list("") == ["a/1", "a/over/2", "b/2", "b/back/1"]

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


@pytest.mark.parametrize("disk_or_refusal", ["disk", *REFUSALS])
def test_a_file_system_without_hard_links(disk_or_refusal: str, tmp_path: Path) -> None:
    """Is named at once, with what is needed and what to do, and nothing is left there."""
    disk = tmp_path / "disk"
    script = [sys.executable, "-c", FILL, str(disk), str(file_of(tmp_path, b"data"))]
    front = linkless(disk) if disk_or_refusal == "disk" else without_links(getattr(errno, disk_or_refusal))
    done = subprocess.run([*front, *script], check=False, capture_output=True, text=True)
    assert done.stderr == ""  # where it would say that it tries again
    *messages, listed = done.stdout.splitlines()
    said = f"{disk}.* without hard links.*set BYTEWAX_STATE_URI"
    assert [bool(re.search(said, message)) for message in messages] == [True, True]
    assert listed == "[] []"


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
