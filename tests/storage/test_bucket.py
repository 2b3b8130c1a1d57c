"""Drivers of fsspec as storages: the contract, how they fail, and what of their errors is shown."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bytewax_state.errors import ConfigError, ConflictError, StorageError
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from tests.contracts.storage_contract import StorageContract, file_of
from tests.faults import flipped


class TestMemory(StorageContract):
    """`memory://`."""

    @pytest.fixture
    def storage(self, memory: Storage) -> Storage:
        return memory


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


PASSWORD = {"password": "s3cret/word"}


@pytest.mark.parametrize("said", [str(PASSWORD), "GET /?password=s3cret%2Fword"])
def test_no_secret_is_shown_by_what_caused_an_error(said: str) -> None:
    """A driver's error may be harmless, and its cause not: a traceback shows both."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)
    failure = PermissionError("403 Forbidden")
    failure.__cause__ = RuntimeError(said)
    BrokenFileSystem.failure = failure
    with pytest.raises(StorageError, match="403") as caught:
        open_storage("broken://host/path", PASSWORD, 1).get("a/1")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_not_shown_as_the_driver_sees_it() -> None:
    """A password in a URL is percent-encoded."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)
    BrokenFileSystem.failure = PermissionError("user with the password p@ssword was refused")
    with pytest.raises(StorageError, match="refused") as caught:
        open_storage("broken://user:p%40ssword@host/path", {}, 1).get("a/1")
    assert "p@ss" not in str(caught.value)


def test_a_url_without_a_bucket_is_refused() -> None:
    """A driver would take the first part of each name for one."""
    fsspec.register_implementation("broken", BrokenFileSystem, clobber=True)
    with pytest.raises(ConfigError, match="the name of a bucket"):
        open_storage("broken:///", {}, 1)


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
