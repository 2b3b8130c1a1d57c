"""Executions of a step with one key group, driven as Bytewax does, without it: for tests of damage and of attacks."""

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

from bytewax.operators import StatefulBatchLogic

from bytewax_state import Settings
from bytewax_state.dataflow.group import Chunk, GroupLogic
from bytewax_state.dataflow.worker import Step, StepWorker
from bytewax_state.snapshot.storage import Storage, open_storage

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
IDS = ("flow", "flow.s")

_seconds = count(3600)


class Keep(StatefulBatchLogic[object, object, object]):
    """Keeps the last value."""

    def __init__(self, state: object) -> None:
        self.state = state

    def on_batch(self, values: list[object]) -> tuple[Iterable[object], bool]:
        self.state = values[-1]
        return [], False

    def snapshot(self) -> object:
        return self.state


class Execution:
    """One execution of a step with one key group, driven as Bytewax does; at one time all have the same store id."""

    def __init__(
        self,
        folder: Path,
        key: str | None,
        ref: bytes | None = None,
        at: datetime = NOW,
        ids: tuple[str, str] = IDS,
        **settings: Any,
    ) -> None:
        chosen = Settings(
            uri=str(folder / "snapshots"),
            dir=folder / "work",
            key_groups=1,
            memory="8MiB",
            codec="pickle",
            signing_key=key,
            **settings,
        )
        self.worker = StepWorker(Step(*ids, chosen, Keep), 0, 1, lambda: at, lambda count: b"\1" * count)
        self.logic = GroupLogic(self.worker, None if ref is None else self.worker.note(ref))
        self.logic.on_batch([Chunk(0, [])])

    def put(self, value: object, epoch: int = 0) -> bytes:
        """Keep a value, publish it, and return the ref."""
        chunk = Chunk(0, [("key", value)])
        chunk.epoch = epoch
        self.logic.on_batch([chunk])
        return self.logic.snapshot()

    def get(self) -> object:
        assert self.logic._slice is not None
        return self.logic._slice.fetch(["key"])["key"].snapshot()


def write(folder: Path, key: str | None, *values: object, **settings: Any) -> list[bytes]:
    """Run once, with a version for each value, and return their refs."""
    run = Execution(folder, key, **settings)
    refs = [run.put(value) for value in values]
    run.worker.close()
    return refs


def resume(folder: Path, key: str | None, ref: bytes, **settings: Any) -> object:
    """Resume from a ref, and return the value."""
    run = Execution(folder, key, ref, at=NOW + timedelta(seconds=next(_seconds)), **settings)
    try:
        return run.get()
    finally:
        run.worker.close()


def storage(folder: Path) -> Storage:
    return open_storage(str(folder / "snapshots"), {}, 2)


def names(folder: Path, end: str) -> list[str]:
    """Name objects, without the claim."""
    return [name for name in storage(folder).list("") if name.endswith(end) and "0000000.m" not in name]
