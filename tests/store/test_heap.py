"""The heap store."""

from pathlib import Path

import pytest

from tests.contracts.store_contract import BoxRows, Open, StoreContract, contents, heap_store, put, rocksdb_store


class TestHeapStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def open_store(self) -> Open:
        return heap_store


def test_nothing_is_serialised_on_access(tmp_path: Path) -> None:
    """Objects are, when they are frozen and only then."""
    store = heap_store(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(1_000):
        put(part, f"k{number % 10}", number)
    rows = store._rows
    assert isinstance(rows, BoxRows)
    assert (rows.dumps, rows.loads) == (0, 0)
    store.freeze(tmp_path / "frozen")
    assert rows.dumps == 10
    store.close()


@pytest.mark.parametrize("first", ["heap", "rocksdb"])
def test_either_store_opens_what_the_other_froze(first: str, tmp_path: Path) -> None:
    """A snapshot does not depend on the store that wrote it."""
    stores = [heap_store, rocksdb_store(3)]
    before, after = stores if first == "heap" else reversed(stores)
    store = before(tmp_path / "live", True)
    part = store.add(0, restored=False)
    for number in range(50):
        put(part, f"k{number}", number)
    store.freeze(tmp_path / "frozen")
    store.close()
    other = after(tmp_path / "frozen", False)
    assert contents(other.add(0, restored=True)) == {f"k{number}": number for number in range(50)}
    other.close()
