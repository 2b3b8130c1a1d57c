"""What several modules of tests of flows need: settings, and the ways that a step may run."""

from pathlib import Path
from zlib import crc32

import pytest

from bytewax_state import Settings
from bytewax_state.store import rows
from tests.dataflow.hazards import Way


@pytest.fixture(autouse=True)
def images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each version have an image in every other test, as it has in large states. In small ones most have none."""
    if crc32(request.node.nodeid.encode()) % 2:
        monkeypatch.setattr(rows, "SMALL", 0)


@pytest.fixture
def image_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each version have an image, and so files of its own."""
    monkeypatch.setattr(rows, "SMALL", 0)


@pytest.fixture
def spilling(tmp_path: Path) -> Settings:
    """Settings of a RocksDB store with a cache of nothing, so that every logic is rebuilt for every batch."""
    return Settings(
        backend="rocksdb",
        uri=str(tmp_path / "snapshots"),
        dir=tmp_path / "work",
        cache_entries=0,
        memory="8MiB",
        key_groups=8,
    )


@pytest.fixture(params=["spilled", "spilled-killed", "spilled-rescaled", "heap-killed", "heap-rescaled"])
def way(request: pytest.FixtureRequest, spilling: Settings) -> Way:
    """All ways to lose what is in memory only."""
    heap = request.param.startswith("heap")
    return Way(request.param, spilling.model_copy(update={"backend": "heap"}) if heap else spilling)
