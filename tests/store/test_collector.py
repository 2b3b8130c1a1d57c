"""The heap and Python's cyclic garbage collector: what a collection has to look at, however many keys there are."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from bytewax_state.store.collector import CALLS, GROWTH
from bytewax_state.store.column import HeapColumn
from tests.contracts.store_contract import BoxStore, heap_store

pytestmark = pytest.mark.disk

BATCH = 1_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BoxStore]:
    store = heap_store(tmp_path / "live")
    yield store
    store.close()


class Cycle:
    """What only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def put(column: HeapColumn[object], value: object, start: int, stop: int) -> None:
    for first in range(start, stop, BATCH):
        keys = [f"k{number}" for number in range(first, first + BATCH)]
        for key in keys:
            column.add(key, [value])
        column.change(keys)
        column.settle()


def test_a_full_collection_does_not_look_at_what_was_there_at_the_last_one(store: BoxStore) -> None:
    """Neither at the values, nor at the sets and the dict that have their keys, which are tracked at once."""
    column = store.states.column
    for step in range(3):
        put(column, step, step * 2 * GROWTH, (step + 1) * 2 * GROWTH)
        gc.collect()
    tracked = {id(one) for one in gc.get_objects()}
    assert tracked.isdisjoint(map(id, column.live.values()))
    assert tracked.isdisjoint({id(column.live), id(column.changed), id(column._fresh)})


def test_keys_that_come_and_go_freeze_nothing(store: BoxStore) -> None:
    """What they leave behind could be in a cycle, and would stay for ever."""
    column = store.states.column
    put(column, 0, 0, GROWTH)
    gc.collect()
    frozen = gc.get_freeze_count()
    for _ in range(3):
        put(column, Cycle(), GROWTH, 2 * GROWTH - BATCH)
        for number in range(GROWTH, 2 * GROWTH - BATCH):
            column.remove(f"k{number}")
        gc.collect()
    assert gc.get_freeze_count() <= frozen


def test_garbage_is_not_frozen(store: BoxStore) -> None:
    """It is freed by the collection behind which the rest is frozen."""
    cycle = Cycle()
    gone = weakref.ref(cycle)
    put(store.states.column, 0, 0, 2 * GROWTH)
    del cycle
    gc.collect()
    assert gone() is None


def test_young_values_do_not_pile_up(store: BoxStore) -> None:
    """A tuple in the place of another one counts as no allocation, so no collection would come by itself."""
    column = store.states.column
    keys = [f"k{number}" for number in range(BATCH)]
    gc.collect()
    for _ in range(10 * CALLS):
        for key in keys:
            column.add(key, (key, 1))
        column.settle()
    assert not any(map(gc.is_tracked, column.live.values()))


THAW = """
import gc, sys
from pathlib import Path
from tests.contracts.store_contract import heap_store
if "frozen" in sys.argv:
    gc.freeze()
one, other = (heap_store(Path(sys.argv[1]) / name) for name in "ab")
one.close()
one.close()
print(gc.get_freeze_count() > 0)
other.close()
print(gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize("before", ["frozen", "none"])
def test_all_is_thawed_when_the_last_store_is_closed(before: str, tmp_path: Path) -> None:
    """Unless somebody else has frozen something, who may have a reason."""
    command = [sys.executable, "-c", THAW, str(tmp_path), before]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", str(before == "frozen")]


def test_what_has_grown_by_less_than_a_quarter_is_not_frozen(store: BoxStore) -> None:
    """Each freeze may keep a cycle of every key for ever, so that their number must not go with that of the keys."""
    column, keys = store.states.column, 8 * GROWTH
    put(column, 0, 0, keys)
    gc.collect()
    frozen = gc.get_freeze_count()
    put(column, Cycle(), keys, keys + keys // 4 - BATCH)
    gc.collect()
    assert gc.get_freeze_count() <= frozen
    put(column, Cycle(), keys + keys // 4 - BATCH, keys + keys // 4)
    gc.collect()
    assert gc.get_freeze_count() > frozen
