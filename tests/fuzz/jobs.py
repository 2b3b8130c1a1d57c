"""Small jobs, run by Bytewax, whose snapshots the fuzzer damages, and what their state has to be.

A job runs three times, on two and on three workers, so the refs of its last epoch lead to three stores, with files that
are inherited from those before. What the state was at an epoch is not read from the snapshots: it is counted from the
items that the source had handed out by then.
"""

import pickle
import random
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main

from bytewax_state import Settings, attach
from bytewax_state.keygroups import group_of, names
from bytewax_state.recovery.partitions import read_refs
from bytewax_state.settings import keys_of
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import StepId, parse_manifest_name
from bytewax_state.snapshot.manifest import name_of
from bytewax_state.snapshot.ref import decode_ref
from bytewax_state.snapshot.sources import find
from bytewax_state.storage.uri import open_storage

FLOW = "flow"
STEP = "flow.tally"
ID = StepId(FLOW, STEP)
GROUPS = 8
ROUTES = {name: group for group, name in enumerate(names(GROUPS))}
ALL, EVEN = tuple(range(GROUPS)), tuple(range(0, GROUPS, 2))
KEY = "fuzz-" + "k" * 32

RUNS = ((250, 2), (350, 3), (450, 3))
"""How many items there are at the end of each run, and how many workers."""

_BATCH = 25
_MANY = 4
_LATER = datetime(2099, 1, 1, tzinfo=timezone.utc)


class Purse:
    """A value that only pickle keeps."""

    def __init__(self, coins: list[int]) -> None:
        self.coins = coins

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Purse) and other.coins == self.coins

    def __hash__(self) -> int:
        return hash(tuple(self.coins))


@dataclass
class State:
    """What the step keeps for a key."""

    purse: Purse = field(default_factory=lambda: Purse([]))
    padding: bytes = b""

    def add(self, value: int) -> "State":
        """Return the state after one more item. Padding that nothing compresses makes files of several blocks."""
        coins = [*self.purse.coins, value]
        return State(Purse(coins), random.Random(str(coins)).randbytes(400))


class Tally(StatefulBatchLogic[int, int, State]):
    """Keeps all values, and for some keys has a timer."""

    def __init__(self, state: State | None) -> None:
        self.state = state or State()

    def on_batch(self, values: list[int]) -> tuple[Iterable[int], bool]:
        for value in values:
            self.state = self.state.add(value)
        return [], False

    def notify_at(self) -> datetime | None:
        return _due(self.state)

    def snapshot(self) -> State:
        return self.state


def _due(state: State) -> datetime | None:
    return _LATER if len(state.purse.coins) >= _MANY else None


def _items() -> list[tuple[str, int]]:
    rng = random.Random("items")
    return [(f"key{rng.randrange(70)}", rng.randrange(1000)) for _ in range(RUNS[-1][0])]


ITEMS = _items()


@dataclass(frozen=True, slots=True)
class Row:
    """A ref, as Bytewax keeps it for a key group."""

    epoch: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """A job that ran, and can be resumed."""

    folder: Path
    backend: str
    signed: bool
    rows: Mapping[int, tuple[Row, ...]]
    """By key group, oldest first."""
    offsets: Mapping[int, int]
    """Epoch to how many items the source had handed out."""
    resume_epoch: int

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return f"{self.backend}, {'signed' if self.signed else 'unsigned'}"

    @property
    def snapshots(self) -> Path:
        """Where its snapshots are."""
        return self.folder / "snapshots"

    @property
    def recovery(self) -> Path:
        """Where Bytewax's recovery partitions are."""
        return self.folder / "recovery"

    @property
    def work(self) -> Path:
        """Where its frozen images are."""
        return self.folder / "work"

    def settings(self, uri: str, root: Path) -> Settings:
        """Make the settings of a run."""
        return _settings(self.backend, self.signed).model_copy(update={"uri": uri, "dir": root})

    def refs(self, groups: Iterable[int], before: int) -> dict[int, Row]:
        """Choose what Bytewax loads for some groups, if it resumes at an epoch."""
        return {group: max((row for row in self.rows[group] if row.epoch < before), key=_epoch) for group in groups}

    def expected(self, refs: Mapping[int, Row]) -> "Answer":
        """Count what the state of some groups was, each at the epoch of its ref."""
        return {group: _answer(_states(self._offset(row.epoch)).get(group, {})) for group, row in refs.items()}

    def _offset(self, epoch: int) -> int:
        return self.offsets[max(one for one in self.offsets if one <= epoch)]


Answer = dict[int, tuple[dict[str, State], datetime | None]]
"""Key group to the state of each key, and when the first of them is due."""


def _epoch(row: Row) -> int:
    return row.epoch


def _answer(states: dict[str, State]) -> tuple[dict[str, State], datetime | None]:
    return states, min((due for state in states.values() if (due := _due(state))), default=None)


