"""What older versions of this package left behind is resumed from, whatever became of formats and codecs since."""

import tarfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import name_of
from bytewax_state.snapshot.restore import open_table
from bytewax_state.storage.uri import open_storage
from bytewax_state.store.options import Memory
from tests.dataflow.old import FLOWS, settings
from tests.dataflow.runs import Job, Run, results

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(params=FLOWS)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Unpack an archive, and name it."""
    with tarfile.open(DATA / f"{request.param}.tar.xz") as packed:
        packed.extractall(tmp_path)
    return request.param


@cache
def expected(archive: str) -> dict[str, list[Any]]:
    """Return what plain Bytewax gives for the input that an archive has not seen."""
    flow = FLOWS[archive]
    whole, before = (results(flow.step, flow.batches, None, runs) for runs in ([*flow.ends, Run()], flow.ends))
    return {key: sorted(values[len(before.get(key, ())) :]) for key, values in whole.items()}


def row_formats(folder: Path) -> set[tuple[str, int]]:
    """Tell what the newest version of each store holds: its backend, and the formats of its rows."""
    catalog, found = Catalog(open_storage(str(folder / "snapshots"), {}, 1)), set()
    for prefix in catalog.steps():
        for listing in catalog.step(prefix).stores.values():
            manifest = catalog.read(name_of(listing.newest))
            table_folder, memory = folder / "tables" / listing.store_id, Memory.of(8 << 20)
            table, _ = open_table(catalog, folder / "none", manifest, table_folder, memory, 1)
            with closing(table):
                found |= {(manifest.backend, row[0]) for _, row in table.scan(b"", b"\xff") if row}
    return found


def test_every_archive_is_read() -> None:
    """And there is one for each flow."""
    assert {archive.name.removesuffix(".tar.xz") for archive in DATA.glob("*.tar.xz")} == set(FLOWS)


def test_there_are_rows_of_all_formats(archive: str, tmp_path: Path) -> None:
    """Those of the second one are written by RocksDB's store, for a while after a resume."""
    marked = {("rocksdb", 2)} if archive != "snapshots-1" else set()
    assert row_formats(tmp_path) == {("heap", 1), ("rocksdb", 1), *marked}


def test_there_are_changes_since_the_images(archive: str, tmp_path: Path) -> None:
    """In the newest version of each store, from the format on that has them."""
    catalog = Catalog(open_storage(str(tmp_path / "snapshots"), {}, 1))
    newest = [one.newest for prefix in catalog.steps() for one in catalog.step(prefix).stores.values() if one.newest]
    changed = {(one.backend, bool(catalog.read(name_of(one)).changes)) for one in newest}
    assert ({("heap", True), ("rocksdb", True)} <= changed) is (archive == "snapshots-3")


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_old_snapshot_is_resumed_from(archive: str, backend: str, workers: int, tmp_path: Path) -> None:
    """By either store, on any number of workers, and then what these wrote of it."""
    flow = FLOWS[archive]
    job = Job(flow.step, flow.batches, tmp_path)
    job.run(Run(abort=len(flow.batches) - 2, workers=workers), settings(tmp_path, backend))
    job.run(Run(), settings(tmp_path, backend))
    assert {key: sorted(values) for key, values in job.results().items()} == expected(archive)
