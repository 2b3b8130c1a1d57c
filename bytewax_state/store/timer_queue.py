"""The timer queue: when each key of a step on one worker wants to be notified next.

Owns the order over all its key groups: each group has its own queue, so that it can move to another worker, and above
them there is a heap of the groups by their first time, as in Flink's `KeyGroupPartitionedPriorityQueue`. Keys in memory
are scheduled there (`timers`), all others by their rows (`timer_rows`). Called by processors, and by the store at a
freeze.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from bytewax_state.keygroups import group_of
from bytewax_state.store.column import RUN
from bytewax_state.store.rowkeys import timer_key, timer_range
from bytewax_state.store.rows import Row, Rows
from bytewax_state.store.timer_rows import TimerRows
from bytewax_state.store.timers import ORIGIN, Entry, HoldPolicy, Timers, from_microseconds, to_microseconds

Clock = Callable[[], datetime]


class TimerQueue:
    """The due times of all keys of a step on one worker. For one thread at a time."""

    __slots__ = (
        "_at",
        "_due",
        "_entries",
        "_key_groups",
        "_order",
        "_rows",
        "_spilled",
        "_stale",
        "_state",
        "_stored",
        "_timers",
        "_touched",
    )

    def __init__(
        self, rows: Rows | None, state: int, key_groups: int, groups: Collection[int], hold: HoldPolicy
    ) -> None:
        """Init.

        :arg rows: `None`: there are none, and all keys stay in memory.

        :arg state: Number of the state whose timers these are.

        :arg key_groups: Number of key groups.

        :arg groups: Those of this worker.

        :arg hold: For how long keys are held back that are due again right after they were notified.

        """
        self._rows = rows
        self._state = state
        self._key_groups = key_groups
        self._entries: dict[str, Entry] = {}  # of the keys in memory
        self._timers = {group: Timers(self._entries, hold) for group in groups}
        self._spilled = {} if rows is None else {group: TimerRows(rows, group, state, hold) for group in groups}
        self._stored: dict[str, int] = {}  # key in memory to the time of the timer row that it has
        self._stale: set[str] = set()  # keys in memory whose rows may say something else
        self._due: dict[int, datetime] = {}  # key group to when it is due next
        self._order: list[tuple[datetime, int]] = []  # a heap of these; what is not in `_due` does not count
        self._touched: set[int] = set()  # key groups whose next time is to be found anew
        self._at = ORIGIN  # the time at the last call that told it

    def restore(self, groups: Iterable[int]) -> None:
        """Note that some key groups may have rows of an earlier execution."""
        for group in groups:
            if group in self._spilled:
                self._spilled[group].restored()
                self._touched.add(group)

    def has_rows(self, groups: Iterable[int]) -> bool:
        """Tell whether some key groups have timer rows, be their keys in memory or not."""
        rows, state = self._rows, self._state
        return rows is not None and any(True for group in groups for _ in rows.scan_keys(*timer_range(group, state)))

    # -- one key

    def get(self, key: str) -> datetime | None:
        """Return the time that a key in memory asked for; `None` if it is not scheduled."""
        entry = self._entries.get(key)
        return None if entry is None else entry[1]

    def is_due(self, key: str, at: datetime) -> bool:
        """Tell whether a key in memory is to be notified by some time."""
        entry = self._entries.get(key)
        return entry is not None and entry[0] <= at

    def set(self, key: str, due: datetime, now: Clock) -> None:
        """Schedule a key, in place of what it asked for before; see `Timers.set`."""
        entry = self._entries.get(key)
        if entry is not None and entry[1] == due:
            return
        if entry is not None and entry[0] is entry[1] < due:
            # The entry of before stays in the heap of its key group until its turn comes, so nothing else changes.
            self._entries[key] = (due, due, key)
            if self._rows is not None:
                self._stale.add(key)
            return
        self._change(key).set(key, due, now)

    def again(self, key: str, due: datetime, now: datetime) -> None:
        """Schedule a key that was notified right now; see `Timers.again`."""
        self._change(key).again(key, due, now)

    def drop(self, key: str) -> datetime | None:
        """Forget the schedule of a key in memory.

        :arg key: Key; need not be scheduled.

        :returns: The time that it had asked for, if it was.

        """
        return self._change(key).drop(key) if key in self._entries else None

    def load(self, key: str, due_us: int) -> None:
        """Schedule a key that comes into memory by its timer row.

        :arg due_us: Time of that row, in microseconds since 0001-01-01 UTC.

        """
        group, due = group_of(key, self._key_groups), from_microseconds(due_us)
        until = self._spilled[group].taken(key, due) if group in self._spilled else None
        self._timers[group].restore(key, due, until)
        self._stored[key] = due_us
        self._touched.add(group)

    def replace(self, moves: Sequence[tuple[str, int | None, int | None]]) -> None:
        """Set the times of some keys that are not in memory, and write their timer rows.

        :arg moves: Keys, each with the time of its timer row and the one from now on, in microseconds since 0001-01-01
            UTC; `None`: never.

        """
        assert self._rows is not None
        groups = [group_of(key, self._key_groups) for key, _, _ in moves]
        for group, (key, before, _) in zip(groups, moves, strict=True):
            if before is not None:
                self._spilled[group].taken(key, from_microseconds(before))
        self._rows.write(row for group, move in zip(groups, moves, strict=True) for row in self._moved(group, *move))
        for group, (key, _, due) in zip(groups, moves, strict=True):
            if due is not None:
                self._spilled[group].added(key, from_microseconds(due), None)
        self._touched.update(groups)

    def release(self, keys: Sequence[str]) -> None:
        """Let some keys leave memory, and write their timer rows."""
        assert self._rows is not None
        self._rows.write(row for key in keys if key in self._stale for row in self._difference(key))
        self._stale.difference_update(keys)
        for key in keys:
            self._stored.pop(key, None)
            if key in self._entries:
                group = group_of(key, self._key_groups)
                timers = self._timers[group]
                until, due = timers.until(key), timers.drop(key)
                assert due is not None
                self._spilled[group].added(key, due, until)
                self._touched.add(group)

    # -- all keys

    @property
    def is_empty(self) -> bool:
        """Whether no key is scheduled."""
        return not (self._due or self._touched)

    def next_of(self, group: int, now: Clock) -> datetime | None:
        """Say when a key group is due next.

        :arg now: Tells the time.

        :returns: Time; a lower bound. `None`: never.

        """
        if self.is_empty:
            return None
        self._refresh(now)
        return self._due.get(group)

    def next(self, now: Clock, awake: Collection[int], woken_at: Callable[[int], datetime]) -> datetime | None:
        """Say when the worker is due next.

        :arg now: Tells the time.

        :arg awake: Key groups whose keys may be notified now.

        :arg woken_at: Tells when another group is woken, for which what is due in it has to wait.

        :returns: Time; a lower bound. `None`: never.

        """
        if self.is_empty:
            return None
        self._refresh(now)
        order, due = self._order, self._due
        while order and due.get(order[0][1]) != order[0][0]:
            heapq.heappop(order)
        if not order:
            return None
        first, group = order[0]
        if first > self._at or group in awake:
            return first
        return min(at if at > self._at or one in awake else max(at, woken_at(one)) for one, at in due.items())

    def pop(self, now: datetime, groups: Collection[int], known: Callable[[str], bool]) -> list[str]:
        """Take keys that are due off the schedule.

        :arg groups: Only keys of these key groups.

        :arg known: Whether memory knows better about a key than its row; `load` is called for all others that come.

        :returns: Keys, each once: all that are due in memory, and up to a `RUN` of the others in each key group; the
            next time tells of more.

        """
        if self.is_empty:
            return []
        self._refresh(lambda: now)
        due = [group for group, at in self._due.items() if at <= now and group in groups]
        self._touched.update(due)
        keys = [key for group in due for key in self._timers[group].pop(now)]
        if self._rows is not None:
            self._stale.update(keys)
            keys += [key for group in due for key in self._spilled[group].pop(now, known, RUN)]
        return keys

    def settle(self) -> None:
        """Give memory back, at the end of a call of Bytewax's: keys that come and go leave their names here."""
        if len(self._stale) + len(self._stored) > 4 * len(self._entries) + RUN:
            self.flush()

    def flush(self) -> None:
        """Write the timer rows of all keys in memory that have changed."""
        if self._rows is not None:
            self._rows.write(row for key in self._stale for row in self._difference(key))
            self._stale.clear()

    def _change(self, key: str) -> Timers:
        group = group_of(key, self._key_groups)
        self._touched.add(group)
        if self._rows is not None:
            self._stale.add(key)
        return self._timers[group]

    def _refresh(self, now: Clock) -> None:
        """Find the next times of the groups that were touched; of all, if the clock was set back."""
        at = now()
        if at < self._at:
            self._touched.update(self._timers)
        self._at = at
        for group in self._touched:
            due = self._next_of(group, now)
            if due is None:
                self._due.pop(group, None)
            elif due != self._due.get(group):
                self._due[group] = due
                heapq.heappush(self._order, (due, group))
        self._touched.clear()
        if len(self._order) > 8 * len(self._timers) + 64:
            self._order = [(due, group) for group, due in self._due.items()]
            heapq.heapify(self._order)

    def _next_of(self, group: int, now: Clock) -> datetime | None:
        live = self._timers[group].next(now)
        spilled = self._spilled[group].next(now) if self._spilled else None
        return (live or spilled) if live is None or spilled is None else min(live, spilled)

    def _difference(self, key: str) -> Iterator[Row]:
        """Make the rows that are missing, or too many, for what a key asked for."""
        entry, stored = self._entries.get(key), self._stored.pop(key, None)
        due_us = None if entry is None else to_microseconds(entry[1])
        yield from self._moved(group_of(key, self._key_groups), key, stored, due_us)
        if due_us is not None:
            self._stored[key] = due_us

    def _moved(self, group: int, key: str, before_us: int | None, due_us: int | None) -> Iterator[Row]:
        if before_us != due_us:
            if before_us is not None:
                yield timer_key(group, self._state, before_us, key), None
            if due_us is not None:
                yield timer_key(group, self._state, due_us, key), b""
