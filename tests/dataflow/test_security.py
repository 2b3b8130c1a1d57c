"""Signing keys over the life of a job: brought in, changed, forgotten, never shown; and the warning without one."""

import logging
import re
import traceback
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main
from bytewax.visualize import to_json
from typer.testing import CliRunner

from bytewax_state import Settings, attach
from bytewax_state.cli import app
from bytewax_state.dataflow import attach as attaching
from bytewax_state.errors import BytewaxStateError, SnapshotCorruptError
from bytewax_state.settings import keys_of
from bytewax_state.snapshot import retention
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.storage.uri import open_storage, shared_url
from tests.dataflow.flows import ITEMS, flow_of, per_key
from tests.dataflow.runs import causes

OLD, NEW, NEWER = "old-key-of-the-job", "new-key-of-the-job", "newer-key-of-the-job"
ZERO = timedelta(0)


class Job:
    """A flow that runs a part of its items at a time, with whatever key, and goes on from there the next time."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.given: dict[str, Any] = {
            "uri": str(folder / "snapshots"),
            "dir": folder / "work",
            "key_groups": 8,
            "memory": "8MiB",
            "cache_entries": 5,
            **settings,
        }
        self.recovery = folder / "recovery"
        self.recovery.mkdir()
        init_db_dir(self.recovery, 1)
        self.out: list[Any] = []
        self.done = 0

    def run(self, key: str | None, items: int = 60, kill: bool = False, **settings: Any) -> None:
        """Run for some more items, in epochs of a batch; then the input ends, or the run is killed."""
        self.done += items
        some: list[Any] = ITEMS[: self.done]
        flow = flow_of("stateful_map", [*some, TestingSource.ABORT(), *ITEMS[self.done :]] if kill else some, self.out)
        chosen = Settings(**self.given | settings, signing_key=key)
        run_main(
            attach(flow, chosen),
            epoch_interval=ZERO,
            recovery_config=RecoveryConfig(str(self.recovery), ZERO),
        )

    def refuses(self, key: str | None, **settings: Any) -> str:
        """Run, see it refused, and return the message; nothing is lost by it."""
        done, out = self.done, list(self.out)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            self.run(key, **settings)
        (ours,) = {one for one in causes(caught.value) if isinstance(one, BytewaxStateError)}
        assert type(ours) is SnapshotCorruptError
        self.done = done
        assert self.out == out
        return str(ours)

    def is_right(self) -> bool:
        """Compare with plain Bytewax."""
        plain: list[Any] = []
        run_main(flow_of("stateful_map", ITEMS[: self.done], plain))
        return per_key(self.out) == per_key(plain)

    def command(self, key: str, name: str, *options: str) -> tuple[int, str]:
        """Run a command with a key, and return its exit code and what it said."""
        args = [name, "--uri", self.given["uri"], "--recovery", str(self.recovery), *options]
        done = CliRunner().invoke(app, args, env={"BYTEWAX_STATE_SIGNING_KEY": key})
        return done.exit_code, done.output

    def unreadable(self, key: str | None) -> list[str]:
        """Name the manifests that cannot be read with a key."""
        settings = Settings(**self.given, signing_key=key)
        catalog = Catalog(open_storage(self.given["uri"], {}, 2), keys_of(settings))
        return [name for step in catalog.steps() for name in catalog.step(step).unreadable]


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_a_job_with_a_key_is_killed_and_resumes(backend: str, tmp_path: Path) -> None:
    """With and without the local disk."""
    job = Job(tmp_path, backend=backend)
    job.run(NEW, kill=True)
    job.run(NEW, items=0)
    (tmp_path / "work").rename(tmp_path / "lost")
    job.run(NEW)
    assert job.is_right()
    assert job.unreadable(NEW) == []
    assert job.unreadable(None)


def test_a_key_is_brought_in_and_changed(tmp_path: Path) -> None:
    """Each in two runs; the state goes on through all of them."""
    job = Job(tmp_path)
    job.run(None, kill=True)
    job.run(f"{NEW},none", items=0)
    job.run(NEW)
    job.run(f"{NEWER},{NEW}")
    job.run(NEWER)
    assert job.is_right()


@pytest.mark.parametrize(
    ("before", "after", "between", "said"),
    [
        (None, NEW, f"{NEW},none", "is not signed.*KEY,none"),
        (NEW, NEWER, f"{NEWER},{NEW}", "another key.*NEW,OLD"),
        (f"{NEWER},{NEW}", NEW, f"{NEW},{NEWER}", "another key.*NEW,OLD"),
        (NEW, None, NEW, "is signed.*set BYTEWAX_STATE_SIGNING_KEY"),
    ],
    ids=["brought in", "changed", "changed back", "forgotten"],
)
def test_a_step_left_out_is_refused(
    before: str | None, after: str | None, between: str, said: str, tmp_path: Path
) -> None:
    """The message says what to set, and with that it goes on."""
    job = Job(tmp_path)
    job.run(before)
    assert re.search(said, job.refuses(after))
    job.run(between)
    assert job.is_right()


def test_once_all_is_signed_anew_nothing_needs_the_old_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention deletes what the old key signed; from then on it is not needed for anything."""
    monkeypatch.setattr(retention, "GRACE", ZERO)
    job = Job(tmp_path, retain_for="0s", retain_snapshots=1)
    job.run(OLD)
    job.run(f"{NEW},{OLD}")
    assert job.unreadable(NEW) == []
    job.run(NEW)
    assert job.is_right()


