"""Alarms: flows of steps in a row that are all about time, in which each timer can be told from every other one.

Owns what such a step does, and a log of what was asked for and when it came. It does not own what the flow is put
through. Called by the tests of lanes.
"""

import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import bytewax.operators as op
from bytewax.dataflow import Stream
from bytewax.operators import StatefulBatchLogic

SLOW = "slow"
"""A key of which a snapshot takes its time, so that the worker that has it stands still."""

SECONDS = [0, 0, 0.02, 0.15, 0.3]


def now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class Log:
    """What became of all alarms, in all executions."""

    asked: dict[str, datetime] = field(default_factory=dict)
    """Tag of an alarm to when it was to come."""
    rang: list[tuple[str, datetime]] = field(default_factory=list)
    """Tags of those that came, and when."""

    def again(self) -> list[str]:
        """Name the alarms that came more than once."""
        return [tag for tag, count in Counter(tag for tag, _ in self.rang).items() if count > 1]

    def late(self, by: timedelta) -> list[str]:
        """Name the alarms that came too late, or not at all."""
        came = dict(self.rang)
        return [tag for tag, due in self.asked.items() if came.get(tag, now()) > due + by]

    def early(self) -> list[str]:
        return [tag for tag, at in self.rang if at < self.asked[tag]]


class Alarm(StatefulBatchLogic[Any, Any, Any]):
    """Emits each value when its time has come: a tag, and how many seconds from now that is."""

    log: ClassVar[Log]
    level: ClassVar[int]
    slow: ClassVar[float]

    def __init__(self, state: Any) -> None:
        self.key, self.alarms = state or ("", [])

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        for key, tag, seconds in values:
            self.key, due = key, now() + timedelta(seconds=seconds)
            self.alarms.append((due, tag))
            self.log.asked[f"{tag} at {self.level}"] = due
        return [], False

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        at = now()
        due = [tag for due, tag in self.alarms if due <= at]
        self.alarms = [(due, tag) for due, tag in self.alarms if due > at]
        self.log.rang += [(f"{tag} at {self.level}", at) for tag in due]
        return due, not self.alarms

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [tag for _, tag in self.alarms], True

    def notify_at(self) -> datetime | None:
        return min((due for due, _ in self.alarms), default=None)

    def snapshot(self) -> Any:
        if self.key == SLOW:
            time.sleep(self.slow)
        return self.key, list(self.alarms)


def value(key: str, tag: str) -> tuple[str, Any]:
    """Make an item of a tag, which says in how many seconds its time comes."""
    return key, (key, tag, SECONDS[zlib.crc32(tag.encode()) % len(SECONDS)])


def steps(up: Stream[Any], log: Log, count: int, slow: float = 0) -> Stream[Any]:
    """Put some steps in a row, each of which sends on by other keys what comes of its timers.

    :arg slow: How many seconds a snapshot of the slow key takes.

    """
    for level in range(count):
        logic = type("Alarm", (Alarm,), {"log": log, "level": level, "slow": slow})
        rung = op.stateful_batch(f"s{level}", up, logic)
        up = op.map(f"on{level}", rung, lambda item: value(f"r{zlib.crc32(item[1].encode()) % 40}", item[1] + "+"))
    return up
