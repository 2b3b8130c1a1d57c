"""For how long keys are held back that ask for a time already past, right after they were notified.

Bytewax brings such a key back at every activation. Its event-time windows over old events ask for times that are always
past, so each batch would notify every open key, mostly to no effect; and where that takes longer than the keys are held
back, nothing else would get a turn. Asked by the timer queue of a step whose objects are logics.
"""

from collections.abc import Sized
from datetime import timedelta

from bytewax_state.store.timers import MIN_PAUSE

SECONDS_EACH = 0.0001
"""How long such a notification is held back for each other one."""

SHARE = 3
"""How many times as long as their notifications take such keys are held back, at least."""


class Hold:
    """How long the keys of a worker are held back."""

    __slots__ = ("_peers", "_seconds_each")

    def __init__(self, peers: Sized) -> None:
        """Init.

        :arg peers: The key groups of the worker, which share a thread.

        """
        self._peers = peers
        self._seconds_each = SECONDS_EACH

    def pause(self, keys: int) -> timedelta:
        """Say how long.

        :arg keys: How many such keys a key group has.

        :returns: `MIN_PAUSE`, and for many keys longer: at most 10,000 come in a second, and fewer if they take long.

        """
        return max(MIN_PAUSE, timedelta(seconds=keys * len(self._peers) * self._seconds_each))

    def note(self, keys: int, spent: timedelta) -> None:
        """Note how long it took to notify some keys.

        :arg keys: How many; not zero.

        :arg spent: Time; below zero if the clock was set back meanwhile.

        """
        lately = SHARE * spent.total_seconds() / keys
        self._seconds_each = max(SECONDS_EACH, (self._seconds_each + lately) / 2)
