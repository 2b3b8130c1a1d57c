"""The visit: after a resume, each restored object is asked once when it wants to be notified.

Owns how far the visit to a key group has come, and how much of it a worker does at once. It does not own the rows
(`states`). Bytewax asks all of them before the first item. A store on disk may have more than can be read in that
time, so it asks those that are loaded first, and all others some at a time. Called by the states of a step's logics.
"""

from datetime import datetime, timedelta

from bytewax_state.keyed.hold import SECONDS_EACH
from bytewax_state.store.timers import ORIGIN
from bytewax_state.store.values import MARK_BYTES, Value

TURN = 250
"""How many objects are asked in one turn, in all key groups of a worker together."""

SHARE = 4
"""How many times as long as a turn took the worker is left alone before the next one, at least."""


class Pace:
    """When the key groups of a store go on with their visits, so that these do not hold the flow."""

    __slots__ = ("_began", "_left", "_next", "_spent", "mark")

    def __init__(self, mark: bytes) -> None:
        """Init.

        :arg mark: Of the rows that the store writes before a visit is through.

        """
        assert len(mark) == MARK_BYTES
        self.mark = mark
        self._next = ORIGIN  # when the next turn begins
        self._began = ORIGIN
        self._left = 0
        self._spent = timedelta(0)  # in this turn

    def next(self, now: datetime) -> datetime:
        """Say when the next turn begins.

        :arg now: Current time; if the clock was set back, that is at once.

        """
        return ORIGIN if now < self._began else self._next

    def begin(self, now: datetime) -> int:
        """Begin a turn, or a further part of the one under way.

        :returns: How many objects may be asked.

        """
        if now >= self.next(now):
            self._left, self._spent = TURN, timedelta(0)
            self._next = now + timedelta(seconds=TURN * SECONDS_EACH)
        self._began = now
        return self._left

    def end(self, asked: int, now: datetime) -> None:
        """End what `begin` allowed.

        :arg asked: How many objects were asked.

        """
        self._left -= asked
        self._spent += now - self._began
        self._next = max(self._next, now + SHARE * self._spent)


class Visit:
    """How far the visit to a key group has come."""

    __slots__ = ("_mark", "at", "end")

    def __init__(self, pace: Pace, begin: bytes, end: bytes) -> None:
        """Init.

        :arg pace: Of the store.

        :arg begin: First row key of the group's values.

        :arg end: End of them, exclusive.

        """
        self._mark = pace.mark
        self.at = begin
        """First row key that was not visited."""
        self.end = end

    def knows(self, row_key: bytes, value: Value) -> bool:
        """Tell whether the object of a row was asked in this execution.

        :arg row_key: Key of the row.

        :arg value: Value of the row.

        """
        return row_key < self.at or value.mark == self._mark
