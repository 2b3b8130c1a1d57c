"""Lanes: how the items of a step travel to its workers, and how key groups are woken for it.

    up ── pack ──┬─ merge ── epoch ── spread ── keys ── unpack ── down
    hello ───────┘

All items of a batch that are for one worker travel as one chunk, under the name of the worker's *anchor*: the last of
its key groups, in the order in which Bytewax calls them. A group of which rows may change has to be awake when the
epoch closes, so that Bytewax asks it for a ref. Therefore there are *wakes*, chunks without items: for each group of
the items, or for all groups of their workers, once in an epoch and in front of the items; or behind single items.

Owns what goes over these steps. It does not own what becomes of a chunk (`group`). Called by Bytewax.
"""

import threading
from collections.abc import Iterable, Sequence
from operator import countOf
from typing import Any, TypeAlias

from bytewax_state.keyed.processor import Item
from bytewax_state.keygroups import group_of, groups_of_workers, names

WAKE_BY_NEED = 16
"""So few items wake the groups of their keys only; more wake all."""

WAKE_ALL_AFTER = 256
"""After so many items in an epoch, all groups are woken."""

SINGLE = 2
"""So few items of a step that may have timers wake the groups of their keys each time, in place of once in an epoch.

Where a group is woken once, later items may set timers for it that Bytewax is not told of, so the group asks to be
called again and again; and Bytewax goes over all groups that ask for something at each activation: 35 ns for each.
"""

Chunk: TypeAlias = tuple[int, int, list[Item], bool]
"""Key group under whose name it travels, epoch, items (none: it is a wake), and whether more items may come for keys of
that group in that epoch without another wake."""


class Parcel(list[Item]):
    """The items of a batch. They go through the step that tells the epoch together, as that makes a call for each."""

    __slots__ = ("behind", "epoch", "in_front", "sender")

    epoch: int
    sender: "Sender"
    in_front: Sequence[tuple[int, bool]]
    """Key groups to wake, each with whether more items may come for it without another wake."""
    behind: Sequence[int]
    """Key groups to wake once the items have come: they are asked then for the timers that these set."""


class Sender:
    """What one worker sends, in one execution."""

    def __init__(self, key_groups: int, workers: int, is_timed: bool) -> None:
        """Init.

        :arg workers: How many workers the execution has.

        :arg is_timed: Whether the step may have timers.

        """
        self._key_groups = key_groups
        self._is_timed = is_timed
        self._names = names(key_groups)
        self._groups = groups_of_workers(key_groups, workers)
        self._anchors = [groups[-1] if groups else None for groups in self._groups]
        self._worker_of = {group: worker for worker, groups in enumerate(self._groups) for group in groups}
        self._epoch: int | None = None
        self._woken: set[int] = set()  # groups that were woken for all items of this epoch
        self._by_need = 0  # how many items may come in this epoch before all groups are woken

    def hello(self) -> Parcel:
        """Make a parcel that wakes all key groups of all workers."""
        parcel = Parcel()
        parcel.in_front = [(group, not self._is_timed) for group in range(self._key_groups)]
        return parcel

    def note_epoch(self, parcel: Parcel, epoch: int) -> None:
        """Address a parcel in an epoch, and add the wakes that it needs there."""
        parcel.sender, parcel.epoch, parcel.behind = self, epoch, ()
        is_first = self._epoch is None
        if epoch != self._epoch:
            self._epoch, self._by_need = epoch, WAKE_ALL_AFTER
            self._woken = set()
        if not parcel:
            self._woken.update(group for group, more in parcel.in_front if more)
        elif len(self._woken) < self._key_groups:
            self._add_wakes(parcel, is_first)
        else:
            parcel.in_front = ()

    def _add_wakes(self, parcel: Parcel, is_first: bool) -> None:
        # What is due at a resume comes before the first item, of whatever key.
        parcel.in_front = [(group, False) for group in self._worker_of] if is_first else []
        if self._is_timed and len(parcel) <= SINGLE:
            parcel.behind = [*self._groups_of(parcel) - self._woken]
            return
        self._by_need -= len(parcel)
        if len(parcel) <= WAKE_BY_NEED and self._by_need > 0:
            wakes = self._groups_of(parcel) - self._woken
        else:
            wakes = self._groups_beside(parcel) - self._woken
        self._woken |= wakes
        parcel.in_front += [(group, True) for group in wakes]

    def _groups_beside(self, items: list[Item]) -> set[int]:
        """Name all groups of the workers that some items are for."""
        if len(self._groups) == 1:
            return set(self._groups[0])
        workers = {self._worker_of[group] for group in self._groups_of(items)}
        return {group for worker in workers for group in self._groups[worker]}

    def _groups_of(self, items: list[Item]) -> set[int]:
        return {group_of(key, self._key_groups) for key, _ in items}

    def unload(self, parcel: Parcel) -> list[tuple[str, Chunk]]:
        """Take a parcel apart.

        :arg parcel: Addressed.

        :returns: Chunks, each under the name that Bytewax routes it by. Bytewax may hand the last ones over an
            activation later than the first.

        """
        epoch, name_of = parcel.epoch, self._names
        out: list[tuple[str, Chunk]] = []
        if parcel.in_front:
            out = [(name_of[group], (group, epoch, [], more)) for group, more in parcel.in_front]
        if parcel:
            for worker, items in self._split(parcel):
                anchor = self._anchors[worker]
                assert anchor is not None
                out.append((name_of[anchor], (anchor, epoch, items, False)))
        if parcel.behind:
            out += [(name_of[group], (group, epoch, [], False)) for group in parcel.behind]
        return out

    def _split(self, items: list[Item]) -> Iterable[tuple[int, list[Item]]]:
        if len(self._groups) == 1:
            return ((0, items),)
        worker_of, key_groups = self._worker_of, self._key_groups
        lanes: dict[int, list[Item]] = {}
        for item in items:
            worker = worker_of[group_of(item[0], key_groups)]
            if worker in lanes:
                lanes[worker].append(item)
            else:
                lanes[worker] = [item]
        return lanes.items()


