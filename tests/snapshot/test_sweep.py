"""A sweep over a real folder: manifests first, then the files that nobody has come to need meanwhile."""

from pathlib import Path

import pytest

from bytewax_state.errors import SnapshotCorruptError, StorageError
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import name_of
from bytewax_state.snapshot.sweep import BATCH, Sweep
from bytewax_state.storage.uri import open_storage
from tests.faults import Fault, FaultyStorage
from tests.snapshot.listings import PREFIX, manifest, named

OLD = (manifest("a1", "a1"), manifest("a2", "a1 a2"))
NEW = manifest("a3", "a2", [0, 1])
SWEEP = Sweep(PREFIX, tuple(map(name_of, OLD)), tuple(named("a1", "a9")))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(open_storage(str(tmp_path / "snapshots"), {}, 4))
    for one in (*OLD, NEW):
        catalog.write(one)
    for name in named("a1", "a2", "a9"):
        catalog.storage.put(name, b"0123456789")
    return catalog


def test_a_sweep_is_carried_out(catalog: Catalog) -> None:
    """Files wait for the second half; what it does not name stays."""
    SWEEP.begin(catalog.storage)
    assert catalog.storage.list(PREFIX) == sorted([name_of(NEW), *named("a1", "a2", "a9")])
    assert SWEEP.finish(catalog.storage, catalog.step(PREFIX)) == SWEEP
    assert catalog.storage.list(PREFIX) == sorted([name_of(NEW), *named("a2")])


def test_a_claim_that_comes_within_the_grace_period_is_honoured(catalog: Catalog) -> None:
    """It was written while the manifest was there, or its owner failed."""
    SWEEP.begin(catalog.storage)
    catalog.write(manifest("b0", "a1", ancestors="a"))
    assert SWEEP.finish(catalog.storage, catalog.step(PREFIX)).files == tuple(named("a9"))
    assert named("a1")[0] in catalog.storage.list(PREFIX)


def test_what_is_known_to_be_wanted_stays(catalog: Catalog) -> None:
    """Though no manifest that the second look shows names it."""
    SWEEP.begin(catalog.storage)
    assert SWEEP.finish(catalog.storage, catalog.step(PREFIX), named("a1")).files == tuple(named("a9"))


def test_a_manifest_that_is_damaged_within_the_grace_period_stops_it(catalog: Catalog) -> None:
    """It may name anything, so the files stay."""
    SWEEP.begin(catalog.storage)
    catalog.storage.put(name_of(manifest("b0")), b"cut")
    with pytest.raises(SnapshotCorruptError, match="no file"):
        SWEEP.finish(catalog.storage, catalog.step(PREFIX))
    assert named("a1")[0] in catalog.storage.list(PREFIX)


def test_manifests_that_cannot_be_deleted_keep_the_newer_ones(catalog: Catalog) -> None:
    """The oldest go first, some at a time: whoever is in need of a version prefers the newest."""
    names = [name_of(manifest(f"b{version}")) for version in range(2 * BATCH)]
    for name in names:
        catalog.storage.put(name, b"")
    storage = FaultyStorage(catalog.storage, [Fault("delete", "before", transient=False, skip=1)])
    with pytest.raises(StorageError):
        Sweep(PREFIX, tuple(names), ()).begin(storage)
    assert [name for name in catalog.storage.list(PREFIX) if name in names] == names[BATCH:]
