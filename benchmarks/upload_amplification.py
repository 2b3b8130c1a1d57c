"""`python -m benchmarks.upload_amplification [--backend heap|rocksdb]`: bytes uploaded for every byte that changed.

Owns the flow, whose every batch is an epoch: one that makes all keys, then epochs that each change a few, at random.
What is printed comes from the manifests' `stats`. Called from the command line; one line of JSON for each store, exit
code 1 if the amplification is above the limit.
"""

import argparse
import json
import sys
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

from benchmarks.cases import Backend
from benchmarks.flows import Count
from benchmarks.operators import Item
from bytewax_state import Settings, attach
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import Manifest
from bytewax_state.storage.uri import open_storage

AT_MOST = 4.0
VALUE_BYTES = 200

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

    case: str
    backend: Backend
    keys: int
    epochs: int
    changed_bytes: int
    uploaded_bytes: int
    """Files and manifests."""
    manifest_bytes: int
    """Of these, the manifests."""
    amplification: float
    live_bytes: int
    """At the end."""
    median_upload: float
    """Of an epoch, as a share of what lives."""
    largest_upload: float


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
    _, first, *rest = _manifests(settings)
    assert first.stats.rows == job.keys
    return _line(job, rest[: job.epochs])


def _line(job: Job, manifests: list[Manifest]) -> Line:
    stats = [manifest.stats for manifest in manifests]
    uploads = [one.uploaded_bytes + one.manifest_bytes for one in stats]
    changed, uploaded = sum(one.changed_bytes for one in stats), sum(uploads)
    shares = [upload / one.live_bytes for upload, one in zip(uploads, stats, strict=True)]
    return Line(
        case="upload_amplification",
        backend=job.backend,
        keys=job.keys,
        epochs=len(stats),
        changed_bytes=changed,
        uploaded_bytes=uploaded,
        manifest_bytes=sum(one.manifest_bytes for one in stats),
        amplification=round(uploaded / changed, 3),
        live_bytes=stats[-1].live_bytes,
        median_upload=round(median(shares), 4),
        largest_upload=round(max(shares), 4),
    )


def _manifests(settings: Settings) -> list[Manifest]:
    """Read all manifests of the one store that there is, the claim first."""
    assert settings.uri is not None
    catalog = Catalog(open_storage(settings.uri, {}, 1))
    (prefix,) = catalog.steps()
    return list(catalog.step(prefix).manifests())


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
        return [(f"key-{number:08d}", random.randbytes(VALUE_BYTES)) for number in numbers]

    def snapshot(self) -> int:
        return self._epoch


def main(argv: list[str]) -> int:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    args = _parser().parse_args(argv)
    holds = True
    for backend in [args.backend] if args.backend else ["heap", "rocksdb"]:
        with TemporaryDirectory(prefix="upload-amplification-", dir=args.dir) as folder:
            line = measure(Job(backend, args.keys, args.epochs, args.changed), Path(folder))
        print(json.dumps(asdict(line)), flush=True)
        holds = holds and line.amplification <= AT_MOST
    if not holds:
        print(f"expected at most {AT_MOST} bytes uploaded for each that changed", file=sys.stderr)
    return 0 if holds else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload_amplification")
    parser.add_argument("--backend", choices=("heap", "rocksdb"), help="default: one after the other")
    parser.add_argument("--keys", type=int, default=1_000_000, metavar="N", help="default: 1000000")
    parser.add_argument("--epochs", type=int, default=60, metavar="N", help="default: 60")
    parser.add_argument("--changed", type=float, default=0.01, metavar="SHARE", help="of the keys, in an epoch (0.01)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where some GB of files go (default: the system's)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
