"""Timers: when each key of a key group wants to be notified next.

Owns the schedule of the keys that are live, in memory, and the passes over the timer rows of the keys that are spilled.
It does not own the rows themselves (a slice writes them beside the value rows) and never looks at a clock.
Called by the slices of the stores and, through them, by the logic of a key group.
"""

import heapq
from collections.abc import Callable, Sized
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from bytewax_state.keygroups import parse_timer_key, timer_key, timer_range
from bytewax_state.store.table import Table

ORIGIN = datetime.min.replace(tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)

MOMENT = timedelta(milliseconds=100)
"""How long a notification that came, and is at once due again, stays away at least."""

SECONDS_EACH = 0.0001
"""How long such a notification stays away for each other one."""


def pause(keys: int) -> timedelta:
    """Say how long notifications that came, and are at once due again, stay away.

    Bytewax brings them back at every activation. Its event-time windows over old events ask for times that are always
    past, so each batch would notify every open key, mostly to no effect. So few at a time leave the worker free.

    :arg keys: How many such keys there are, on this worker.

    :returns: A `MOMENT`, and for many keys longer: at most 10,000 come in a second.

    """
    return max(MOMENT, timedelta(seconds=keys * SECONDS_EACH))


def to_microseconds(due: datetime) -> int:
    """Turn a due time into the number that timer rows sort by.

    :arg due: Aware time.

    :returns: Microseconds since 0001-01-01 UTC; never negative.

    """
    return max(0, (due - ORIGIN) // MICROSECOND)


def from_microseconds(due_us: int) -> datetime:
    """Turn the number of a timer row back into a time.

    :arg due_us: Microseconds since 0001-01-01 UTC.

    :returns: The time, in UTC.

    """
    return ORIGIN + timedelta(microseconds=due_us)


Entry: TypeAlias = tuple[datetime, datetime, str]
"""When to notify, the time that was asked for, and the key."""


class Timers:
    """The due times of the live keys of one key group: a heap with lazy deletion."""

    __slots__ = ("_again", "_entries", "_heap", "_peers")

    def __init__(self, peers: Sized) -> None:
        """Init.

        :arg peers: The key groups that share a thread, this one among them.

        """
        self._peers = peers
        self._entries: dict[str, Entry] = {}
        self._heap: list[Entry] = []  # an entry that is not the one of its key does not count
        self._again: set[str] = set()  # keys that were notified, and were at once due again

    def set(self, key: str, due: datetime, now: Callable[[], datetime]) -> None:
        """Schedule a key, in place of what it asked for before.

        :arg key: Key.

        :arg due: Aware time. One that is past comes next, unless the key waits already, see `again`.

        :arg now: Tells the time.

        """
        entry = self._entries.get(key)
        if entry is None:
            self._push((due, due, key))
        elif entry[1] != due:
            waits = key in self._again and due <= now()
            self._push((entry[0] if waits else due, due, key))

    def restore(self, key: str, due: datetime) -> None:
        """Schedule a key that just became live.

        :arg key: Key; not scheduled.

        :arg due: Aware time.

        """
        self._push((due, due, key))

    def again(self, key: str, due: datetime, now: datetime) -> None:
        """Schedule a key that was notified right now.

        :arg key: Key.

        :arg due: Aware time; if it is already past, the notification comes after a `pause`.

        :arg now: Current time.

        """
        if due > now:
            self._push((due, due, key))
            return
        self._again.add(key)
        self._push((now + pause(len(self._again) * len(self._peers)), due, key))

    def get(self, key: str) -> datetime | None:
        """Return the time that a key asked for.

        :arg key: Key.

        :returns: Time, or `None` if it is not scheduled.

        """
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def drop(self, key: str) -> datetime | None:
        """Forget the schedule of a key.

        :arg key: Key; need not be scheduled.

        :returns: The time that it had asked for, if it was.

        """
        self._again.discard(key)
        entry = self._entries.pop(key, None)
        return None if entry is None else entry[1]

    def next(self) -> datetime | None:
        """Say when the first live key is due.

        :returns: Time, or `None` if none is scheduled.

        """
        heap, entries = self._heap, self._entries
        while heap:
            first = heap[0]
            if entries.get(first[2]) is first:
                return first[0]
            heapq.heappop(heap)
        return None

    def pop(self, now: datetime) -> list[str]:
        """Take the keys that are due off the schedule.

        :arg now: Current time.

        :returns: Keys, each once, in the order of their times.

        """
        keys: list[str] = []
        while (fire := self.next()) is not None and fire <= now:
            key = heapq.heappop(self._heap)[2]
            del self._entries[key]
            self._again.discard(key)
            keys.append(key)
        return keys

    def _push(self, entry: Entry) -> None:
        self._entries[entry[2]] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + 64:
            # Keys that are spilled and come back leave an entry each time.
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)


class TimerRows:
    """The timer rows of one key group whose keys are not live.

    They are served in passes. A pass goes once over the rows that are due, in order, a limited number at a time; the
    next one begins when the first row is due, and not before a pause.
    """

    __slots__ = ("_begin", "_cursor", "_end", "_group", "_not_before", "_passed", "_peers", "_state", "_table", "next")

    def __init__(self, table: Callable[[], Table], group: int, state: int, peers: Sized) -> None:
        """Init.

        :arg table: Gives the table that holds the rows.

        :arg group: Key group.

        :arg state: Number of the state whose timers these are.

        :arg peers: The key groups that share a thread, this one among them.

        """
        self._table = table
        self._peers = peers
        self._passed = 0  # keys in this pass
        self._group = group
        self._state = state
        self._begin, self._end = timer_range(group, state)
        self._cursor = self._begin
        self._not_before = ORIGIN
        self.next: datetime | None = None
        """When to ask for due keys; a lower bound. `None`: never."""

    def restored(self) -> None:
        """Note that the table may hold rows of an earlier execution."""
        self.next = self._first()

    def added(self, due: datetime) -> None:
        """Note that a row was written for a key that is no longer live.

        :arg due: Its time.

        """
        at = max(due, self._not_before)
        if self.next is None or at < self.next:
            self.next = at

    def pop(self, now: datetime, known: Callable[[str], bool], limit: int) -> list[str]:
        """Go on with the pass over the rows that are due.

        :arg now: Current time.

        :arg known: Whether memory knows better about a key than its row.

        :arg limit: The most keys to return; the pass goes on at the next call.

        :returns: Keys, in the order of their times.

        """
        if self.next is None or self.next > now:
            return []
        keys: list[str] = []
        for row in self._table().scan_keys(self._cursor, self._after(now)):
            key = parse_timer_key(row)[3]
            if not known(key):
                keys.append(key)
                if len(keys) == limit:
                    self._passed += limit
                    self._cursor = row + b"\0"
                    return keys
        self._end_pass(now, self._passed + len(keys))
        return keys

    def _end_pass(self, now: datetime, passed: int) -> None:
        self._cursor = self._begin
        self._passed = 0
        self._not_before = now + pause(passed * len(self._peers))
        first = self._first()
        self.next = None if first is None else max(first, self._not_before)

    def _first(self) -> datetime | None:
        for row in self._table().scan_keys(self._begin, self._end):
            return from_microseconds(parse_timer_key(row)[2])
        return None

    def _after(self, now: datetime) -> bytes:
        """Return the end of the range of rows that are due, exclusive."""
        return timer_key(self._group, self._state, to_microseconds(now) + 1, "")[:-4]
