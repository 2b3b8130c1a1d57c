"""The heap backend."""

from pathlib import Path

import pytest

from tests.contracts.store_contract import ALL, Open, StoreContract, heap_store, rocksdb_store


class TestHeapStore(StoreContract):
    """The contract."""

    @pytest.fixture
    def open_store(self) -> Open:
        return heap_store


def test_nothing_is_serialised_on_access(tmp_path: Path) -> None:
    """Objects are, when they are frozen and only then."""
    store = heap_store(tmp_path / "live")
    for number in range(1_000):
        store.put(f"k{number % 10}", number)
    assert (store.boxes.dumps, store.boxes.loads) == (0, 0)
    store.freeze(tmp_path / "frozen")
    assert store.boxes.dumps == 10
    store.close()


@pytest.mark.parametrize("first", ["heap", "rocksdb"])
def test_either_backend_opens_what_the_other_froze(first: str, tmp_path: Path) -> None:
    """A snapshot does not depend on the backend that wrote it."""
    backends = [heap_store, rocksdb_store(3)]
    before, after = backends if first == "heap" else reversed(backends)
    store = before(tmp_path / "live")
    for number in range(50):
        store.put(f"k{number}", number)
    store.freeze(tmp_path / "frozen")
    store.close()
    other = after(tmp_path / "frozen", ALL)
    assert other.contents() == {f"k{number}": number for number in range(50)}
    other.close()
