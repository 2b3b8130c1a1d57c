"""`python -m tests.dataflow.old ARCHIVE`: keeps what this version of the package leaves behind, for later ones to read.

Owns the flow, which never changes, as each archive in `tests/data/` holds what it had read of its input. An archive is
made when a format is the newest. Called by the test that reads them.
"""

import sys
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.operators import StatefulLogic

from bytewax_state import Settings
from tests.dataflow.flows import MINUTE, STOPPED
from tests.dataflow.hazards import cut
from tests.dataflow.runs import Job, Run

BATCHES = cut([(f"key{number * 7 % 13}", number * 11 % 200) for number in range(120)], 10)
READ = 6
"""How many batches an archive has seen."""


@dataclass
class Seen:
    """A state of many types."""

    total: int = 0
    last: tuple[int, ...] = ()
    names: set[str] = field(default_factory=set)
    at: datetime = datetime(2024, 1, 1, tzinfo=timezone.utc)
    more: dict[Any, Any] = field(default_factory=dict)


def _see(seen: Seen | None, value: int) -> tuple[Seen, str]:
    seen = seen or Seen()
    seen.total += value
    seen.last = (*seen.last[-2:], value)
    seen.names.add(f"name{value % 5}")
    seen.at += timedelta(seconds=value)
    seen.more[value % 3, 1.5] = [seen.total, b"\xc4", None, 1 << 70]
    told = (seen.total, seen.last, sorted(seen.names), seen.at.isoformat(), sorted(seen.more.items()))
    return seen, repr(told)


class Waking(StatefulLogic[int, str, tuple[int, datetime]]):
    """Wants to be notified at a time that never comes, and tells it at the end of the input."""

    def __init__(self, state: tuple[int, datetime] | None) -> None:
        self.count, self.due = state or (0, datetime(2200, 1, 1, tzinfo=timezone.utc))

    def on_item(self, value: int) -> tuple[Iterable[str], bool]:
        self.count += 1
        self.due += timedelta(days=value)
        return [f"item {self.count}"], False

    def on_eof(self) -> tuple[Iterable[str], bool]:
        return [f"end {self.count} {self.due.isoformat()}"], False

    def notify_at(self) -> datetime | None:
        return self.due

    def snapshot(self) -> tuple[int, datetime]:
        return self.count, self.due


def step(up: Any) -> Any:
    """Make the steps: plain values, a logic with a timer, a window."""
    mapped = op.stateful_map("map", up, _see)
    woken = op.stateful("wake", up, Waking)
    folded = win.fold_window("win", up, STOPPED, MINUTE, list, lambda seen, value: [*seen, value], list.__add__)
    return op.merge("all", mapped, woken, op.map("text", folded.down, lambda item: (item[0], repr(item[1]))))


def settings(folder: Path, backend: Any) -> Settings:
    """Return settings of a job in a folder."""
    uri, work = str(folder / "snapshots"), folder / "work"
    return Settings(backend=backend, uri=uri, dir=work, cache_entries=8, key_groups=8, retain_for="0s")


def main(archive: str) -> None:
    """Run over the first batches, on two workers, and keep the snapshots and the recovery directory."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(step, BATCHES, folder)
        job.run(Run(stop=READ // 2, workers=2), settings(folder, "heap"))
        job.run(Run(stop=READ, workers=2), settings(folder, "rocksdb"))
        with tarfile.open(archive, "w:xz") as packed:
            for part in ("snapshots", "recovery"):
                packed.add(folder / part, part)


if __name__ == "__main__":
    # Pickles name the classes of a state by their module, and this one is another under its own name.
    import_module("tests.dataflow.old").main(sys.argv[1])
