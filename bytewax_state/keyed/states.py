"""The states of a step that are objects with a time of their own, as Bytewax's logics are: column, timers and visits.

Owns that the row of an object also says when it wants to be notified, and that each restored object is asked once: what
its row says is the answer of another execution, which may have had other code. It does not own the calls on the objects
(a processor makes them), nor their bytes (`Objects`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Generic, Protocol, TypeVar

from bytewax_state.keyed.hold import Hold
from bytewax_state.keyed.visit import Pace, Visit
from bytewax_state.keygroups import group_of
from bytewax_state.registry import LOGIC_ID
from bytewax_state.store.column import RUN
from bytewax_state.store.rowkeys import value_key, value_range
from bytewax_state.store.store import Store
from bytewax_state.store.timers import to_microseconds
from bytewax_state.store.values import Value, make_value, parse_value

T = TypeVar("T")


class Objects(Protocol[T]):
    """What is known of the objects."""

    expects_timers: bool
    """Whether one may ever want to be notified, so that restored ones are asked."""

    def dump(self, key: str, item: T) -> bytes:
        """Serialise an object for a snapshot.

        :raises UsageError: If it cannot be.

        """
        ...

    def load(self, key: str, data: bytes) -> T:
        """Rebuild an object."""
        ...

    def due(self, key: str, item: T) -> datetime | None:
        """Ask an object when it wants to be notified."""
        ...

    def spill(self, key: str, item: T) -> bytes | None:
        """Serialise an object in order to take it out of memory.

        :returns: `None` if it would not come back the same, so has to stay.

        """
        ...


class States(Generic[T]):
    """The objects of a step on one worker; they are the cells of a column."""

    def __init__(
        self, store: Store, key_groups: int, objects: Objects[T], mark: bytes, now: Callable[[], datetime]
    ) -> None:
        """Init.

        :arg store: Where they are kept.

        :arg key_groups: Number of key groups.

        :arg objects: What is known of them.

        :arg mark: Eight bytes that no other store has.

        :arg now: Tells the time.

        """
        self._store = store
        self._key_groups = key_groups
        self._objects = objects
        self._now = now
        self._pace = Pace(mark)
        self._visits: dict[int, Visit] = {}  # key group to the visit to its restored objects, until it is through
        self.asked: list[str] = []
        """Live keys whose objects a fetch has asked for the first time, with another answer than before, until
        `pop_asked`."""
        self.hold = Hold(store.groups)
        self.column = store.column(self)
        self.timers = store.timers(self.hold)

    @property
    def groups(self) -> Collection[int]:
        """All key groups of the worker."""
        return self._store.groups

    def restore(self) -> None:
        """Take over the objects of an earlier execution."""
        # Other code may have set timers for objects that now are of a class without any.
        if self._objects.expects_timers or self.timers.has_rows(self._store.restored):
            self._visits = {group: Visit(self._pace, *value_range(group, LOGIC_ID)) for group in self._store.restored}
        self._store.restore()
        if not self.column.has_cold:
            self._visits.clear()
            self.asked.clear()

    # -- cells

    def dump(self, keys: Sequence[str], items: Sequence[T]) -> list[bytes]:
        """See `Cells.dump`."""
        return [self._row(key, self._objects.dump(key, item)) for key, item in zip(keys, items, strict=True)]

    def spill(self, keys: Sequence[str], items: Sequence[T]) -> Sequence[bytes | None]:
        """See `Cells.spill`."""
        found = [(key, self._objects.spill(key, item)) for key, item in zip(keys, items, strict=True)]
        return [None if data is None else self._row(key, data) for key, data in found]

    def load(self, keys: Sequence[str], rows: Sequence[bytes]) -> list[T]:
        """See `Cells.load`; an object that was not asked yet is."""
        return [*map(self._load, keys, rows)]

    def _load(self, key: str, row: bytes) -> T:
        value = parse_value(row)
        item = self._objects.load(key, value.data)
        if value.due_us is not None:
            self.timers.load(key, value.due_us)
        if self._visits and not self._is_asked(key, value):
            self._ask(key, item)
        return item

    def release(self, keys: Sequence[str]) -> None:
        """See `Cells.release`."""
        self.timers.release(keys)

    def settle(self) -> None:
        """Give memory back, at the end of a call of Bytewax's."""
        self.column.settle()
        self.timers.settle()

    def _row(self, key: str, data: bytes) -> bytes:
        due = self.timers.get(key)
        # The visit skips a row that this execution wrote, as its object was asked.
        mark = self._pace.mark if self._visits else b""
        return make_value(None if due is None else to_microseconds(due), mark, data)

    def _is_asked(self, key: str, value: Value) -> bool:
        group = group_of(key, self._key_groups)
        visit = self._visits.get(group)
        return visit is None or visit.knows(value_key(group, LOGIC_ID, key), value)

    def _ask(self, key: str, item: T) -> None:
        stored = self.timers.drop(key)
        due = self._objects.due(key, item)
        if due is not None:
            self.timers.set(key, due, self._now)
        if due != stored:
            self.column.change([key])
            self.asked.append(key)

    # -- what is due

    def next_of(self, group: int) -> datetime | None:
        """See `Processor.next_of`."""
        return self._or_visit(group, self.timers.next_of(group, self._now))

    def next(self, group: int, awake: Collection[int], woken_at: Callable[[int], datetime]) -> datetime | None:
        """See `Processor.next`."""
        return self._or_visit(group, self.timers.next(self._now, awake, woken_at))

    def _or_visit(self, group: int, due: datetime | None) -> datetime | None:
        if group not in self._visits:
            return due
        turn = self._pace.next(self._now())
        return turn if due is None else min(due, turn)

    @property
    def has_timers(self) -> bool:
        """Whether a key is scheduled."""
        return self.timers.next(self._now, self.groups, lambda group: self._now()) is not None

    def is_due(self, now: datetime) -> bool:
        """Tell whether a key is due by some time."""
        due = self.timers.next(lambda: now, self.groups, lambda group: now)
        return due is not None and due <= now

    def pop_due(self, now: datetime, groups: Collection[int]) -> Iterator[list[str]]:
        """Take keys that are due off the schedule.

        :arg groups: Only keys of these key groups.

        :returns: Runs of live keys, in the order of the keys. Between two of them the column may be settled.

        """
        due = sorted(self.timers.pop(now, groups, self.column.knows))
        # Told here, not for each run: a key that leaves memory between two of them was asked, and is off the schedule.
        unasked = {key for key in due if key not in self.column.live} if self._visits else set[str]()
        keys = iter(due)
        while run := list(islice(keys, RUN)):
            yield self._fetch_due(run, unasked, now)

    def _fetch_due(self, keys: list[str], unasked: set[str], now: datetime) -> list[str]:
        """Make keys live; what the row of a restored object says is only when to ask it."""
        live = self.column.fetch(keys)
        self.asked.clear()
        return [key for key in keys if key in live and (key not in unasked or self._wants(key, now))]

    def pop_asked(self, now: datetime) -> list[str]:
        """Name the live keys that are due, of those whose objects a fetch has asked for the first time, and which
        answered something else than their rows do.

        :returns: Keys, in their order.

        """
        due = sorted(key for key in self.asked if self._wants(key, now))
        self.asked.clear()
        return due

    def _wants(self, key: str, now: datetime) -> bool:
        due = self.timers.get(key)
        return due is not None and due <= now

    # -- visits

    def visit(self, group: int) -> None:
        """Ask some of the restored objects of a key group when they want to be notified, if it is time for that.

        An object that answers what its row says leaves no trace.
        """
        if group in self._visits and (limit := self._pace.begin(self._now())):
            self._pace.end(self._visit(group, limit), self._now())

    def visit_all(self) -> None:
        """Ask all restored objects that were not asked yet."""
        for group in list(self._visits):
            while group in self._visits:
                self._visit(group, RUN)

    def _visit(self, group: int, limit: int) -> int:
        visit = self._visits[group]
        found = list(islice(self.column.scan(visit.at, visit.end), limit))
        moved = [move for key, row in found if (move := self._moved(key, parse_value(row)))]
        self.column.rewrite({key: make_value(due_us, self._pace.mark, value.data) for key, value, due_us in moved})
        self.timers.replace([(key, value.due_us, due_us) for key, value, due_us in moved])
        if len(found) < limit:
            del self._visits[group]
        else:
            visit.at = value_key(group, LOGIC_ID, found[-1][0]) + b"\0"
        return len(found)

    def _moved(self, key: str, value: Value) -> tuple[str, Value, int | None] | None:
        """Ask the object of a row; return it with its time, if that is another one now."""
        if self.column.knows(key) or value.mark == self._pace.mark:
            return None
        due = self._objects.due(key, self._objects.load(key, value.data))
        due_us = None if due is None else to_microseconds(due)
        return None if due_us == value.due_us else (key, value, due_us)
