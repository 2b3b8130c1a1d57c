"""How many keys have a state: what a plain dict says, at every freeze, whatever was spilled, deleted or restored."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bytewax_state.store.base import Slice
from tests.contracts.store_contract import Box, Open, delete, heap_store, put, rocksdb_store

STORES: dict[str, Open] = {
    "heap": heap_store,
    "roomy": rocksdb_store(1_000),
    "small": rocksdb_store(2),
    "none": rocksdb_store(0),
}
GROUPS = (0, 1)

KEYS = st.sampled_from([f"k{number}" for number in range(6)])
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(GROUPS), KEYS),
    # A box of `None` refuses to be spilled.
    st.tuples(st.just("pin"), st.sampled_from(GROUPS), KEYS),
    st.tuples(st.just("delete"), st.sampled_from(GROUPS), KEYS),
    st.tuples(st.just("miss"), st.sampled_from(GROUPS), KEYS),
    st.tuples(st.just("flush"), st.sampled_from(GROUPS), KEYS),
    st.just(("freeze",)),
    st.tuples(st.just("restart"), st.sampled_from(sorted(STORES)), st.booleans()),
)


def apply(part: Slice[Box], model: set[str], verb: str, key: str) -> None:
    """Do one thing to a slice and to the set of its keys."""
    if verb in ("put", "pin"):
        put(part, key, 1 if verb == "put" else None)
        model.add(key)
    elif verb == "delete" and key in model:
        delete(part, key)
        model.remove(key)
    elif verb == "miss":
        assert (key in part.fetch([key])) is (key in model)
    elif verb == "flush":
        part.flush()


@pytest.mark.parametrize("first", STORES)
@settings(deadline=None)
@given(operations=st.lists(OPERATIONS, max_size=40))
def test_rows_are_the_keys_that_have_a_state(first: str, operations: list[tuple[str, ...]]) -> None:
    """Over epochs, deletions, spills, restarts and changes of the backend, counted by a manifest or not."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = STORES[first](folder / "live", True)
        parts = {group: store.add(group, restored=False) for group in GROUPS}
        model: dict[int, set[str]] = {group: set() for group in GROUPS}
        for number, (verb, *given_) in enumerate([*operations, ("freeze",)]):
            if verb in ("freeze", "restart"):
                frozen = store.freeze(folder / str(number))
                assert frozen.rows == {group: len(keys) for group, keys in model.items()}
            if verb == "restart":
                backend, counted = given_
                store.close()
                store = STORES[backend](folder / str(number), False)
                rows = frozen.rows if counted else {}
                parts = {group: store.add(group, True, rows.get(group)) for group in GROUPS}
            elif verb != "freeze":
                apply(parts[given_[0]], model[given_[0]], verb, given_[1])
        store.close()
