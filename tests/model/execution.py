"""One execution of one step, on what really runs: a logic of the user's, and the points where it may be stopped.

It does not own the order of Bytewax's calls (`driver`), nor what the state should be (`timeline`).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bytewax.operators import StatefulBatchLogic

from bytewax_state.settings import Settings
from bytewax_state.snapshot.background import Background
from bytewax_state.snapshot.layout import StepId
from bytewax_state.storage.storage import Storage
from bytewax_state.store.table import Table
from tests import driver
from tests.model.points import Points

STEP = StepId("flow", "flow.step")
GROUPS = 8

Content = dict[str, tuple[int, datetime | None]]
"""Key to its value and when it wants to be notified."""


def due_by(now: datetime, content: Content) -> list[str]:
    """Name the keys that are due."""
    return sorted(key for key, (_, at) in content.items() if at is not None and at <= now)


def notified(content: Content, keys: Iterable[str]) -> Content:
    """Say what a notification of some keys makes of a content."""
    return content | {key: (content[key][0] + 1, None) for key in keys}


class Cell(StatefulBatchLogic[Any, Any, tuple[int, datetime | None]]):
    """The user's logic: a number, which a notification raises."""

    def __init__(self, state: tuple[int, datetime | None] | None) -> None:
        self.value: int | None
        self.value, self.due = state or (None, None)

    def on_batch(self, values: list[tuple[int | None, datetime | None]]) -> tuple[list[Any], bool]:
        self.value, due = values[-1]
        self.due = due or self.due
        return [], self.value is None

    def on_notify(self) -> tuple[list[Any], bool]:
        assert self.value is not None
        self.value, self.due = self.value + 1, None
        return [self.value], False

    def notify_at(self) -> datetime | None:
        return self.due

    def snapshot(self) -> tuple[int, datetime | None]:
        assert self.value is not None
        return self.value, self.due


_BUSY = ("compaction-pending", "num-running-compactions", "num-running-flushes")


class WatchedTable(Table):
    """A table whose writes and checkpoints are points."""

    __slots__ = ("_points",)

    def __init__(self, table: Table, points: Points) -> None:
        super().__init__(table.path, table._memory, table._db, table._files)
        self._points = points

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        with self._points.around("cache flush"):
            super().write(rows)

    def checkpoint(self, path: Path) -> None:
        with self._points.around("checkpoint"):
            self._calm()
            super().checkpoint(path)

    def _calm(self) -> None:
        """Wait for RocksDB's own threads, so that which files there are does not depend on how fast they are."""
        with self._opened() as db:
            db.flush()
            while any(db.property_int_value(f"rocksdb.{name}") for name in _BUSY):
                time.sleep(0.0002)


class Late(Background):
    """Does what it is asked for at a point that comes later, in the middle of something else; or at once."""

    def __init__(self, work: Callable[[], None], points: Points) -> None:
        super().__init__(work)
        self._points = points

    def ask(self) -> None:
        if self._work not in self._points.due:
            self._points.due.append(self._work)

    def settle(self) -> None:
        if self._points.due_at is None:
            self._points.do_due()


class Execution(driver.Execution):
    """All workers of one execution, whose calls are points."""

    def __init__(
        self,
        workers: int,
        settings: Settings,
        refs: Mapping[int, bytes],
        epoch: int,
        now: Callable[[], datetime],
        token: Callable[[int], bytes],
        storage: Callable[[int], Storage],
        points: Points,
        small: int = 0,
        due_at: str | None = None,
    ) -> None:
        """Begin; see `driver`.

        :arg points: Told of each point.

        :arg small: Up to how many bytes of changes are part of a manifest; 0: each version has an image.

        :arg due_at: The point at which what is done in the background is done; `None`: as soon as it is asked for.

        """
        points.due_at = due_at

        def watch(table: Table) -> Table:
            points.reach("store opens")
            return WatchedTable(table, points)

        def background(work: Callable[[], None]) -> Background:
            return Late(work, points)

        super().__init__(
            STEP, settings, Cell, workers, refs, epoch, now, token, storage, watch, points.around, small, background
        )
        self.workers = workers
        self.points = points
        self.began = now()
        self.came_from: set[str] = set()
        """The ancestors of its stores, when they began."""

    def open(self) -> driver.Items:
        notified = super().open()
        self.came_from = self.ancestors()
        return notified

    def put(self, key: str, value: int | None, due: datetime | None = None) -> driver.Items:
        """Set a value, or with `None` delete the key; a due time replaces that of before."""
        return self.batch([(key, (value, due))])

    def forget_timer(self, key: str) -> None:
        """Take the timer of a key away."""
        self.change(key, lambda cell: setattr(cell, "due", None))

    def content(self) -> Content:
        """Read everything, with the timers that the schedules have."""
        return {key: (value, at) for key, ((value, _), at) in self.contents().items()}

    def kill(self) -> None:
        """End as by `kill -9`, after which its threads do nothing more."""
        self.points.dead = True
        super().kill()
