"""What goes wrong outside of the flow: each time a clear error, and nothing lost."""

import errno
import pickle
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main
from fsspec.implementations.local import LocalFileSystem

from bytewax_state import Settings, attach
from bytewax_state.errors import (
    BytewaxStateError,
    ConfigError,
    ConflictError,
    IncompatibleError,
    SnapshotCorruptError,
    SnapshotMissingError,
    StorageError,
    UsageError,
)
from bytewax_state.recovery.preflight import check, read
from tests.dataflow.flows import ITEMS, flow_of, per_key
from tests.dataflow.runs import causes
from tests.disks import mounted
from tests.faults import flipped
from tests.links import without_links

ZERO = timedelta(0)
Change = Callable[[Path], None]


class Job:
    """A flow that was killed after some epochs, and is to be resumed."""

    def __init__(self, folder: Path, backend: str = "heap", items: int = 300) -> None:
        self.folder = folder
        self.settings = Settings(
            backend=backend, uri=str(folder / "snapshots"), dir=folder / "work", cache_entries=10, memory="8MiB"
        )
        self.recovery = folder / "recovery"
        self.recovery.mkdir()
        init_db_dir(self.recovery, 1)
        self.out: list[Any] = []
        self.items: list[Any] = list(ITEMS)
        self.items.insert(items, TestingSource.ABORT())

    def run(self, **changes: Any) -> None:
        """Run to the next abort, or to the end."""
        settings = self.settings.model_copy(update=changes)
        flow = attach(flow_of("stateful", self.items, self.out), settings)
        run_main(flow, epoch_interval=ZERO, recovery_config=RecoveryConfig(str(self.recovery), ZERO))

    def fails(self, expected: type[BytewaxStateError], **changes: Any) -> str:
        """Run, see it fail, and return the message; what was there before must be as it was."""
        before = _contents(self.folder / "snapshots")
        out = list(self.out)
        message = self.raises(expected, **changes)
        after = _contents(self.folder / "snapshots")
        assert {name: after.get(name) for name in before} == before
        assert self.out == out[: len(self.out)]
        return message

    def raises(self, expected: type[BytewaxStateError], **changes: Any) -> str:
        """Run, see it end with an error, at once or after some epochs, and return the message."""
        with pytest.raises(Exception) as caught:  # noqa: PT011
            self.run(**changes)
        ours = next(one for one in causes(caught.value) if isinstance(one, BytewaxStateError))
        assert type(ours) is expected, ours
        return str(ours)

    def finishes(self) -> None:
        """Run to the end; the results are those of a run that nothing happened to."""
        self.run()
        plain: list[Any] = []
        run_main(flow_of("stateful", ITEMS, plain))
        assert per_key(self.out) == per_key(plain)

    def newest(self, pattern: str) -> Path:
        """Return the object of the newest version, or of the highest number."""
        return max((self.folder / "snapshots").rglob(pattern))

    def lose_disk(self) -> None:
        shutil.rmtree(self.folder / "work")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job that ran for 30 epochs."""
    job = Job(tmp_path)
    job.run()
    return job


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    """Is found at the first item, not at the end of the first epoch, and named."""
    (tmp_path / "file").write_text("")
    job = Job(tmp_path)
    msg = job.fails(StorageError, uri=str(tmp_path / "file" / "snapshots"))
    assert str(tmp_path / "file" / "snapshots") in msg
    job.run()
    job.finishes()


def test_a_local_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Names the setting."""
    (tmp_path / "file").write_text("")
    job = Job(tmp_path)
    assert "BYTEWAX_STATE_DIR" in job.fails(StorageError, dir=tmp_path / "file" / "work")


class QuotaFileSystem(LocalFileSystem):
    """A storage that is full after some bytes."""

    protocol = "quota"
    left = 0

    def _take(self, size: int) -> None:
        if size > type(self).left:
            raise OSError(28, "No space left on device")
        type(self).left -= size

    def put_file(self, lpath: str, rpath: str, *args: Any, **kwargs: Any) -> Any:
        self._take(Path(lpath).stat().st_size)
        self.makedirs(self._parent(rpath), exist_ok=True)
        return super().put_file(lpath, rpath, *args, **kwargs)

    def pipe_file(self, path: str, value: bytes, *args: Any, **kwargs: Any) -> Any:
        self._take(len(value))
        self.makedirs(self._parent(path), exist_ok=True)
        return super().pipe_file(path, value, *args, **kwargs)


