"""Executions of a step with one key group, without Bytewax: for tests of damage and of attacks."""

from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

from bytewax.operators import StatefulBatchLogic

from bytewax_state import Settings
from bytewax_state.snapshot.layout import StepId
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from tests import driver

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
STEP = StepId("flow", "flow.s")

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


class Execution(driver.Execution):
    """One execution of a step with one key group; at one time all have the same store id."""

    def __init__(
        self,
        folder: Path,
        key: str | None,
        ref: bytes | None = None,
        at: datetime = NOW,
        step: StepId = STEP,
        storage: Callable[[int], Storage] | None = None,
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
        refs = {} if ref is None else {0: ref}
        token = lambda count: b"\1" * count  # noqa: E731
        super().__init__(step, chosen, Keep, refs=refs, now=lambda: at, token=token, storage=storage)
        self.open()

    def put(self, value: object, epoch: int = 0) -> bytes:
        """Keep a value, publish it, and return the ref."""
        self.epoch = epoch
        self.batch([("key", value)])
        return self.snapshot(0)[0]

    def get(self) -> object:
        return self.contents()["key"][0]


def write(folder: Path, key: str | None, *values: object, **settings: Any) -> list[bytes]:
    """Run once, with a version for each value, and return their refs."""
    with closing(Execution(folder, key, **settings)) as run:
        return [run.put(value) for value in values]


def resume(folder: Path, key: str | None, ref: bytes, **settings: Any) -> object:
    """Resume from a ref, and return the value."""
    at = NOW + timedelta(seconds=next(_seconds))
    with closing(Execution(folder, key, ref, at, **settings)) as run:
        return run.get()


def storage(folder: Path) -> Storage:
    return open_storage(str(folder / "snapshots"), {}, 2)


def names(folder: Path, end: str) -> list[str]:
    """Name objects, without the claim."""
    return [name for name in storage(folder).list("") if name.endswith(end) and "0000000.m" not in name]