@cache
def _states(count: int) -> dict[int, dict[str, State]]:
    states: dict[int, dict[str, State]] = defaultdict(dict)
    for key, value in ITEMS[:count]:
        part = states[group_of(key, GROUPS)]
        part[key] = part.get(key, State()).add(value)
    return states


@cache
def _settings(backend: str, signed: bool) -> Settings:
    return Settings(
        backend=backend,
        key_groups=GROUPS,
        memory="8MiB",
        cache_entries=10,
        codec="pickle" if backend == "heap" else "msgpack",
        signing_key=KEY if signed else None,
    )


def make(folder: Path, backend: str, signed: bool) -> Job:
    """Run a job.

    :arg folder: Empty.

    :arg backend: Its store.

    :arg signed: Whether with a signing key.

    :returns: The job.

    """
    (folder / "recovery").mkdir(parents=True)
    init_db_dir(folder / "recovery", 2)
    changes = {"uri": str(folder / "snapshots"), "dir": folder / "work"}
    settings = _settings(backend, signed).model_copy(update=changes)
    for count, workers in RUNS:
        flow = Dataflow(FLOW)
        up = op.input("inp", flow, TestingSource(ITEMS[:count], _BATCH))
        down = op.stateful_batch(STEP.rpartition(".")[2], up, Tally)
        op.output("out", down, TestingSink([]))
        config = RecoveryConfig(str(folder / "recovery"), timedelta(hours=1))
        cluster_main(
            attach(flow, settings),
            [],
            0,
            epoch_interval=timedelta(0),
            recovery_config=config,
            worker_count_per_proc=workers,
        )
    return _job(folder, settings)


def _job(folder: Path, settings: Settings) -> Job:
    refs = read_refs([folder / "recovery"])
    rows: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(refs.rows, key=lambda row: row.epoch):
        group = decode_ref(row.value, ID, keys_of(settings)).group
        assert ROUTES[row.route] == group
        rows[group].append(Row(row.epoch, row.value))
    return Job(
        folder,
        settings.backend,
        settings.signing_key is not None,
        {group: tuple(some) for group, some in rows.items()},
        dict(_offsets(folder / "recovery")),
        refs.resume_epoch,
    )


def _offsets(recovery: Path) -> Iterable[tuple[int, int]]:
    for part in recovery.glob("*.sqlite3"):
        db = sqlite3.connect(part)
        found: list[Any] = db.execute(
            "SELECT snap_epoch, ser_change FROM snaps WHERE step_id = 'flow.inp' AND ser_change IS NOT NULL"
        ).fetchall()
        db.close()
        yield from ((epoch, pickle.loads(data)) for epoch, data in found)


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is of a job to be damaged."""

    names: Mapping[str, Sequence[str]]
    """Kind to objects, local files, partitions, key groups."""
    needed: Mapping[tuple[int, tuple[int, ...]], frozenset[str]]
    """Epoch and key groups of a resume to the objects that it needs."""


def stock(job: Job) -> Stock:
    """List what there is of a job.

    :arg job: Job.

    """
    catalog = Catalog(open_storage(str(job.snapshots), {}, 2), keys_of(job.settings("none", job.work)))
    objects = catalog.storage.list(ID.prefix)
    manifests = [name for name in objects if (at := parse_manifest_name(name)) and at.version]
    local = sorted(path.relative_to(job.work).as_posix() for path in job.work.rglob("frozen/*/*"))
    groups = [str(group) for group in ALL]
    names = {
        "manifest": manifests,
        "forged": manifests,
        "claim": [name for name in objects if (at := parse_manifest_name(name)) and not at.version],
        "sst": [name for name in objects if name.endswith(".sst")],
        "frozen sst": [name for name in local if name.endswith(".sst")],
        "frozen small": [name for name in local if not name.endswith(".sst")],
        "ref": groups,
        "row": groups,
        "partition": sorted(path.name for path in job.recovery.glob("*.sqlite3")),
    }
    ends = [job.resume_epoch, *(epoch for epoch in (16, 11, 8) if epoch < job.resume_epoch)]
    resumes = [(before, groups) for before in ends for groups in (ALL, EVEN)]
    return Stock(names, {(before, groups): _needed(job, catalog, before, groups) for before, groups in resumes})


def _needed(job: Job, catalog: Catalog, before: int, groups: tuple[int, ...]) -> frozenset[str]:
    keys = keys_of(job.settings("none", job.work))
    refs = [decode_ref(row.value, ID, keys) for row in job.refs(groups, before).values()]
    found: set[str] = set()
    for source in find(catalog, ID, refs):
        found |= {name_of(source.manifest), *(f"{ID.prefix}/{entry.path}" for entry in source.manifest.files)}
    return frozenset(found)