@pytest.mark.parametrize("quota", [0, 1_000, 8_000, 30_000])
def test_a_storage_that_is_full(quota: int, tmp_path: Path) -> None:
    """Ends the run at the epoch that did not fit; with room again it goes on from the one before."""
    fsspec.register_implementation("quota", QuotaFileSystem, clobber=True)
    job = Job(tmp_path)
    job.settings = job.settings.model_copy(update={"uri": f"quota://{tmp_path}/snapshots"})
    QuotaFileSystem.left = quota
    assert "No space left" in job.raises(StorageError)
    QuotaFileSystem.left = 1 << 40
    job.run()
    job.finishes()


FAIL = """
import pickle, sys
from bytewax_state.errors import StorageError
from bytewax_state.store import rows

rows.SMALL = 0  # an image for each version

job = pickle.load(sys.stdin.buffer)
message = job.raises(StorageError)
sys.stdout.buffer.write(pickle.dumps((job, message)))
"""


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("size", ["16k", "64k", "128k", "256k"])
def test_a_local_disk_that_is_full(size: str, backend: str, tmp_path: Path) -> None:
    """Ends the run at whatever did not fit, a fetched file or a flush; with room it goes on from the epoch before."""
    job = Job(tmp_path, backend)
    job.run()
    job.items = list(ITEMS)  # an abort that is behind counts for one resume only
    job.lose_disk()
    command = [*mounted(tmp_path / "work", f"size={size}"), sys.executable, "-c", FAIL]
    done = subprocess.run(command, input=pickle.dumps(job), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    job, message = pickle.loads(done.stdout)
    assert "No space left" in message
    assert str(tmp_path / "work") in message
    job.finishes()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_local_disk_without_hard_links(number: int, resumed: bool, tmp_path: Path) -> None:
    """Is named before there is anything to freeze, also where RocksDB would copy all of the state at every epoch."""
    job = Job(tmp_path)
    if resumed:
        job.run()
        job.items = list(ITEMS)
    command = [*without_links(number), sys.executable, "-c", FAIL]
    done = subprocess.run(command, input=pickle.dumps(job), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    job, message = pickle.loads(done.stdout)
    assert f"{tmp_path}/work" in message
    assert "without hard links" in message
    assert "set BYTEWAX_STATE_DIR" in message
    job.items = list(ITEMS)
    job.finishes()


def test_a_manifest_that_was_cut_short(job: Job) -> None:
    """Is named."""
    path = job.newest("*.manifest")
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    assert path.name in job.fails(SnapshotCorruptError)
    path.write_bytes(data)
    job.finishes()


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.99])
def test_a_file_with_a_flipped_bit(where: float, job: Job) -> None:
    """Is found before any row of it is used."""
    job.lose_disk()
    path = max((job.folder / "snapshots").rglob("*.sst"))
    data = path.read_bytes()
    path.write_bytes(flipped(data, int(len(data) * where)))
    msg = job.fails(SnapshotCorruptError)
    assert path.name in msg
    assert "SHA-256" in msg
    path.write_bytes(data)
    job.finishes()