@pytest.mark.parametrize("before", [None, OLD])
def test_what_is_signed_otherwise_is_found_and_deleted_by_hand(before: str | None, tmp_path: Path) -> None:
    """As the documentation has it, for those who do not wait for retention."""
    job = Job(tmp_path)
    job.run(before)
    between = f"{NEW},{before or 'none'}"
    job.run(between)
    code, said = job.command(NEW, "verify")
    assert (code, "manifests_can_be_read" in said) == (1, True)
    assert job.command(between, "verify", "--min-age", "0s")[0] == 0
    assert job.command(NEW, "gc")[0] == 1
    assert job.command(between, "gc", "--min-age", "0s", "--grace", "0s", "--delete")[0] == 0
    assert job.command(NEW, "verify", "--min-age", "0s")[0] == 0
    job.run(NEW)
    assert job.is_right()


def test_an_old_key_that_is_dropped_too_early_stops_deletion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on, and says what it cannot read; with the old key it is deleted after all."""
    monkeypatch.setattr(retention, "GRACE", ZERO)
    job = Job(tmp_path, retain_snapshots=1)
    job.run(OLD)
    job.run(f"{NEW},{OLD}")
    assert job.unreadable(NEW)
    before = set((tmp_path / "snapshots").rglob("*.*"))
    job.run(NEW, retain_for="0s")
    assert before <= set((tmp_path / "snapshots").rglob("*.*"))
    assert any("NEW,OLD" in message and "stay" in message for message in caplog.messages)
    job.run(f"{NEW},{OLD}", retain_for="0s")
    assert job.unreadable(NEW) == []
    assert job.is_right()


def test_keys_are_nowhere_to_be_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in a log, not in an error, not in anything that is written, nor in what Bytewax shows of the flow."""
    caplog.set_level(logging.DEBUG)
    job = Job(tmp_path, backend="rocksdb", retain_for="0s")
    job.run(f"{NEW},{OLD}", kill=True)
    job.run(NEW, items=0)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        job.run(NEWER)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=False)
    said = [*shown.format(), *map(str, causes(caught.value)), caplog.text, *capfd.readouterr()]
    flow = attach(flow_of("stateful_map", [], []), Settings(**job.given, signing_key=NEWER))
    said += [to_json(flow), repr(flow)]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    for key in (NEW, OLD, NEWER):
        for form in (key, key.encode().hex(), b64encode(key.encode()).decode()[:-4]):
            assert not [text for text in said if form in text]
            assert not [data for data in written if form.encode() in data]
            assert not [path for path in tmp_path.rglob("*") if form in path.name]


SHARED = "ftp://user:secret@bucket/snapshots?token=secret"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Captures the log of a process that has not warned yet."""
    monkeypatch.setattr(attaching, "_warned", set())
    return caplog


@pytest.mark.parametrize("codec", ["msgpack", "pickle"])
def test_a_shared_storage_without_a_key_is_warned_of_once(codec: str, log: pytest.LogCaptureFixture) -> None:
    """Either codec may pickle, and whoever can write there could run code; the setting is named, and no secret."""
    for _ in range(2):
        attach(flow_of("count_final", [], []), Settings(uri=SHARED, codec=codec))
    (message,) = log.messages
    assert "ftp://***bucket/snapshots***" in message
    assert "Set BYTEWAX_STATE_SIGNING_KEY" in message
    assert "secret@" not in message
    attach(flow_of("count_final", [], []), Settings(uri="ftp://other/snapshots", codec=codec))
    assert len(log.messages) == 2


@pytest.mark.parametrize("uri", [None, "snapshots", "/data/snapshots", "file:///data/snapshots", "memory://snapshots"])
def test_a_storage_of_ones_own_is_not_warned_of(uri: str | None, log: pytest.LogCaptureFixture) -> None:
    """A folder of this machine is as safe as the flow's code."""
    attach(flow_of("count_final", [], []), Settings(uri=uri))
    assert log.messages == []


def test_a_flow_without_state_is_not_warned_of(log: pytest.LogCaptureFixture) -> None:
    """Nothing is read for it."""
    attach(Dataflow("flow"), Settings(uri=SHARED))
    (message,) = log.messages
    assert "found no stateful step" in message


@pytest.mark.parametrize("key", [NEW, f"{NEW},{OLD}"])
def test_with_a_key_there_is_nothing_to_warn_of(key: str, log: pytest.LogCaptureFixture) -> None:
    """Not even with one that is being changed."""
    attach(flow_of("count_final", [], []), Settings(uri=SHARED, signing_key=key))
    assert log.messages == []


def test_a_key_that_accepts_all_is_warned_of(log: pytest.LogCaptureFixture) -> None:
    """It protects nothing until `none` is taken out, which is easily forgotten."""
    attach(flow_of("count_final", [], []), Settings(uri=SHARED, signing_key=f"{NEW},none"))
    (message,) = log.messages
    assert "Take `none` out" in message


def test_the_settings_of_a_single_step_count(log: pytest.LogCaptureFixture) -> None:
    """It may have a storage of its own."""
    attach(flow_of("count_final", [], []), Settings(uri=None), steps={"flow.s": Settings(uri=SHARED)})
    assert len(log.messages) == 1


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("GS://bucket/a", "GS://bucket/a"),
        ("abfs://container@account/a", "abfs://container@account/a"),
        ("sftp://user:hidden@host/a", "sftp://***host/a"),
        ("folder", None),
        ("FILE:///folder", None),
        ("memory://a", None),
    ],
)
def test_what_is_shared_is_told_by_the_uri(uri: str, shown: str | None) -> None:
    """Nothing is opened, and no driver imported, to tell."""
    assert shared_url(uri, {}) == shown