class Lanes:
    """The lanes of one step: the senders of this process, found by the thread that runs them."""

    def __init__(self, key_groups: int, is_timed: bool) -> None:
        """Init.

        :arg is_timed: Whether the step may have timers.

        """
        self._key_groups = key_groups
        self._is_timed = is_timed
        self._senders: dict[int, Sender] = {}

    def begin(self, workers: int) -> Sender:
        """Begin an execution on the worker of this thread.

        :arg workers: How many workers the execution has.

        :returns: Its sender.

        """
        sender = self._senders[threading.get_ident()] = Sender(self._key_groups, workers, self._is_timed)
        return sender

    def note_epoch(self, step_id: str, item: Any, epoch: int, worker_index: int) -> None:
        """See `Sender.note_epoch`; what is no parcel is passed on."""
        if type(item) is Parcel:
            self._senders[threading.get_ident()].note_epoch(item, epoch)


def pack(batch: list[Any]) -> list[Any]:
    """Make a parcel of a batch.

    :arg batch: Items from upstream.

    :returns: A parcel; or what is no keyed item, for Bytewax to complain about it as it would have.

    """
    if _is_plain(batch):
        return [Parcel(batch)]
    odd = [item for item in batch if not _is_item(item)]
    # A key of a subclass of `str` becomes a `str`, as in Bytewax, before anything asks what it is equal to.
    return odd[:1] or [Parcel([(str.__str__(key), value) for key, value in batch])]


def spread(batch: list[Any]) -> list[Any]:
    """See `Sender.unload`; what is no parcel is passed on."""
    if len(batch) == 1 and type(batch[0]) is Parcel:
        return batch[0].sender.unload(batch[0])
    out: list[Any] = []
    for item in batch:
        if type(item) is Parcel:
            out += item.sender.unload(item)
        else:
            out.append(item)
    return out


def unpack(batch: list[tuple[str, list[Item]]]) -> list[Item]:
    """Join what the key groups of a worker emitted.

    :arg batch: Names of key groups, each with items.

    """
    if len(batch) == 1:
        return batch[0][1]
    return [item for _, items in batch for item in items]


def _is_plain(batch: list[Any]) -> bool:
    """Tell whether all of a batch are pairs whose keys are of `str` itself and can be encoded, quickly."""
    if len(batch) == 1:
        item = batch[0]
        return type(item) is tuple and len(item) == 2 and type(item[0]) is str and item[0].isascii()
    if countOf(map(type, batch), tuple) < len(batch):
        return False
    try:
        keys = [key for key, _ in batch if type(key) is str]
    except ValueError:  # one is no pair
        return False
    return len(keys) == len(batch) and "".join(keys).isascii()


def _is_item(item: Any) -> bool:
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
        return False
    try:
        str.encode(item[0])
    except UnicodeEncodeError:
        return False
    return True
