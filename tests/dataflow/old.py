"""`python -m tests.dataflow.old ARCHIVE`: keeps what this version of the package leaves behind, for later ones to read.

Owns the flows, which never change, as each archive in `tests/data/` holds what one of them had read of its input. An
archive is made when a format is the newest, by the newest flow. Called by the test that reads them.
"""

import sys
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.operators import StatefulLogic

from bytewax_state import Settings
from tests.dataflow.flows import MINUTE, STOPPED, joined
from tests.dataflow.hazards import cut
from tests.dataflow.runs import Batch, Job, Run, Step

FEW = [(f"key{number * 7 % 13}", number * 11 % 200) for number in range(120)]
MANY = [(f"many{number}", number % 200) for number in range(600)]


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

    seconds: ClassVar[float] = 0.0
    """How long it thinks about that time."""

    def __init__(self, state: tuple[int, datetime] | None) -> None:
        self.count, self.due = state or (0, datetime(2200, 1, 1, tzinfo=timezone.utc))

    def on_item(self, value: int) -> tuple[Iterable[str], bool]:
        self.count += 1
        self.due += timedelta(days=value)
        return [f"item {self.count}"], False

    def on_notify(self) -> tuple[Iterable[str], bool]:
        return [f"woken {self.count} {self.due.isoformat()}"], True

    def on_eof(self) -> tuple[Iterable[str], bool]:
        return [f"end {self.count} {self.due.isoformat()}"], False

    def notify_at(self) -> datetime | None:
        time.sleep(self.seconds)
        return self.due

    def snapshot(self) -> tuple[int, datetime]:
        return self.count, self.due


def _three(few: Any, many: Any) -> Any:
    """Keep plain values and windows of a few keys, and a logic with a timer of each of many."""
    mapped = op.stateful_map("map", few, _see)
    woken = op.stateful("wake", many, Waking)
    folded = win.fold_window("win", few, STOPPED, MINUTE, list, lambda seen, value: [*seen, value], list.__add__)
    return op.merge("all", mapped, woken, op.map("text", folded.down, lambda item: (item[0], repr(item[1]))))


def _four(up: Any) -> Any:
    """Keep these, and joins of the few."""
    few = op.branch("few", up, lambda item: not item[0].startswith("many")).trues
    pairs = joined("join", few, lambda name, *ups: op.join(name, *ups, emit_mode="final"))
    return op.merge("with", _three(few, up), op.map("pair", pairs, lambda item: (item[0], repr(item[1]))))


@dataclass(frozen=True, slots=True)
class Flow:
    """Steps, their input, and where the executions that an archive has seen came to their end."""

    step: Step
    batches: Sequence[Batch]
    ends: Sequence[Run]
    """The first was of the heap, the second of RocksDB."""


FLOWS = {
    "snapshots-1": Flow(lambda up: _three(up, up), cut(FEW, 10), (Run(stop=3), Run(stop=6))),
    # The end of input would close the windows and the joins. After a resume, RocksDB's store asks 250 logics when they
    # want to be notified, and then does something else for four times as long as that took. Rows that are written
    # before it has asked all are of format 2, and `MANY` are more than 250 on each worker.
    "snapshots-2": Flow(
        _four,
        [FEW[:60] + MANY, FEW[60:80] + MANY[:100], *cut(FEW[80:], 10)],
        (Run(abort=1), Run(abort=2)),
    ),
    # The last versions of either have an image, and changes since.
    "snapshots-3": Flow(
        _four,
        [FEW[:60] + MANY, FEW[60:65], FEW[65:70] + MANY[:100], FEW[70:75], *cut(FEW[75:], 10)],
        (Run(abort=2), Run(abort=4)),
    ),
}
"""By the archive: its name without `.tar.xz`."""


def settings(folder: Path, backend: Any) -> Settings:
    """Return settings of a job in a folder."""
    uri, work = str(folder / "snapshots"), folder / "work"
    return Settings(backend=backend, uri=uri, dir=work, cache_entries=8, key_groups=8, retain_for="0s")


def main(archive: str) -> None:
    """Run the newest flow over its first batches, on two workers, and keep the snapshots and the recovery directory."""
    flow, Waking.seconds = FLOWS[max(FLOWS)], 0.001
    with TemporaryDirectory() as name:
        folder = Path(name)
        job = Job(flow.step, flow.batches, folder)
        for run, backend in zip(flow.ends, ("heap", "rocksdb"), strict=True):
            job.run(replace(run, workers=2), settings(folder, backend))
        with tarfile.open(archive, "w:xz") as packed:
            for part in ("snapshots", "recovery"):
                packed.add(folder / part, part)


if __name__ == "__main__":
    # Pickles name the classes of a state by their module, and this one is another under its own name.
    import_module("tests.dataflow.old").main(sys.argv[1])
