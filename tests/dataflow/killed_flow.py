"""A run of alarms in a process of its own that kills itself: `python -m tests.dataflow.killed_flow FOLDER RUN`.

Owns the flow, whose results go to a file, and its settings. It does not own when it strikes, which RUN says in JSON:
see `Fate`. Called by the tests of kills.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.files import FileSink
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from bytewax_state import Settings, attach
from bytewax_state.dataflow import attach as attaching
from bytewax_state.dataflow.group import GroupLogic
from tests.dataflow.alarms import Log, steps, value
from tests.dataflow.runs import Batch, Batches

TAGS = [f"t{number}" for number in range(60)]


@dataclass
class Fate:
    """What a run is, and at which call on a key group it ends."""

    backend: str
    workers: int
    point: str = ""
    """`wake`, `chunk`, `notification` or `snapshot`, and `before` or `after`."""
    skip: int = 0
    """How many such calls go well."""


def batches() -> list[Batch]:
    """Make single items, bursts, polls that give nothing, and sleeps."""
    found: list[Batch] = []
    at = 0
    for size in (1, 1, 2, 25, 1, 20, 1, 1, 8):
        found.append([value(f"k{number % 9}", tag) for number, tag in enumerate(TAGS[at : at + size])])
        found += [[]] * (at % 3) if at % 2 else [timedelta(seconds=0.06)]
        at += size
    return found


def settings_of(backend: str, folder: Path) -> Settings:
    """Choose a store of which hardly anything is in memory, and few key groups."""
    return Settings(
        backend=backend,
        uri=str(folder / "snapshots"),
        dir=folder / "work",
        cache_entries=2,
        memory="8MiB",
        key_groups=5,
    )


def mortal(reach: Callable[[str], None]) -> type[GroupLogic]:
    """Make the logic of a key group that tells of each call, before and after it."""

    class Mortal(GroupLogic):
        def on_batch(self, values: Any) -> Any:
            what = "chunk" if any(items for _, _, items, _ in values) else "wake"
            return self._reach(what, lambda: super(Mortal, self).on_batch(values))

        def on_notify(self) -> Any:
            return self._reach("notification", super().on_notify)

        def snapshot(self) -> Any:
            return self._reach("snapshot", super().snapshot)

        def _reach(self, what: str, call: Any) -> Any:
            reach(f"{what} before")
            answer = call()
            reach(f"{what} after")
            return answer

    return Mortal


def main(folder: Path, fate: Fate) -> None:
    """Run the flow once, to its end or to that of the process."""
    left = fate.skip

    def reach(point: str) -> None:
        nonlocal left
        left -= point == fate.point
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    attaching.GroupLogic = mortal(reach)  # type: ignore[misc]
    flow = Dataflow("flow")
    results = steps(op.input("inp", flow, Batches(batches())), Log(), 2)
    op.output("out", op.map("line", results, lambda item: ("out", item[1][1])), FileSink(folder / "out"))
    attach(flow, settings_of(fate.backend, folder))
    recovery = folder / "recovery"
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 2)
    options = {"epoch_interval": timedelta(0), "recovery_config": RecoveryConfig(str(recovery), timedelta(0))}
    if fate.workers == 1:
        run_main(flow, **options)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=fate.workers, **options)


def _read(arguments: Sequence[str]) -> tuple[Path, Fate]:
    folder, fate = arguments
    return Path(folder), Fate(**json.loads(fate))


if __name__ == "__main__":
    main(*_read(sys.argv[1:]))
