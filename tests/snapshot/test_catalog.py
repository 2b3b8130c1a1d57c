"""The catalog: what lies in a storage, at one moment, whatever is wrong with some of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bytewax_state.errors import SnapshotCorruptError, StorageError
from bytewax_state.signing import Keys
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import encode, name_of
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from tests.faults import Fault, FaultyStorage
from tests.snapshot.listings import PREFIX, manifest, named, store


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "snapshots"), {}, 4)


def test_all_of_a_step_is_listed(storage: Storage) -> None:
    """Stores and versions oldest first, and files with the store that wrote them."""
    catalog = Catalog(storage)
    there = [manifest("b1", "a1 b2", [0], "a"), manifest("a10", "a1"), manifest("a2", "a1"), manifest("a0")]
    for one in there:
        catalog.write(one)
    for name in named("a1", "b2", "c3"):
        storage.put(name, b"")
    step = catalog.step(PREFIX)
    assert list(step.manifests()) == [there[3], there[2], there[1], there[0]]
    assert {store_id: listing.files for store_id, listing in step.stores.items()} == {
        store("a"): tuple(named("a1")),
        store("b"): tuple(named("b2")),
        store("c"): tuple(named("c3")),
    }
    assert step.stores[store("a")].newest == there[1]
    assert step.stores[store("b")].ancestors == {store("a")}


def test_a_manifest_that_cannot_be_used_is_named(storage: Storage) -> None:
    """Damaged, signed with another key, or under another's name; the others are read."""
    catalog = Catalog(storage, Keys([b"k" * 16]))
    catalog.write(manifest("a1"))
    storage.put(name_of(manifest("a2")), b"damaged")
    storage.put(name_of(manifest("a3")), encode(manifest("a3")))
    storage.put(name_of(manifest("a4")), encode(manifest("a1"), catalog.keys))
    step = catalog.step(PREFIX)
    assert [one.version for one in step.manifests()] == [1]
    assert sorted(step.unreadable) == [name_of(manifest(f"a{version}")) for version in (2, 3, 4)]
    assert "not signed" in str(step.unreadable[name_of(manifest("a3"))])


def test_each_manifest_is_read_once(storage: Storage) -> None:
    """They never change, and there are many; one that went is forgotten."""
    watched = FaultyStorage(storage, [])
    catalog = Catalog(watched)
    Catalog(storage).write(manifest("a1"))
    catalog.step(PREFIX)
    Catalog(storage).write(manifest("a2"))
    catalog.write(manifest("a3"))
    storage.delete([name_of(manifest("a1"))])
    assert [one.version for one in catalog.step(PREFIX).manifests()] == [2, 3]
    assert [name[-10:-9] for verb, name in watched.calls if verb == "get"] == ["1", "2"]


def test_a_brief_look_reads_the_oldest_of_each_store(storage: Storage) -> None:
    """Of many thousands that may be there."""
    for one in (manifest("a2"), manifest("a3"), manifest("b0"), manifest("b1")):
        Catalog(storage).write(one)
    watched = FaultyStorage(storage, [])
    step = Catalog(watched).step(PREFIX, brief=True)
    assert {store_id: (listing.versions, list(listing.manifests)) for store_id, listing in step.stores.items()} == {
        store("a"): ((2, 3), [2]),
        store("b"): ((0, 1), [0]),
    }
    assert len([verb for verb, _ in watched.calls if verb == "get"]) == 2


@pytest.mark.parametrize("threads", [1, 8])
def test_many_manifests_are_read_at_once(threads: int, storage: Storage) -> None:
    """With the same result, in the same order, without the inline files, which are large."""
    there = [manifest(f"a{version}") for version in range(1, 40)]
    for one in there:
        Catalog(storage).write(replace(one, inline={"CURRENT": b"x"}))
    assert list(Catalog(storage, threads=threads).step(PREFIX).manifests()) == there


def test_a_manifest_that_goes_while_it_is_looked_at_is_gone(storage: Storage) -> None:
    """Its owner may delete it at any time."""
    Catalog(storage).write(manifest("a1"))

    class Vanishing(FaultyStorage):
        def list(self, prefix: str) -> list[str]:
            names = super().list(prefix)
            storage.delete(names)
            return names

    step = Catalog(Vanishing(storage, [])).step(PREFIX)
    assert (list(step.manifests()), step.doubt()) == ([], None)


def test_what_took_its_place_is_looked_for(storage: Storage) -> None:
    """As a store that was restored from it, and whose claim is not in the list."""
    Catalog(storage).write(manifest("a1", "a1"))

    class TakenOver(FaultyStorage):
        def get(self, name: str) -> bytes:
            if name == name_of(manifest("a1")):
                Catalog(storage).write(manifest("b1", "a1", [0], "a"))
                storage.delete([name])
            return super().get(name)

    assert list(Catalog(TakenOver(storage, [])).step(PREFIX).manifests()) == [manifest("b1", "a1", [0], "a")]


def test_what_took_its_place_while_it_was_listed_is_seen(storage: Storage) -> None:
    """Though the list had been where the new store is before it came to the old one."""
    Catalog(storage).write(manifest("a1", "a1"))
    storage.put(*named("a1"), b"")

    class Slow(FaultyStorage):
        def list(self, prefix: str) -> list[str]:
            before = super().list(prefix)
            if name_of(manifest("a1")) not in before:
                return before
            Catalog(storage).write(manifest("b1", "a1", [0], "a"))
            storage.delete([name_of(manifest("a1"))])
            after = super().list(prefix)
            return [name for name in before if name in after]

    step = Catalog(Slow(storage, [])).step(PREFIX)
    assert list(step.manifests()) == [manifest("b1", "a1", [0], "a")]
    assert step.stores[store("a")].files == tuple(named("a1"))


@pytest.mark.parametrize("brief", [False, True])
def test_there_is_doubt_while_manifests_go_before_they_are_read(brief: bool, storage: Storage) -> None:
    """As where lists are old: nobody knows what they named."""
    Catalog(storage).write(manifest("a1"))
    Catalog(storage).write(manifest("a2"))
    old = storage.list(PREFIX)
    storage.delete([name_of(manifest("a1"))])

    class Old(FaultyStorage):
        def list(self, prefix: str) -> list[str]:
            return old

    step = Catalog(Old(storage, [])).step(PREFIX, brief=brief)
    assert list(step.manifests()) == [manifest("a2")]
    assert isinstance(step.doubt(), StorageError)
    assert name_of(manifest("a1")) in str(step.doubt())


def test_damage_on_the_way_is_read_again(storage: Storage) -> None:
    """And damage that stays is not."""
    Catalog(storage).write(manifest("a1"))
    name = name_of(manifest("a1"))
    assert Catalog(FaultyStorage(storage, [Fault("get", "corrupt")])).read(name) == manifest("a1")
    with pytest.raises(SnapshotCorruptError, match="damaged"):
        Catalog(FaultyStorage(storage, [Fault("get", "corrupt", times=2)])).read(name)


def test_steps_are_found(storage: Storage) -> None:
    """Of all flows, and nothing that is no step."""
    for name in (*named("a1"), "other/steps/other.s/x/y", "flow/recovery/copy", "readme"):
        storage.put(name, b"")
    assert Catalog(storage).steps() == [PREFIX, "other/steps/other.s"]
