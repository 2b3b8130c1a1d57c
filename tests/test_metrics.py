"""Metrics: their names, and that each recorder counts what it is told."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client import REGISTRY, Counter, Histogram

from bytewax_state import metrics

STEP = "flow.metrics.stateful_batch"


def value(name: str, **labels: str) -> float:
    """Read a sample; one that was never counted is 0."""
    return REGISTRY.get_sample_value(f"bytewax_state_{name}", {"step_id": STEP, **labels}) or 0.0


def test_a_published_version_is_counted() -> None:
    """Once, with its bytes, those of the manifest among them, and the seconds of each phase."""
    before = value("snapshots_published_total")
    seconds = SimpleNamespace(flush=1.0, freeze=2.0, hash=3.0, upload=4.0, publish=5.0)
    stats = SimpleNamespace(uploaded_bytes=100, reused_bytes=1_000, manifest_bytes=7, seconds=seconds)
    metrics.published(STEP, stats)
    assert value("snapshots_published_total") == before + 1
    found = [value(f"{what}_bytes_total") for what in ("uploaded", "reused", "manifest")]
    assert found == [107, 1_000, 7]
    assert [value("snapshot_seconds_sum", phase=phase) for phase in metrics.PHASES] == [1, 2, 3, 4, 5]


def test_a_restore_is_counted_by_origin() -> None:
    """What was linked costs nothing, what was fetched took its time: they are told apart."""
    metrics.restored(STEP, 128, 10, 20)
    assert value("restored_groups_total") == 128
    assert [value("restored_bytes_total", origin=origin) for origin in metrics.ORIGINS] == [10, 20]


def test_the_cache_is_counted() -> None:
    """Spilled objects and missed keys, by how many."""
    metrics.spilled(STEP, 7)
    metrics.missed(STEP, 3)
    metrics.missed(STEP, 0)
    assert (value("spilled_entries_total"), value("table_misses_total")) == (7, 3)


@pytest.fixture
def again() -> ModuleType:
    """Import the module once more, as a process does that reloads the flow's packages."""
    kept = sys.modules.pop("bytewax_state.metrics")
    try:
        return importlib.import_module("bytewax_state.metrics")
    finally:
        sys.modules["bytewax_state.metrics"] = kept
        sys.modules["bytewax_state"].metrics = kept  # type: ignore[attr-defined]


def test_importing_again_goes_on_counting(again: ModuleType) -> None:
    """The registry takes a name only once, and a count must not start anew."""
    before = value("spilled_entries_total")
    again.spilled(STEP, 1)
    metrics.spilled(STEP, 1)
    assert value("spilled_entries_total") == before + 2


def test_every_metric_has_our_prefix() -> None:
    """Bytewax serves the registry of the whole process."""
    ours = [found for found in vars(metrics).values() if isinstance(found, (Counter, Histogram))]
    names = [family.name for found in ours for family in found.collect()]
    assert len(names) == 9
    assert all(name.startswith("bytewax_state_") for name in names)
