"""Storages: the contract for each, what is tried again, and what a URI means."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest
import tenacity

from bytewax_state.errors import ConfigError, ConflictError, StorageError
from bytewax_state.storage.retrying import Retrying
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from tests.contracts.storage_contract import NAME, StorageContract, file_of
from tests.faults import ALWAYS, Fault, FaultyStorage, QuotaStorage, flipped

ROOT = Path(__file__).parents[2]
VERBS = ("put", "put_file", "get", "get_file", "size", "folders", "list", "delete")


def retrying(storage: Storage, attempts: int = 3) -> Retrying:
    """Try again at once."""
    return Retrying(storage, attempts, tenacity.wait_none(), lambda seconds: None)


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


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nosuch://bucket", "'nosuch' is not known"),
        ("gs:/bucket", "expected a folder, or one URL such as"),
        ("no_such://bucket", "expected a folder, or one URL such as"),
        ("simplecache::memory://x", "expected a folder, or one URL such as"),
        ("memory://x::memory://y", "expected a folder, or one URL such as"),
    ],
)
def test_a_uri_that_means_nothing_is_refused(uri: str, said: str) -> None:
    """At the start, and never taken for a folder of that name."""
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


GCSFS = """
import os
from fsspec.implementations.memory import MemoryFileSystem
from gcsfs.core import GCSFileSystem

if os.getenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "true").lower() in ("true", "1"):

    class GCSFileSystem(GCSFileSystem):
        def __init__(self, *args, **kwargs):
            print("probes")
"""

CORE = """
from fsspec.implementations.memory import MemoryFileSystem

class GCSFileSystem(MemoryFileSystem):
    protocol = ("gs", "gcs")
"""

PROBES = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"


@pytest.mark.parametrize("before", ["", "import gcsfs", "check_uri(uri, {})"], ids=["first", "imported", "checked"])
@pytest.mark.parametrize(("given", "found"), [(None, ""), ("false", ""), ("true", "probes\n")])
def test_gcsfs_does_not_probe_unless_it_is_told_to(given: str | None, found: str, before: str, tmp_path: Path) -> None:
    """It would hang for minutes; a stand-in reads the variable as gcsfs does: once, when it is imported."""
    (tmp_path / "gcsfs").mkdir()
    (tmp_path / "gcsfs" / "__init__.py").write_text(GCSFS)
    (tmp_path / "gcsfs" / "core.py").write_text(CORE)
    lines = (
        "from bytewax_state.storage.uri import check_uri, open_storage",
        "uri = 'gs://bucket/path'",
        before,
        "open_storage(uri, {}, 1)",
    )
    env = {name: value for name, value in os.environ.items() if name != PROBES}
    env |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"} | ({} if given is None else {PROBES: given})
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (found, "")


def test_the_drivers_in_the_extras_have_floors() -> None:
    """Without one, an old version is installed where another package wants old ones of what it needs."""
    text = (ROOT / "pyproject.toml").read_text()
    extras = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    drivers = re.findall(r'^(?:gcs|s3|azure) = \["(.+)"\]$', extras, re.MULTILINE)
    assert [driver.partition(">=")[2].count(".") for driver in drivers] == [1, 1, 1]
