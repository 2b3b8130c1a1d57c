"""The driver of the tests makes the calls that Bytewax makes, in the same order."""

from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, run_main

from bytewax_state import Settings, attach
from bytewax_state.dataflow import attach as attaching
from bytewax_state.dataflow import execution
from bytewax_state.snapshot.layout import StepId
from tests import driver

BATCH = 9
CALLS = {"on_batch", "on_notify", "on_eof", "notify_at", "snapshot"}
ITEMS = [(f"key{number}", number) for number in (0, *range(BATCH), 0, 1, 2)]


class Bell(StatefulBatchLogic[int, int, bool]):
    """Rings once, at once."""

    def __init__(self, rang: bool | None) -> None:
        self.rang = bool(rang)

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        return values, False

    def on_notify(self) -> tuple[list[int], bool]:
        self.rang = True
        return [-1], False

    def notify_at(self) -> datetime | None:
        return None if self.rang else datetime(2020, 1, 1, tzinfo=timezone.utc)

    def snapshot(self) -> bool:
        return self.rang


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The calls on key groups, whoever makes them."""
    told: list[tuple[int, str]] = []

    class Telling(driver.GroupLogic):
        def __getattribute__(self, name: str) -> Any:
            if name in CALLS:
                told.append((self._group, name))
            return super().__getattribute__(name)

    # A group that asks to be called again in a tick would be, if the machine is busy.
    monkeypatch.setattr(execution, "TICK", timedelta(hours=1))
    for module in (attaching, driver):
        monkeypatch.setattr(module, "GroupLogic", Telling)
    return told


def by_bytewax(settings: Settings, stops: list[int], folder: Path) -> list[Any]:
    out: list[Any] = []
    init_db_dir(folder, 1)
    config = RecoveryConfig(str(folder), None)
    for stop in stops:
        flow = Dataflow("flow")
        up = op.input("inp", flow, TestingSource(ITEMS[:stop], BATCH))
        op.output("out", op.stateful_batch("s", up, Bell), TestingSink(out))
        run_main(attach(flow, settings), epoch_interval=timedelta(0), recovery_config=config)
    return out


def by_driver(settings: Settings, stops: list[int]) -> list[Any]:
    out, refs, begin = [], driver.Refs(), 0
    for stop in stops:
        with closing(driver.Execution(StepId("flow", "flow.s"), settings, Bell, refs=refs)) as run:
            out += run.open()
            for at in range(begin, stop, BATCH):
                out += run.batch(ITEMS[at : min(at + BATCH, stop)])
                out += run.notify()
                run.end_epoch()
            out += run.end()
            refs, begin = run.end_epoch(), stop
    return out


def test_calls_come_as_from_bytewax(calls: list[tuple[int, str]], tmp_path: Path) -> None:
    """On one worker, with an epoch for each batch, timers, an end, and a resume after it."""
    settings = Settings(uri=str(tmp_path / "snapshots"), dir=tmp_path / "work", key_groups=4, memory="8MiB")
    stops = [BATCH, len(ITEMS)]
    (tmp_path / "recovery").mkdir()
    theirs = by_bytewax(settings, stops, tmp_path / "recovery")
    expected = list(calls)
    assert {name for _, name in expected} == CALLS
    calls.clear()
    assert by_driver(settings, stops) == theirs
    assert calls == expected
