"""How items travel: none is lost, each comes to the worker of its key, in order, and its group is woken for it."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.dataflow.lanes import WAKE_ALL_AFTER, WAKE_BY_NEED, Chunk, Parcel, Sender, pack, spread, unpack
from bytewax_state.keygroups import group_of, groups_of_workers, names

ITEMS = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers()), max_size=40)
GROUPS = st.sampled_from([1, 2, 3, 16, 128])
WORKERS = st.sampled_from([1, 2, 3, 5, 17])


class Text(str):
    """A key that says of itself that it equals nothing, and has nothing to be hashed."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


def send(sender: Sender, batch: list[Any], epoch: int = 1) -> list[tuple[str, Chunk]]:
    """Send a batch as the steps of a flow do."""
    parcels = pack(batch)
    for parcel in parcels:
        if type(parcel) is Parcel:
            sender.note_epoch(parcel, epoch)
    return spread(parcels)


def items_of(chunks: Iterable[tuple[str, Chunk]]) -> list[Any]:
    return [item for _, (_, _, items, _) in chunks for item in items]


def woken(chunks: Iterable[tuple[str, Chunk]]) -> set[int]:
    return {group for _, (group, _, _, _) in chunks}


@given(ITEMS.filter(bool), GROUPS, WORKERS, st.booleans())
def test_items_come_to_the_worker_of_their_key(
    batch: list[tuple[str, int]], key_groups: int, workers: int, is_timed: bool
) -> None:
    """As one chunk, in their order, under the name of the group that Bytewax calls last there."""
    groups = groups_of_workers(key_groups, workers)
    chunks = [(name, chunk) for name, chunk in send(Sender(key_groups, workers, is_timed), batch) if chunk[2]]
    for name, (group, _, items, _) in chunks:
        (own,) = (one for one in groups if group in one)
        assert name == names(key_groups)[group] == max(names(key_groups)[one] for one in own)
        assert items == [item for item in batch if group_of(item[0], key_groups) in own]
    assert sorted(items_of(chunks)) == sorted(batch)


@given(st.lists(st.tuples(ITEMS.filter(bool), st.booleans()), max_size=8), GROUPS, WORKERS, st.booleans())
def test_the_group_of_an_item_is_woken_in_its_epoch(
    batches: list[tuple[list[tuple[str, int]], bool]], key_groups: int, workers: int, is_timed: bool
) -> None:
    """By the same sender: or nobody would ask for a ref of what the item changes.

    And either behind the item, so that the group is asked for the timers that the item sets, or as a group for which
    more items may come, which asks to be called again.
    """
    sender, epoch = Sender(key_groups, workers, is_timed), 1
    awake, untold = set[int](), set[int]()
    for batch, closes in batches:
        chunks = send(sender, batch, epoch)
        assert {of_epoch for _, (_, of_epoch, _, _) in chunks} == {epoch}
        awake |= woken(chunks)
        assert {group_of(key, key_groups) for key, _ in batch} <= awake
        untold |= {group for _, (group, _, _, more) in chunks if more}
        last = max(at for at, (_, chunk) in enumerate(chunks) if chunk[2])
        assert not is_timed or {group_of(key, key_groups) for key, _ in batch} <= untold | woken(chunks[last:])
        if closes:
            epoch, awake, untold = epoch + 1, set(), set()


def test_a_group_is_woken_once_in_an_epoch() -> None:
    """However many items it has, and all of a worker's groups are as soon as there are more than a few items."""
    sender = Sender(128, 2, False)
    sender.note_epoch(sender.hello(), 1)
    many = [(f"k{number}", number) for number in range(10 * WAKE_BY_NEED)]
    assert [chunk for _, chunk in send(sender, many, 1) if not chunk[2]] == []
    assert len(woken(send(sender, many, 2))) == 128
    assert [chunk for _, chunk in send(sender, many, 2) if not chunk[2]] == []


def test_few_items_wake_only_their_own_groups() -> None:
    """Or an epoch for each item would cost as much as one for many; until there were many in it all the same."""
    sender, anchor = Sender(128, 1, False), groups_of_workers(128, 1)[0][-1]
    send(sender, [("a", 1)], 1)
    for _ in range(3):
        assert woken(send(sender, [("a", 1), ("b", 2)], 2)) <= {group_of("a", 128), group_of("b", 128), anchor}
    assert len({group for _ in range(WAKE_ALL_AFTER) for group in woken(send(sender, [("a", 1)], 2))}) == 128 - 2


def test_the_first_parcel_wakes_all() -> None:
    """What was due before a restart comes before the first item, of whatever key."""
    for is_timed in (False, True):
        chunks = send(Sender(128, 1, is_timed), [("a", 1)], 7)
        assert len(woken(chunks)) == 128
        assert len(woken(chunks[: [bool(items) for _, (_, _, items, _) in chunks].index(True)])) == 128


@pytest.mark.parametrize("odd", ["ab", 5, ("a",), ("a", 1, 2), (5, 1), ["a", 1], ("\ud800", 1), (b"a", 1)])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_no_keyed_item_is_passed_on(odd: Any, workers: int) -> None:
    """Bytewax complains about it, in the core step, as it would have."""
    assert send(Sender(8, workers, False), [("a", 1), odd, ("b", 2)]) == [odd]


@pytest.mark.parametrize("workers", [1, 3])
def test_keys_become_plain(workers: int) -> None:
    """Before anything asks them what they are equal to."""
    (item,) = items_of(send(Sender(8, workers, False), [(Text("ünï"), 1)]))
    assert item == ("ünï", 1)
    assert type(item[0]) is str


def test_what_groups_emit_is_joined() -> None:
    """In the order in which it came."""
    assert unpack([("g", [("a", 1)]), ("h", [("b", 2), ("c", 3)])]) == [("a", 1), ("b", 2), ("c", 3)]
    assert unpack([("g", [("a", 1)])]) == [("a", 1)]
