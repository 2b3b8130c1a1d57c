"""Lanes: how the items of a step travel to its workers, and how key groups are woken for it.

    up ── pack ──┬─ merge ── epoch ── spread ── keys ── unpack ── down
    hello ───────┘

All items of a batch that are for one worker travel as one chunk, under the name of the worker's *anchor*: the last of
its key groups, in the order in which Bytewax calls them. A group of which rows may change has to be awake when the
epoch closes, so that Bytewax asks it for a ref. Therefore *wakes*, chunks without items, go in front: to each group of
the items, or to all groups of their workers, once in an epoch.

Owns what goes over these steps. It does not own what becomes of a chunk (`group`). Called by Bytewax.
"""

import threading
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, TypeAlias

from bytewax_state.keyed.processor import Item
from bytewax_state.keygroups import group_of, groups_of_workers, names

FEW = 16
"""So few items wake the groups of their keys only; more wake all."""

MANY = 256
"""After so many items in an epoch, all groups are woken."""

Chunk: TypeAlias = tuple[int, int, list[Item]]
"""Key group under whose name it travels, epoch, and items; without items it is a wake."""

_key_of = itemgetter(0)


class Parcel:
    """The items of a batch, by worker. They go through the step that tells the epoch together, as that makes a call for
    each.
    """

    __slots__ = ("epoch", "lanes", "sender", "wakes")

    def __init__(self, sender: "Sender", lanes: list[tuple[int, list[Item]]], wakes: list[int]) -> None:
        """Init.

        :arg sender: Whose parcel it is.

        :arg lanes: Worker indices, each with the items for it.

        :arg wakes: Key groups to wake.

        """
        self.sender = sender
        self.lanes = lanes
        self.wakes = wakes
        self.epoch = 0


class Sender:
    """What one worker sends, in one execution."""

    def __init__(self, key_groups: int, workers: int) -> None:
        """Init.

        :arg key_groups: Number of key groups.

        :arg workers: How many workers the execution has.

        """
        self._key_groups = key_groups
        self._names = names(key_groups)
        self._groups = groups_of_workers(key_groups, workers)
        self._anchors = [(self._names[groups[-1]], groups[-1]) if groups else ("", -1) for groups in self._groups]
        self._worker_of = {group: worker for worker, groups in enumerate(self._groups) for group in groups}
        self._epoch: int | None = None
        self._asleep: list[set[int]] = []  # by worker: groups that were not woken in this epoch
        self._few = 0  # how many items may come in this epoch before all groups are woken

    def hello(self) -> Parcel:
        """Make a parcel that wakes all key groups of all workers."""
        return Parcel(self, [], list(range(self._key_groups)))

    def pack(self, batch: list[Any]) -> list[Any]:
        """Make a parcel of a batch.

        :arg batch: Items from upstream.

        :returns: A parcel; or what is no keyed item, for Bytewax to complain about it as it would have.

        """
        if not _is_plain(batch):
            odd = [item for item in batch if not _is_item(item)]
            if odd:
                return odd[:1]
            # A subclass of `str` may have an `__eq__` and a `__hash__` of its own. As in Bytewax, its keys become plain
            # before anything asks them.
            batch = [(str.__str__(key), value) for key, value in batch]
        if len(self._groups) == 1:
            return [Parcel(self, [(0, batch)], [])]
        lanes: dict[int, list[Item]] = {}
        for item in batch:
            worker = self._worker_of[group_of(item[0], self._key_groups)]
            if worker in lanes:
                lanes[worker].append(item)
            else:
                lanes[worker] = [item]
        return [Parcel(self, list(lanes.items()), [])]

    def note_epoch(self, parcel: Parcel, epoch: int) -> None:
        """Address a parcel in an epoch: put wakes in front, for the key groups that need one."""
        if epoch != self._epoch:
            # What is due at a resume comes before the first item, so the first parcel wakes all.
            self._few = MANY if self._epoch is not None else 0
            self._asleep = [set(groups) for groups in self._groups]
            self._epoch = epoch
        parcel.epoch = epoch
        for group in parcel.wakes:
            self._asleep[self._worker_of[group]].discard(group)
        for worker, items in parcel.lanes:
            if self._asleep[worker]:
                parcel.wakes += self._wakes(self._asleep[worker], items)

    def _wakes(self, asleep: set[int], items: list[Item]) -> Iterable[int]:
        self._few -= len(items)
        wakes = set(asleep)
        if len(items) <= FEW and self._few > 0:
            wakes &= {group_of(key, self._key_groups) for key, _ in items}
        asleep -= wakes
        return wakes

    def unload(self, parcel: Parcel) -> list[tuple[str, Chunk]]:
        """Take a parcel apart.

        :arg parcel: Addressed.

        :returns: Chunks, each under the name that Bytewax routes it by.

        """
        epoch, out = parcel.epoch, list[tuple[str, Chunk]]()
        if parcel.wakes:
            out = [(self._names[group], (group, epoch, [])) for group in parcel.wakes]
        for worker, items in parcel.lanes:
            name, anchor = self._anchors[worker]
            out.append((name, (anchor, epoch, items)))
        return out


class Lanes:
    """The lanes of one step: the senders of this process, found by the thread that runs them."""

    def __init__(self, key_groups: int) -> None:
        """Init.

        :arg key_groups: Number of key groups.

        """
        self._key_groups = key_groups
        self._senders: dict[int, Sender] = {}

    def begin(self, workers: int) -> Sender:
        """Begin an execution on the worker of this thread.

        :arg workers: How many workers the execution has.

        :returns: Its sender.

        """
        sender = self._senders[threading.get_ident()] = Sender(self._key_groups, workers)
        return sender

    def pack(self, batch: list[Any]) -> list[Any]:
        """See `Sender.pack`."""
        return self._senders[threading.get_ident()].pack(batch)


def note_epoch(step_id: str, item: Any, epoch: int, worker_index: int) -> None:
    """See `Sender.note_epoch`; what is no parcel is passed on."""
    if type(item) is Parcel:
        item.sender.note_epoch(item, epoch)


def spread(batch: list[Any]) -> list[Any]:
    """See `Sender.unload`; what is no parcel is passed on."""
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
    if set(map(type, batch)) != {tuple} or set(map(len, batch)) != {2}:
        return False
    keys = list(map(_key_of, batch))
    return set(map(type, keys)) == {str} and "".join(keys).isascii()


def _is_item(item: Any) -> bool:
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
        return False
    try:
        str.encode(item[0])
    except UnicodeEncodeError:
        return False
    return True
