"""Bytes uploaded for every byte that changed: `python -m benchmarks.upload_amplification JOB` is one run.

Owns the flow, whose every batch is an epoch: one that makes all keys, then epochs that each change a few, at random;
and what is asked for. What is measured comes from the manifests' `stats`. It is hardly different each time, so a job
runs once. Called by `suites`.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from benchmarks.apart import run_apart
from benchmarks.cases import Backend
from benchmarks.figures import Figure, Report
from benchmarks.flows import Count
from benchmarks.operators import Item
from bytewax_state import Settings, attach
from bytewax_state.keygroups import group_of
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import Manifest, name_of
from bytewax_state.snapshot.restore import open_table
from bytewax_state.storage.uri import open_storage
from bytewax_state.store.rowkeys import value_key
from bytewax_state.store.table import Memory

AMPLIFICATION_AT_MOST = 3.0
LIVE_AT_MOST = 1.8
"""The most bytes that live in files, as a multiple of those of the state."""
READS = 100
"""Of a thousand keys each."""
VALUE_BYTES = 200

BACKENDS: tuple[Backend, ...] = ("heap", "rocksdb")

_SEED = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What to run."""

    backend: Backend
    keys: int
    epochs: int
    """Without the first, which makes all keys."""
    changed: float
    """Share of the keys that an epoch changes."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a job gave; sizes in bytes."""

    epochs: int
    changed_bytes: int
    uploaded_bytes: int
    """Files and manifests."""
    manifest_bytes: int
    """Of these, the manifests."""
    amplification: float
    state_bytes: int
    """Of the newest row of each key."""
    live_bytes: int
    """Of files, at the end."""
    live_ratio: float
    """The most that they ever had, as a multiple of the state."""
    read_us: float
    """CPU time of a point read, in a batch of a thousand keys, from a table that has all files of the end."""
    median_upload: float
    """Of an epoch, as a share of what lives."""
    largest_upload: float


def figures(turns: int, report: Report, keys: int = 1_000_000, epochs: int = 100) -> Iterator[Figure]:
    """Measure.

    :arg turns: Not used: there is one.

    :arg report: Told of each store.

    :arg keys: Keys.

    :arg epochs: Epochs that each change one key in a hundred.

    :returns: Figures.

    """
    for backend in BACKENDS:
        job = Job(backend, keys, epochs, changed=0.01)
        found = Line(**run_apart("benchmarks.upload_amplification", json.dumps(asdict(job))))
        report(f"upload_amplification {backend}: {found}")
        case = f"upload_amplification:{backend}:{keys}"
        more = {name: getattr(found, name) for name in ("median_upload", "largest_upload", "read_us")}
        yield Figure(case, "what changed", found.amplification, "times", 1, at_most=AMPLIFICATION_AT_MOST, more=more)
        yield Figure(f"{case}:live", "the state", found.live_ratio, "times", 1, at_most=LIVE_AT_MOST)


def measure(job: Job, folder: Path) -> Line:
    """Run a job.

    :arg job: What to run.

    :arg folder: Empty folder.

    :returns: Line.

    """
    partitions = folder / "recovery"
    partitions.mkdir()
    init_db_dir(partitions, 1)  # type: ignore[no-untyped-call]
    settings = Settings(
        backend=job.backend,
        uri=str(folder / "snapshots"),
        dir=folder / "work",
        cache_entries=job.keys // 10,
        retain_snapshots=job.epochs + 2,
    )
    flow = Dataflow("upload_amplification")
    up = op.input("in", flow, _Epochs(job))
    op.output("out", op.stateful_map("latest", up, lambda _state, value: (value, None)), Count())
    recovery = RecoveryConfig(partitions)  # type: ignore[no-untyped-call]
    run_main(attach(flow, settings), epoch_interval=timedelta(0), recovery_config=recovery)  # type: ignore[no-untyped-call]
    catalog, (_, first, *rest) = _manifests(settings)
    assert first.stats.rows == job.keys
    rest = rest[: job.epochs]
    last = catalog.read(name_of(rest[-1]))
    return _line(first.stats.changed_bytes, rest, _read_us(job, catalog, last, folder / "table"))


def _read_us(job: Job, catalog: Catalog, manifest: Manifest, folder: Path) -> float:
    random = Random(_SEED)
    table, _ = open_table(catalog, folder, manifest, folder, Memory.of(256 << 20), 4)
    with closing(table):
        names = [[_key(random.randrange(job.keys)) for _ in range(1_000)] for _ in range(READS)]
        keys = [[value_key(group_of(key, manifest.key_groups), 0, key) for key in batch] for batch in names]
        began = time.thread_time()
        for batch in keys:
            assert None not in table.get_many(batch)
        return round((time.thread_time() - began) / READS * 1e3, 2)


def _key(number: int) -> str:
    return f"key-{number:08d}"


def _line(state_bytes: int, manifests: list[Manifest], read_us: float) -> Line:
    stats = [manifest.stats for manifest in manifests]
    uploads = [one.uploaded_bytes + one.manifest_bytes for one in stats]
    changed, uploaded = sum(one.changed_bytes for one in stats), sum(uploads)
    shares = [upload / one.live_bytes for upload, one in zip(uploads, stats, strict=True)]
    return Line(
        epochs=len(stats),
        changed_bytes=changed,
        uploaded_bytes=uploaded,
        manifest_bytes=sum(one.manifest_bytes for one in stats),
        amplification=round(uploaded / changed, 3),
        state_bytes=state_bytes,
        live_bytes=stats[-1].live_bytes,
        live_ratio=round(max(one.live_bytes for one in stats) / state_bytes, 3),
        read_us=read_us,
        median_upload=round(median(shares), 4),
        largest_upload=round(max(shares), 4),
    )


def _manifests(settings: Settings) -> tuple[Catalog, list[Manifest]]:
    """Read all manifests of the one store that there is, the claim first."""
    assert settings.uri is not None
    catalog = Catalog(open_storage(settings.uri, {}, 1))
    (prefix,) = catalog.steps()
    return catalog, list(catalog.step(prefix).manifests())


class _Epochs(FixedPartitionedSource[Item, int]):
    def __init__(self, job: Job) -> None:
        self._job = job

    def list_parts(self) -> list[str]:
        return ["epochs"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_EpochsPartition":
        return _EpochsPartition(self._job)


class _EpochsPartition(StatefulSourcePartition[Item, int]):
    """Values are random bytes, which no compression makes smaller."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._random = Random(_SEED)
        self._epoch = 0

    def next_batch(self) -> list[Item]:
        job, random = self._job, self._random
        if self._epoch > job.epochs:
            raise StopIteration
        numbers = range(job.keys) if self._epoch == 0 else random.sample(range(job.keys), int(job.keys * job.changed))
        self._epoch += 1
        return [(_key(number), random.randbytes(VALUE_BYTES)) for number in numbers]

    def snapshot(self) -> int:
        return self._epoch


if __name__ == "__main__":
    with TemporaryDirectory(prefix="upload-amplification-") as _folder:
        print(json.dumps(asdict(measure(Job(**json.loads(sys.argv[1])), Path(_folder)))))
