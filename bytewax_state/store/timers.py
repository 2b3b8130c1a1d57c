"""Timers: when each key of a key group that is in memory wants to be notified next.

Owns their schedule, and that a key is held back which is due again right after it was notified. It does not own for how
long (who notifies tells), nor the schedule of the keys that are rows only (`timer_rows`), and never looks at a clock.
Called by the timer queue.
"""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Protocol, TypeAlias

ORIGIN = datetime.min.replace(tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)

MIN_PAUSE = timedelta(milliseconds=100)
"""How long a notification that came, and is at once due again, is held back at least."""


class HoldPolicy(Protocol):
    """For how long keys are held back that ask for a time already past, right after they were notified."""

    def pause(self, keys: int) -> timedelta:
        """Say how long.

        :arg keys: How many such keys a key group has.

        :returns: At least `MIN_PAUSE`.

        """
        ...


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
    """The due times of the keys of one key group that are in memory: a heap with lazy deletion.

    An entry that was put off stays in the heap, and is replaced when its turn comes.
    """

    __slots__ = ("_entries", "_heap", "_held", "_held_at", "_hold", "_queued", "_sound")

    def __init__(self, entries: dict[str, Entry], hold: HoldPolicy) -> None:
        """Init.

        :arg entries: Key to its entry, of all key groups of the worker.

        :arg hold: For how long keys are held back.

        """
        self._hold = hold
        self._entries = entries
        self._heap: list[Entry] = []
        self._queued: dict[str, Entry] = {}  # key to its one entry in the heap that counts; its own is not earlier
        self._sound = 0  # how many entries counted when the others were last thrown out
        self._held: set[str] = set()  # keys that were notified, and were at once due again
        self._held_at = ORIGIN  # when the last of them was held back

    def set(self, key: str, due: datetime, now: Callable[[], datetime]) -> None:
        """Schedule a key, in place of what it asked for before.

        :arg due: Aware time. One that is past comes next, unless the key is held back, see `again`.

        :arg now: Tells the time.

        """
        entry = self._entries.get(key)
        if entry is not None and entry[1] == due:
            return
        if entry is not None and key in self._held and due <= now():
            self._push((entry[0], due, key))
            return
        # What is due later than now was not at once due again.
        self._held.discard(key)
        self._push((due, due, key))

    def restore(self, key: str, due: datetime, until: datetime | None = None) -> None:
        """Schedule a key that just became live.

        :arg key: Key; not scheduled.

        :arg due: Aware time.

        :arg until: Until when its notification is held back; `None`: it is not.

        """
        if until is not None:
            self._held.add(key)
        self._push((until or due, due, key))

    def again(self, key: str, due: datetime, now: datetime) -> None:
        """Schedule a key that was notified right now.

        :arg due: Aware time; if it is already past, the notification comes after a `pause`.

        """
        if due > now:
            self._push((due, due, key))
            return
        self._held.add(key)
        self._held_at = now
        self._push((now + self._hold.pause(len(self._held)), due, key))

    def get(self, key: str) -> datetime | None:
        """Return the time that a key asked for.

        :returns: Time, or `None` if it is not scheduled.

        """
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def until(self, key: str) -> datetime | None:
        """Say until when the notification of a key is held back.

        :returns: Time; `None`: it is not.

        """
        return self._entries[key][0] if key in self._held else None

    def drop(self, key: str) -> datetime | None:
        """Forget the schedule of a key.

        :arg key: Key; need not be scheduled.

        :returns: The time that it had asked for, if it was.

        """
        self._held.discard(key)
        entry = self._entries.pop(key, None)
        return None if entry is None else entry[1]

    def next(self, now: Callable[[], datetime]) -> datetime | None:
        """Say when the first live key is due.

        :arg now: Tells the time.

        :returns: Time, or `None` if none is scheduled.

        """
        if not self._heap:
            return None
        if self._held and now() < self._held_at:
            self._release()
        return self._first()

    def pop(self, now: datetime) -> list[str]:
        """Take the keys that are due off the schedule.

        :returns: Keys, each once, in the order of their times.

        """
        keys: list[str] = []
        while (fire := self._first()) is not None and fire <= now:
            key = heapq.heappop(self._heap)[2]
            del self._entries[key], self._queued[key]
            self._held.discard(key)
            keys.append(key)
        return keys

    def _first(self) -> datetime | None:
        heap, entries, queued = self._heap, self._entries, self._queued
        while heap:
            first = heap[0]
            key = first[2]
            if queued.get(key) is not first:
                heapq.heappop(heap)
                continue
            entry = entries.get(key)
            if entry is first:
                return first[0]
            if entry is None:
                heapq.heappop(heap)
                del queued[key]
            else:
                heapq.heapreplace(heap, entry)
                queued[key] = entry
        return None

    def _release(self) -> None:
        """Hold nothing back: the clock was set back, and the pauses would last until it is again as late as it was."""
        for key in self._held:
            due = self._entries[key][1]
            self._push((due, due, key))
        self._held.clear()

    def _push(self, entry: Entry) -> None:
        self._entries[entry[2]] = entry
        queued = self._queued.get(entry[2])
        if queued is not None and queued[0] <= entry[0]:
            return
        self._queued[entry[2]] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * self._sound + 64:
            self._throw_out()

    def _throw_out(self) -> None:
        """Forget the entries that do not count: a key leaves one each time that it is set to an earlier time, or is
        forgotten before its turn comes.
        """
        entries = self._entries
        self._queued = {key: entries[key] for key in self._queued if key in entries}
        self._heap = list(self._queued.values())
        heapq.heapify(self._heap)
        self._sound = len(self._heap)
