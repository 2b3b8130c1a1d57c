"""What every storage does, wherever it keeps objects: one suite, run by each storage's class of tests."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bytewax_state.errors import ConflictError, StorageError
from bytewax_state.storage.storage import Storage

NAME = "flow/steps/flow.sum/store/000000000001.manifest"
MEBIBYTE = 1 << 20


def file_of(folder: Path, data: bytes, name: str = "local.sst") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


class StorageContract:
    """Subclasses give the fixtures `storage`, empty, and `beneath`, which reads and writes the same objects."""

    @pytest.fixture
    def beneath(self, storage: Storage) -> Storage:
        return storage

    def test_what_was_put_is_read(self, storage: Storage, beneath: Storage) -> None:
        """Byte for byte, whatever the bytes."""
        data = bytes(range(256)) * 5 + b"\r\n\x00"
        storage.put(NAME, data)
        assert beneath.get(NAME) == data

    def test_an_object_is_read(self, storage: Storage, beneath: Storage) -> None:
        """Also one that another process made."""
        beneath.put(NAME, b"data")
        assert storage.get(NAME) == b"data"

    @pytest.mark.parametrize("size", [0, 1, 8 * MEBIBYTE, 17 * MEBIBYTE + 3])
    def test_a_file_goes_there_and_comes_back(
        self, size: int, storage: Storage, beneath: Storage, tmp_path: Path
    ) -> None:
        """With the digest of what came."""
        data = (b"0123456789abcde" * (size // 15 + 1))[:size]
        storage.put_file(file_of(tmp_path, data), "flow/files/000008.sst")
        assert beneath.get("flow/files/000008.sst") == data
        assert storage.get_file("flow/files/000008.sst", tmp_path / "back") == hashlib.sha256(data).hexdigest()
        assert (tmp_path / "back").read_bytes() == data

    def test_an_object_does_not_follow_the_file_it_was_made_of(self, storage: Storage, tmp_path: Path) -> None:
        """It is a copy: the file may change, or go."""
        path = file_of(tmp_path, b"first")
        storage.put_file(path, NAME)
        with path.open("r+b") as file:
            file.write(b"later")
        assert storage.get(NAME) == b"first"

    def test_a_fetched_file_is_a_new_one(self, storage: Storage, tmp_path: Path) -> None:
        """What lay there may be linked elsewhere, and must not change."""
        old = file_of(tmp_path, b"frozen")
        (tmp_path / "link").hardlink_to(old)
        storage.put(NAME, b"fetched")
        storage.get_file(NAME, tmp_path / "link")
        assert ((tmp_path / "link").read_bytes(), old.read_bytes()) == (b"fetched", b"frozen")

    def test_the_same_again_is_fine(self, storage: Storage, tmp_path: Path) -> None:
        """The reply to the first may have been lost."""
        storage.put(NAME, b"data")
        storage.put(NAME, b"data")
        storage.put_file(file_of(tmp_path, b"data"), NAME)
        assert storage.get(NAME) == b"data"

    @pytest.mark.parametrize("data", [b"", b"DATA", b"data and more"])
    def test_other_bytes_under_a_name_are_refused(self, data: bytes, storage: Storage) -> None:
        """Nothing that is published is ever changed."""
        storage.put(NAME, b"data")
        with pytest.raises(ConflictError, match=NAME):
            storage.put(NAME, data)
        assert storage.get(NAME) == b"data"

    @pytest.mark.parametrize("data", [b"", b"DATA", b"data and more"])
    def test_another_file_under_a_name_is_refused(self, data: bytes, storage: Storage, tmp_path: Path) -> None:
        """Whether its size differs or not."""
        storage.put(NAME, b"data")
        with pytest.raises(ConflictError, match=NAME):
            storage.put_file(file_of(tmp_path, data), NAME)
        assert storage.get(NAME) == b"data"

    def test_one_of_many_wins(self, storage: Storage) -> None:
        """And all others hear of it, however close they were."""

        def claim(number: int) -> int | None:
            try:
                storage.put(NAME, b"%d" % number)
            except ConflictError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(claim, range(32)) if number is not None]
        assert [b"%d" % number for number in winners] == [storage.get(NAME)]

    def test_what_is_not_there_is_missing(self, storage: Storage, tmp_path: Path) -> None:
        """A missing object is an answer, not a failure; no file is left behind."""
        storage.put("flow/other", b"")
        with pytest.raises(FileNotFoundError):
            storage.get(NAME)
        with pytest.raises(FileNotFoundError):
            storage.get_file(NAME, tmp_path / "back")
        assert storage.size(NAME) is None
        assert not (tmp_path / "back").exists()

    def test_a_local_folder_that_is_missing_is_no_missing_object(self, storage: Storage, tmp_path: Path) -> None:
        """Or a restore would take the snapshot for gone."""
        storage.put(NAME, b"data")
        with pytest.raises(StorageError, match="nowhere"):
            storage.get_file(NAME, tmp_path / "nowhere" / "back")
        with pytest.raises(StorageError, match="nowhere"):
            storage.put_file(tmp_path / "nowhere" / "local.sst", "flow/new")

    def test_sizes_are_told(self, storage: Storage) -> None:
        """In bytes; a folder is no object."""
        storage.put(NAME, b"12345")
        storage.put("flow/empty", b"")
        assert (storage.size(NAME), storage.size("flow/empty"), storage.size("flow/steps")) == (5, 0, None)

    def test_all_below_a_folder_is_listed(self, storage: Storage) -> None:
        """And nothing beside it, such as what only begins the same."""
        for name in ("a/b/1", "a/b/c/2", "a/bc/3", "a/b.4", "d/5"):
            storage.put(name, b"")
        assert storage.list("a/b") == ["a/b/1", "a/b/c/2"]
        assert storage.list("a") == ["a/b.4", "a/b/1", "a/b/c/2", "a/bc/3"]
        assert storage.list("") == ["a/b.4", "a/b/1", "a/b/c/2", "a/bc/3", "d/5"]

    def test_what_is_directly_in_a_folder_can_be_told_alone(self, storage: Storage) -> None:
        """However much lies below it; what no layout makes is somebody else's."""
        for name in ("a/b/1", "a/b/c/2", "a/bc/3", "a/b.4", "d/5", "6"):
            storage.put(name, b"")
        assert (storage.folders(""), storage.folders("a"), storage.folders("a/b")) == (["a", "d"], ["b", "bc"], ["c"])
        assert storage.folders("a/b/c") == storage.folders("a/b.4") == storage.folders("b") == []

    def test_what_was_listed_can_be_read(self, storage: Storage) -> None:
        """Names with percent signs, dots and equals signs too."""
        for name in ("fl%20ow/%2E/x", "=/steps/flow.sum=0f/y"):
            storage.put(name, name.encode())
        assert [storage.get(name).decode() for name in storage.list("")] == storage.list("")

    def test_a_list_of_nothing_is_empty(self, storage: Storage) -> None:
        """Before the first object, and beside others."""
        assert storage.list("") == []
        storage.put("a/1", b"")
        assert storage.list("b") == []

    def test_a_list_shows_what_others_do(self, storage: Storage, beneath: Storage) -> None:
        """At once: nothing is remembered."""
        storage.put("a/1", b"1")
        assert storage.list("a") == ["a/1"]
        beneath.put("a/2", b"22")
        assert (storage.list("a"), storage.size("a/2")) == (["a/1", "a/2"], 2)
        beneath.delete(["a/1"])
        assert (storage.list("a"), storage.size("a/1")) == (["a/2"], None)

    def test_what_was_deleted_is_gone(self, storage: Storage, beneath: Storage) -> None:
        """And what was not stays; a missing one is fine."""
        for name in ("a/1", "a/2", "a/3"):
            storage.put(name, b"")
        storage.delete(iter(["a/1", "a/missing", "b/missing", "a/3"]))
        assert beneath.list("") == ["a/2"]
        storage.delete([])

    @pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a//b", "a/./b", "a/", ".a/b", "a/b+c"])
    def test_no_name_leads_out_of_the_storage(self, name: str, storage: Storage) -> None:
        """Names come from manifests too, and those from outside."""
        with pytest.raises(StorageError):
            storage.put(name, b"")
        with pytest.raises(StorageError):
            storage.get(name)

    def test_the_url_has_no_slash_at_its_end(self, storage: Storage) -> None:
        """Messages put a name behind it."""
        assert "://" in storage.url
        assert not storage.url.endswith("/")
