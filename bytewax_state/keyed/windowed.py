"""What a key of a windowed step has: its time, its open windows, and the values that wait for their turn.

Owns these data, and that times in them are numbers: microseconds since 0001-01-01 UTC. It does not own what changes
them (`clocks`, `windowers`, `windows`), nor their bytes (`window_rows`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from bytewax_state.store.timers import ORIGIN

DAY = 86_400_000_000
SECOND = 1_000_000

NEVER = 1 << 62
"""Behind all times."""

FORGOTTEN = -NEVER
"""Before all times: the timer of a state that is no longer there."""

END = 315_537_897_599_999_999
"""The last of all times, which is what the watermark is at the end of the input."""

ROOM = 8

OUT_OF_RANGE = "date value out of range"
"""What Python says of a time after the last one."""

UNBUILT = object()
"""The accumulator of a window into which nothing was put."""

Entry: TypeAlias = tuple[int, Any]
"""Timestamp and value."""


@dataclass(slots=True, eq=False)
class Window:
    """An open window."""

    id: int
    open_us: int
    close_us: int
    acc: Any = UNBUILT
    merged: list[int] | None = None
    """Ids of the windows that were merged into it; `None`: of none."""


@dataclass(slots=True, eq=False)
class Windowed:
    """The state of a key."""

    now: int
    """The latest time that its clock has read. An event clock of a key never goes back, though the system's may."""
    lead: int
    """By how much its watermark is before the time, which is below zero where it is behind. It is all that an event
    clock keeps: the watermark goes on with the time, until an item sets it further ahead."""
    last_id: int = -1
    """The newest id of a session."""
    windows: dict[int, Window] = field(default_factory=dict)
    """Id to window, in the order in which they were opened."""
    queue: list[Entry] | None = None
    """Values that were not put into windows yet, in the order in which they came; `None`: none. They wait until the
    watermark reaches their timestamps, or as long as nobody can tell whether they were put there."""
    room: int = ROOM
    """How many values may wait before those that can are put into windows."""
    next_us: int = NEVER
    """The watermark at which the first of the windows closes."""
    wake: int = NEVER
    """The watermark at which there is something to do: a window closes, or a queued value has its turn."""
    timer: int = NEVER
    """The time for which the key was scheduled, as far as that is known; it may be early."""


def first_of(entries: Iterable[Entry]) -> int:
    """Return the first timestamp of some entries; `NEVER` if there are none."""
    return min([at for at, _ in entries], default=NEVER)


def microseconds(time: datetime) -> int:
    """Turn a time into a number.

    :arg time: Aware.

    """
    passed = (time if type(time) is datetime else plain(time)) - ORIGIN
    return passed.days * DAY + passed.seconds * SECOND + passed.microseconds


def plain(time: Any) -> Any:
    """Make a time plain. A subclass may subtract in ways of its own, and know no time as early as the origin.

    :returns: The same instant; what is no `datetime` at all is left alone.

    """
    if not isinstance(time, datetime):
        return time
    return datetime.combine(datetime.date(time), datetime.time(time), time.tzinfo)
