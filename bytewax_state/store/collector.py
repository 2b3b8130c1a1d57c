"""Python's cyclic garbage collector, kept from looking through state that stays in memory.

Owns what is frozen, and when. A full collection looks at each object that the collector tracks, and at all that a set
or a dict refers to, so the more keys there are, the longer it stops a flow. What `gc.freeze` has frozen is not looked
at any more. Called by the heap column.
"""

import gc
from collections.abc import Sized
from threading import Lock
from typing import Any, ClassVar

GROWTH = 10_000
"""So many more keys make it worth to freeze what there is, and at least a quarter more."""

CALLS = 4
"""After so many calls the values that they made are collected, while they are few and in the processor's cache."""


class Shelter:
    """Freezes what a column has: when it is opened, and behind each full collection since which it has grown.

    All that survives a full collection is in use, so no garbage is frozen. What becomes garbage later is freed as ever,
    unless it is part of a cycle: that stays until the last shelter is closed. Keys that come and go freeze nothing. As
    each freeze but the first finds a quarter more keys than the one before, all of them together have frozen at most
    five times as much as the last one.
    """

    __slots__ = ("_calls", "_is_open", "_keys", "_live")

    _lock: ClassVar[Lock] = Lock()
    _open: ClassVar[int] = 0
    _was_frozen: ClassVar[bool] = False  # whether somebody else had frozen something before the first one was opened

    def __init__(self, live: dict[str, Any]) -> None:
        """Init.

        :arg live: Keys and values of the column.

        """
        self._live: Sized = live
        self._keys = 0  # how many there were when they were frozen last
        self._calls = 0
        self._is_open = True
        # A dict is not tracked, and so not frozen, until it holds something that is. If it came to that later, it would
        # be looked through again for each new tuple that is put into it.
        live[""] = []
        with self._lock:
            Shelter._open += 1
            if self._open == 1:
                Shelter._was_frozen = gc.get_freeze_count() > 0
            gc.collect()
            gc.freeze()
        del live[""]
        gc.callbacks.append(self._on_collection)

    def settle(self) -> None:
        """Collect young values now and then.

        A tuple in the place of another one does not count as an allocation. Collections would come so rarely that they
        find as many young tuples as there are keys.
        """
        self._calls += 1
        if self._calls == CALLS:
            self._calls = 0
            if gc.isenabled():
                gc.collect(1)

    def close(self) -> None:
        """Thaw everything, if no other shelter is open, and nobody else has frozen anything.

        Does nothing the next time.
        """
        if self._is_open:
            self._is_open = False
            gc.callbacks.remove(self._on_collection)
            with self._lock:
                Shelter._open -= 1
                if not (self._open or self._was_frozen):
                    gc.unfreeze()

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2 and len(self._live) >= self._keys + max(GROWTH, self._keys // 4):
            self._keys = len(self._live)
            gc.freeze()
