"""Timer rows: when each key of a key group that is not in memory wants to be notified next.

Owns the order in which their keys are handed out, and that a key is held back which is due again right after it was
notified. It does not own the rows themselves (the timer queue writes them), nor the schedule of the keys in memory
(`timers`), and never looks at a clock. Called by the timer queue.
"""

from collections.abc import Callable
from datetime import datetime

from bytewax_state.store.rowkeys import parse_timer_key, timer_key, timer_range
from bytewax_state.store.rows import Rows
from bytewax_state.store.timers import MIN_PAUSE, ORIGIN, HoldPolicy, from_microseconds, to_microseconds

MAX_BEFORE_FRONTIER = 10_000
"""How many keys may be remembered in memory because they were never handed out and their rows are before the frontier.

Between two calls of Bytewax these are at most the keys of a batch, unless the clock is set back.
"""


class TimerRows:
    """The timer rows of one key group whose keys are not in memory, in the order of their times.

    The frontier parts them. Rows from the frontier on are new: their keys are due when their times say so. Rows before
    the frontier were handed out already, so their keys were notified and at once asked for a time that is past. Such a
    key is held back: passes go over the rows before the frontier, with a pause between two of them. The few keys whose
    rows are before the frontier though they were never handed out are remembered one by one.
    """

    __slots__ = (
        "_before_frontier",
        "_begin",
        "_bound",
        "_cursor",
        "_end",
        "_frontier",
        "_group",
        "_handed_out",
        "_held",
        "_held_at",
        "_hold",
        "_new",
        "_now",
        "_rows",
        "_state",
        "_waiting",
    )

    def __init__(self, rows: Rows, group: int, state: int, hold: HoldPolicy) -> None:
        """Init.

        :arg rows: Of the store.

        :arg state: Number of the state whose timers these are.

        :arg hold: For how long keys are held back.

        """
        self._rows = rows
        self._hold = hold
        self._group = group
        self._state = state
        self._begin, self._end = timer_range(group, state)
        self._frontier = self._begin
        self._new: datetime | None = None  # when the first row from the frontier on is due; a lower bound
        self._before_frontier: dict[str, datetime] = {}  # keys before the frontier that were never handed out
        self._handed_out: set[str] = set()  # keys that were, for the first time, and have yet to come into memory
        self._waiting = False  # whether any key may be held back
        self._held = 0  # how many keys are
        self._held_at = ORIGIN  # when the pause before the next pass began
        self._bound = self._begin  # where that pass ends: what comes to lie behind it is held back for longer
        self._cursor: bytes | None = None  # where the pass under way goes on; `None`: there is none
        self._now = ORIGIN  # the time at the last call that told it

    def restored(self) -> None:
        """Note that the table may hold rows of an earlier execution."""
        self._new = self._first()

    def added(self, key: str, due: datetime, until: datetime | None) -> None:
        """Note that a key which has a row is no longer in memory.

        :arg due: Its time.

        :arg until: Until when its notification is held back; `None`: it is not.

        """
        if self._row(due, key) >= self._frontier:
            self._new = due if self._new is None else min(due, self._new)
        elif until is None:
            self._before_frontier[key] = due
            if len(self._before_frontier) > MAX_BEFORE_FRONTIER:
                self._retreat()
        else:
            if not self._waiting and self._cursor is None:
                self._begin_pause(until - MIN_PAUSE)
            self._waiting = True
            self._held += 1

    def taken(self, key: str, due: datetime) -> datetime | None:
        """Note that a key which has a row comes into memory.

        :arg due: Its time.

        :returns: Until when its notification is held back; `None`: it is not.

        """
        if self._row(due, key) >= self._frontier or self._before_frontier.pop(key, None) is not None:
            return None
        if key in self._handed_out:
            self._handed_out.discard(key)
            return None
        self._held = max(0, self._held - 1)
        return self._not_before()

    def next(self, now: Callable[[], datetime]) -> datetime | None:
        """Say when to ask for due keys.

        :arg now: Tells the time.

        :returns: Time; a lower bound. `None`: never.

        """
        if self._cursor is not None:
            return ORIGIN
        due = self._new
        if self._before_frontier:
            due = _earlier(due, min(self._before_frontier.values()))
        if self._waiting:
            self._mind_clock(now())
            due = _earlier(due, self._not_before())
        return due

    def pop(self, now: datetime, known: Callable[[str], bool], limit: int) -> list[str]:
        """Hand out keys that are due: those that were never notified first, so that nothing makes them late.

        :arg known: Whether memory knows better about a key than its row.

        :arg limit: The most keys to return; `next` tells whether there are more.

        :returns: Keys, each once.

        """
        self._mind_clock(now)
        passes, bound = self._cursor is not None or (self._waiting and self._not_before() <= now), self._bound
        keys = self._pop_before_frontier(now, limit)
        keys += self._pop_new(now, known, limit - len(keys))
        self._handed_out = set(keys)
        if passes and len(keys) < limit:
            keys += self._pop_held(now, known, bound, limit - len(keys))
        return keys

    def _pop_before_frontier(self, now: datetime, limit: int) -> list[str]:
        keys = [key for key, due in self._before_frontier.items() if due <= now][:limit]
        for key in keys:
            del self._before_frontier[key]
        return keys

    def _pop_new(self, now: datetime, known: Callable[[str], bool], limit: int) -> list[str]:
        end = self._after(now)
        if self._new is None or self._new > now:
            self._frontier = max(end, self._frontier)
            return []
        keys, rest = self._take(self._frontier, end, lambda key: not known(key), limit)
        self._frontier = rest or max(end, self._frontier)
        if rest is None:
            self._new = self._first()
        return keys

    def _pop_held(self, now: datetime, known: Callable[[str], bool], bound: bytes, limit: int) -> list[str]:
        """Go on with the pass, or begin one."""
        if self._cursor is None:
            self._cursor = self._begin
            # The pass hands out all that is before its bound. What has to wait again is added again.
            self._waiting = bound < self._frontier
        before, out = self._before_frontier, self._handed_out
        keys, self._cursor = self._take(
            self._cursor, bound, lambda key: not (key in out or key in before or known(key)), limit
        )
        if self._cursor is None:
            self._begin_pause(now)
        return keys

    def _take(
        self, begin: bytes, end: bytes, fits: Callable[[str], bool], limit: int
    ) -> tuple[list[str], bytes | None]:
        """Return keys of rows, and the row at which to go on; `None`: there are no more."""
        keys: list[str] = []
        for row in self._rows.scan_keys(begin, end):
            if len(keys) == limit:
                return keys, row
            key = parse_timer_key(row)[3]
            if fits(key):
                keys.append(key)
        return keys, None

    def _begin_pause(self, now: datetime) -> None:
        self._held_at = now
        self._bound = self._frontier

    def _not_before(self) -> datetime:
        return self._held_at + self._hold.pause(self._held)

    def _mind_clock(self, now: datetime) -> None:
        """Begin the pause anew if the clock was set back, or it would last until the clock is again as late."""
        if now < self._now:
            self._held_at = min(self._held_at, now)
        self._now = now

    def _retreat(self) -> None:
        """Set the frontier back to the first row, and forget all keys; those held back come once without a pause."""
        self._frontier = self._bound = self._begin
        self._cursor, self._waiting, self._held = None, False, 0
        self._before_frontier.clear()
        self._new = self._first()

    def _first(self) -> datetime | None:
        for row in self._rows.scan_keys(self._frontier, self._end):
            return from_microseconds(parse_timer_key(row)[2])
        return None

    def _row(self, due: datetime, key: str) -> bytes:
        return timer_key(self._group, self._state, to_microseconds(due), key)

    def _after(self, now: datetime) -> bytes:
        """Return the end of the range of rows that are due, exclusive."""
        return timer_key(self._group, self._state, to_microseconds(now) + 1, "")[:-4]


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
