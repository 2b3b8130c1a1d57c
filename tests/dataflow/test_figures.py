"""What flows' snapshots tell of themselves: how many keys have a state, and how little a manifest takes."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import UUID

import bytewax.operators as op
import pytest
from bytewax.dataflow import Stream

from bytewax_state import Settings
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from tests.dataflow.runs import Batch, Job, Run
from tests.dataflow.test_random_flows import STEPS

EPOCHS = 300
SMALL = 4_500
"""Bytes of a manifest, where there is little state."""


def settings_of(folder: Path, backend: str, **more: object) -> Settings:
    return Settings(backend=backend, uri=str(folder / "snapshots"), dir=folder / "work", memory="8MiB", **more)


def storage_of(folder: Path) -> Storage:
    return open_storage(str(folder / "snapshots"), {}, 4)


def forget_some(up: Stream[tuple[str, int]]) -> Stream[tuple[str, int]]:
    """Keep a sum for each key until an even number comes."""
    return STEPS["forgetting"](up)


def rows(folder: Path, workers: int) -> int:
    """Add up the rows of the newest version of each store of the last execution."""
    catalog = Catalog(storage_of(folder))
    (prefix,) = catalog.steps()
    listings = list(catalog.step(prefix).stores.values())[-workers:]
    newest = [listing.newest for listing in listings]
    return sum(one.stats.rows for one in newest if one is not None)


@pytest.mark.parametrize("first", ["heap", "rocksdb"])
def test_one_key_is_one_row(first: str, tmp_path: Path) -> None:
    """However many epochs write it, on however many workers, in either store; and none when it is gone."""
    job = Job(forget_some, [[("a", 1)]] * 11 + [[("a", 2)]], tmp_path)
    other = "rocksdb" if first == "heap" else "heap"
    executions = [(5, 1, first), (8, 2, first), (10, 3, other), (11, 1, other), (12, 2, first)]
    found = []
    for stop, workers, backend in executions:
        job.run(Run(stop=stop, workers=workers), settings_of(tmp_path, backend, cache_entries=0))
        found.append(rows(tmp_path, workers))
    assert found == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_the_keys_that_have_a_state(seed: int, tmp_path: Path) -> None:
    """As a plain dict counts them, where keys come and go, and each execution has other workers and another store."""
    rng = Random(seed)
    batches: list[Batch] = [[(f"k{rng.randrange(60)}", rng.randrange(5)) for _ in range(15)] for _ in range(40)]
    job = Job(forget_some, batches, tmp_path)
    model: set[str] = set()
    stops = [0, *sorted(rng.sample(range(1, len(batches)), 4)), len(batches)]
    for begin, stop in pairwise(stops):
        workers, backend, cache = rng.choice([1, 2, 3]), rng.choice(["heap", "rocksdb"]), rng.choice([0, 20, 1000])
        job.run(Run(stop=stop, workers=workers), settings_of(tmp_path, backend, cache_entries=cache, key_groups=8))
        for batch in batches[begin:stop]:
            assert isinstance(batch, list)
            for key, value in batch:
                (model.add if value % 2 else model.discard)(key)
        assert rows(tmp_path, workers) == len(model)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_manifests_are_small_where_there_is_little_state(backend: str, tmp_path: Path) -> None:
    """But for the rows that changed; after hundreds of small epochs too, and over a restart; with keys that no
    compression makes smaller.
    """
    job = Job(lambda up: op.stateful_map("s", up, lambda total, value: ((total or 0) + value,) * 2), epochs(), tmp_path)
    for stop in (EPOCHS // 2, EPOCHS):
        job.run(Run(stop=stop), settings_of(tmp_path, backend, retain_snapshots=EPOCHS, cache_entries=100))
    catalog = Catalog(storage_of(tmp_path))
    names = [name for name in catalog.storage.list("") if name.endswith(".manifest")]
    manifests = [catalog.read(name) for name in names]
    changes = [sum(len(key) + len(row or b"") for key, row in one.changes.items()) for one in manifests]
    sizes = [one.stats.manifest_bytes - changed for one, changed in zip(manifests, changes, strict=True)]
    assert len(sizes) >= EPOCHS
    assert max(sizes) < SMALL


def epochs() -> list[Batch]:
    def batch(rng: Random) -> Iterator[tuple[str, int]]:
        for _ in range(20):
            yield keys[rng.randrange(len(keys))], rng.randrange(1_000)

    rng = Random(1)
    keys = [str(UUID(int=rng.getrandbits(128))) for _ in range(500)]
    return [list(batch(rng)) for _ in range(EPOCHS)]
