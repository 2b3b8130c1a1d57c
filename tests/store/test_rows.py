"""How many keys have a state: what a plain dict says, at every freeze, whatever was spilled, deleted or restored."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.keygroups import group_of
from tests.contracts.store_contract import BoxStore, Open, heap_store, rocksdb_store

STORES: dict[str, Open] = {
    "heap": heap_store,
    "roomy": rocksdb_store(1_000),
    "small": rocksdb_store(2),
    "none": rocksdb_store(0),
}
GROUPS = 2

KEYS = st.sampled_from([f"k{number}" for number in range(6)])
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), KEYS),
    # A box of `None` refuses to be spilled.
    st.tuples(st.just("pin"), KEYS),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("miss"), KEYS),
    st.tuples(st.just("flush"), KEYS),
    st.just(("freeze",)),
    st.tuples(st.just("restart"), st.sampled_from(sorted(STORES)), st.booleans()),
)


def apply(store: BoxStore, model: set[str], verb: str, key: str) -> None:
    """Do one thing to a store and to the set of its keys."""
    if verb in ("put", "pin"):
        store.put(key, 1 if verb == "put" else None)
        model.add(key)
    elif verb == "delete" and key in model:
        store.delete(key)
        model.remove(key)
    elif verb == "miss":
        assert (key in store.fetch([key])) is (key in model)
    elif verb == "flush":
        store.store.flush()


@pytest.mark.parametrize("first", STORES)
@given(operations=st.lists(OPERATIONS, max_size=40))
def test_rows_are_the_keys_that_have_a_state(first: str, operations: list[tuple[str, ...]]) -> None:
    """Over epochs, deletions, spills, restarts and changes of the backend, counted by a manifest or not."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = STORES[first](folder / "live", key_groups=GROUPS)
        model: set[str] = set()
        for number, (verb, *given_) in enumerate([*operations, ("freeze",)]):
            if verb in ("freeze", "restart"):
                frozen = store.freeze(folder / str(number))
                expected = Counter(group_of(key, GROUPS) for key in model)
                assert frozen.rows == {group: expected[group] for group in range(GROUPS)}
            if verb == "restart":
                backend, counted = given_
                store.close()
                rows = frozen.rows if counted else dict.fromkeys(range(GROUPS))
                store = STORES[backend](folder / str(number), rows, GROUPS)
            elif verb != "freeze":
                apply(store, model, verb, given_[0])
        store.close()