def test_a_damaged_local_image_is_fetched_again(job: Job) -> None:
    """The local disk is never the only copy."""
    for path in (job.folder / "work").rglob("frozen/*/*.sst"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(flipped(data))
    job.finishes()


def test_a_local_image_that_cannot_be_read_is_fetched_again(job: Job) -> None:
    """Local files may be lost at any time, in any way."""
    for path in (job.folder / "work").rglob("frozen/*/*.sst"):
        path.unlink()
        path.symlink_to(job.folder / "nowhere")
    job.finishes()


def test_a_missing_file(job: Job) -> None:
    """Is named, also if the local disk still has it: the next restore could not count on that."""
    path = max((job.folder / "snapshots").rglob("*.sst"))
    away = path.rename(job.folder / "away")
    message = job.fails(SnapshotMissingError)
    assert path.name in message
    copy = Path(re.search(r"such as (\S+)\)", message)[1])  # type: ignore[index]
    assert copy.read_bytes() == away.read_bytes()
    job.lose_disk()
    assert "such as" not in job.fails(SnapshotMissingError)
    away.rename(path)
    job.finishes()


def test_a_ref_whose_manifest_is_gone(job: Job) -> None:
    """Names the version, what is there, and what to do."""
    away = (job.folder / "snapshots").rename(job.folder / "away")
    msg = job.fails(SnapshotMissingError)
    assert "BYTEWAX_STATE_URI" in msg
    assert not (job.folder / "snapshots").exists()
    away.rename(job.folder / "snapshots")
    job.finishes()


def test_another_number_of_key_groups(job: Job) -> None:
    """Names both numbers."""
    msg = job.fails(IncompatibleError, key_groups=64)
    assert "128" in msg
    assert "64" in msg
    job.finishes()


def test_a_newer_manifest_format(job: Job) -> None:
    """Says that it is newer."""
    path = job.newest("*.manifest")
    data = path.read_bytes()
    path.write_bytes(data[:8] + struct.pack(">H", 99) + data[10:])
    assert "99" in job.fails(IncompatibleError)
    path.write_bytes(data)
    job.finishes()


def test_snapshots_that_are_switched_off(job: Job) -> None:
    """Never an empty state in place of the one that is there."""
    assert "BYTEWAX_STATE_URI" in job.fails(ConfigError, uri=None)
    job.finishes()


def test_a_row_of_plain_bytewax(tmp_path: Path) -> None:
    """Is no ref, and the step is named."""
    job = Job(tmp_path)
    run_main(
        flow_of("stateful", job.items, []),
        epoch_interval=ZERO,
        recovery_config=RecoveryConfig(str(job.recovery), ZERO),
    )
    assert "flow.s.stateful_batch" in job.fails(UsageError)
    with pytest.raises(UsageError, match=r"plain Bytewax"):
        check(read(job.recovery), "flow", ["flow.s.stateful_batch"])


def test_a_step_that_was_renamed(job: Job) -> None:
    """Both lists are named before the run begins."""
    with pytest.raises(UsageError, match=r"'flow\.s\.stateful_batch'.*'flow\.t\.stateful_batch'"):
        check(read(job.recovery), "flow", ["flow.t.stateful_batch"])
    check(read(job.recovery), "flow", ["flow.s.stateful_batch"])


def test_attach_warns_of_a_step_that_was_renamed(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the environment says where the recovery directory is; only `run` can refuse."""
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", str(job.recovery))
    attach(flow_of("stateful", [], []), job.settings)
    assert caplog.messages == []
    attach(flow_of("fold_final", [], []), job.settings)
    (message,) = caplog.messages
    assert "'flow.s.stateful_batch'" in message
    assert "'flow.s.stateful.stateful_batch'" in message


def test_the_recovery_directory_of_another_flow(job: Job) -> None:
    """Would be ignored by Bytewax, which then begins anew."""
    with pytest.raises(UsageError, match=r"'flow'.*'other'"):
        check(read(job.recovery), "other", ["other.s.stateful_batch"])


def test_a_recovery_directory_that_is_new_is_anybodys(tmp_path: Path) -> None:
    """There is nothing to lose."""
    init_db_dir(tmp_path, 3)
    check(read(tmp_path), "flow", ["flow.s"])


def test_a_second_run_on_the_same_folder(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    """Is refused, and the first goes on."""
    locks = list((job.folder / "work").rglob("*.lock"))
    assert len(locks) == 1
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); "
            "sys.stdin.read()",
            str(locks[0]),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    before = read(job.recovery)
    assert "BYTEWAX_STATE_DIR" in job.fails(ConflictError)
    # In a cluster Bytewax shows nothing but that a connection broke.
    assert any("ends the run: conflict" in message for message in caplog.messages)
    # Bytewax could not resume the other run any more, if it had noted this one.
    assert read(job.recovery) == before
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()
    job.finishes()


def test_a_failed_run_can_be_resumed_in_the_same_process(job: Job) -> None:
    """Even while somebody still holds the exception, and with it the stack."""
    uri = job.settings.uri
    with pytest.raises(Exception) as caught:  # noqa: PT011
        job.run(uri=f"{uri}-not")
    assert caught
    job.finishes()


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
