"""Which manifest serves which ref, and that a restored table holds what the refs say, from any mix of stores."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from bytewax_state.errors import ConflictError, IncompatibleError, SnapshotError, SnapshotMissingError
from bytewax_state.keygroups import group_of
from bytewax_state.registry import LOGIC, logic_state
from bytewax_state.settings import Settings
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.lineage import Lineage
from bytewax_state.snapshot.manifest import FileEntry
from bytewax_state.snapshot.origin import Origin
from bytewax_state.snapshot.publish import Durable, claim, plan
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.restore import Restored, restore
from bytewax_state.snapshot.sources import find
from bytewax_state.snapshot.versions import Versions
from bytewax_state.snapshot.workspace import Workspace
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage
from bytewax_state.store import rows
from bytewax_state.store.table import Memory, Table
from tests.contracts.store_contract import BoxStore, heap_store, rocksdb_store
from tests.faults import FaultyStorage

pytestmark = pytest.mark.disk

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
STEP = StepId("flow", "flow.s")
GROUPS = 8
MEMORY = Memory.of(8 << 20)


@pytest.fixture(autouse=True, params=[0, rows.SMALL], ids=["images", "changes"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each version have an image, or only those of which much changed."""
    monkeypatch.setattr(rows, "SMALL", request.param)


class Writer:
    """One execution of a step on one worker, without Bytewax."""

    def __init__(
        self,
        folder: Path,
        index: int,
        refs: list[Ref],
        keep: int = 100,
        capacity: int | None = None,
        storage: Callable[[Storage], Storage] = lambda beneath: beneath,
    ) -> None:
        self.storage: Any = storage(open_storage(str(folder / "snapshots"), {}, 4))
        self.catalog = Catalog(self.storage)
        self.origin = Origin(
            store=StoreId(STEP, f"{len(os.listdir(folder)):04}-w{index:03}-{os.urandom(4).hex()}"),
            key_groups=GROUPS,
            states={},
            backend="heap",
            worker_index=index,
            worker_count=2,
            writer={},
        )
        (folder / f"execution-{os.urandom(4).hex()}").mkdir()
        self.settings = Settings(dir=folder / "work", retain_snapshots=keep, retain_for=timedelta(0))
        self.space = Workspace(self.settings.dir, self.origin.store, index, 2)
        self.refs = {ref.group: ref for ref in refs}
        self.done: Restored | None = None
        if refs:
            self.done = restore(self.catalog, self.space.root, self.space.live, self.origin, refs, MEMORY, NOW, 4)
            self.origin = self.done.origin
        else:
            claim(self.catalog, self.origin, (), NOW)
        self.table = self.done.table if self.done else Table.open(self.space.live, MEMORY, create=True)
        inherited, lineage = (self.done.durable, self.done.lineage) if self.done else ({}, Lineage())
        self.versions = Versions(self.catalog, self.space, self.origin, lineage, inherited, self.settings, self.now)
        self.open = heap_store if capacity is None else rocksdb_store(capacity)
        self.groups = sorted(self.refs)
        self.add()

    def add(self, *groups: int) -> None:
        """Own some more key groups; before anything is put."""
        self.groups = sorted({*self.groups, *groups})
        rows = self.done.rows if self.done else {}
        self.store = BoxStore(self.table, self.open.backend, GROUPS, rows, groups=self.groups)

    def now(self) -> datetime:
        """Tell the time: an hour passes from one version to the next."""
        return NOW + self.store.store.version * timedelta(hours=1)

    def put(self, group: int, key: str, value: object) -> None:
        self.store.put(key_in(group, key), value)

    def delete(self, group: int, key: str) -> None:
        self.store.delete(key_in(group, key))

    def publish(self) -> list[Ref]:
        self.versions.wait(self.versions.freeze(self.store.store, epoch=1))
        self.versions.settle()
        return [Ref(self.origin.store.store_id, self.store.store.version, group, GROUPS) for group in self.groups]

    def contents(self) -> dict[int, dict[str, object]]:
        found: dict[int, dict[str, object]] = {group: {} for group in self.groups}
        for key, value in self.store.contents().items():
            found[group_of(key, GROUPS)][key.partition(".")[0]] = value
        return found

    def close(self) -> None:
        self.versions.close()
        self.store.close()
        self.space.close()


@cache
def key_in(group: int, key: str) -> str:
    """Make a key that is in some key group."""
    return next(one for number in count() if group_of(one := f"{key}.{number}", GROUPS) == group)


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[list[Writer]]:
    """Collects what is to be closed."""
    made: list[Writer] = []
    yield made
    for writer in made:
        writer.close()


def begin(writers: list[Writer], folder: Path, index: int = 0, refs: list[Ref] | None = None) -> Writer:
    if writers and index == 0:
        for writer in writers:
            writer.close()
    writer = Writer(folder, index, refs or [])
    writers.append(writer)
    return writer


def test_a_group_that_did_not_change_is_served_by_a_later_manifest(writers: list[Writer], tmp_path: Path) -> None:
    """So an old manifest may go while refs to it live."""
    first = begin(writers, tmp_path)
    first.add(0, 1)
    first.put(0, "a", 1)
    first.put(1, "b", 1)
    old = first.publish()
    first.put(1, "b", 2)
    new = first.publish()
    first.storage.delete([first.origin.store.manifest(1)])
    again = begin(writers, tmp_path, refs=[old[0], new[1]])
    assert again.contents() == {0: {"a": 1}, 1: {"b": 2}}


def test_a_group_that_changed_is_not_served_by_a_later_manifest(writers: list[Writer], tmp_path: Path) -> None:
    """Rather an error than the state of another epoch."""
    first = begin(writers, tmp_path)
    first.add(0)
    first.put(0, "a", 1)
    old = first.publish()
    first.put(0, "a", 2)
    first.publish()
    first.storage.delete([first.origin.store.manifest(1)])
    with pytest.raises(SnapshotMissingError, match=r"version 1 .*versions \[2\]"):
        find(first.catalog, STEP, old)


def test_the_newest_manifest_is_preferred_where_it_serves_all(writers: list[Writer], tmp_path: Path) -> None:
    """A run that was taken for dead may delete the older ones at any moment."""
    first = begin(writers, tmp_path)
    first.add(0, 1)
    first.put(0, "a", 1)
    first.put(1, "b", 1)
    old = first.publish()
    for number in range(2, 5):
        first.put(1, "b", number)
        new = first.publish()
    (source,) = find(first.catalog, STEP, old[:1])
    assert (source.manifest.version, source.groups) == (4, (0,))
    (source,) = find(first.catalog, STEP, [old[0], new[1]])
    assert source.manifest.version == 4
    (source,) = find(first.catalog, STEP, old)
    assert source.manifest.version == 1


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:8] + b"\x80" + data[9:]])
def test_a_manifest_that_cannot_be_read_is_passed_over(
    damage: Callable[[bytes], bytes], writers: list[Writer], tmp_path: Path
) -> None:
    """Whether it looks damaged, or by a flipped bit as one of a newer format; if another one serves."""
    first = begin(writers, tmp_path)
    first.add(0, 1)
    first.put(0, "a", 1)
    old = first.publish()
    first.put(1, "b", 2)
    new = first.publish()
    (path,) = (tmp_path / "snapshots").rglob("000000000002.manifest")
    path.write_bytes(damage(path.read_bytes()))
    (source,) = find(first.catalog, STEP, old)
    assert source.manifest.version == 1
    with pytest.raises(SnapshotError, match=r"0002\.manifest .*\. Of the store .*, versions 1 do not need it"):
        find(first.catalog, STEP, new)


def test_an_earlier_epoch_is_restored_as_it_was(writers: list[Writer], tmp_path: Path) -> None:
    """Bytewax may resume from any epoch in its backup interval."""
    first = begin(writers, tmp_path)
    first.add(0)
    refs = []
    for number in range(5):
        first.put(0, "a", number)
        refs.append(first.publish())
    assert begin(writers, tmp_path, refs=refs[2]).contents() == {0: {"a": 2}}


def test_groups_of_two_stores_come_together(writers: list[Writer], tmp_path: Path) -> None:
    """Fewer workers: the groups of one are the base, those of the others are ingested."""
    one = begin(writers, tmp_path, 0)
    two = begin(writers, tmp_path, 1)
    one.add(0, 1, 2)
    two.add(3, 4)
    for writer, groups in ((one, (0, 1, 2)), (two, (3, 4))):
        for group in groups:
            for number in range(100):
                writer.put(group, f"k{number}", (group, number))
    refs = one.publish() + two.publish()
    expected = one.contents() | two.contents()
    assert begin(writers, tmp_path, refs=refs).contents() == expected


def test_groups_of_one_store_part(writers: list[Writer], tmp_path: Path) -> None:
    """More workers: each clips what is not its own, so that no ghost of a group comes back later."""
    one = begin(writers, tmp_path)
    one.add(*range(GROUPS))
    for group in range(GROUPS):
        one.put(group, "a", group)
    refs = one.publish()
    half = begin(writers, tmp_path, refs=refs[::2])
    assert half.contents() == {group: {"a": group} for group in range(0, GROUPS, 2)}
    rows = list(half.table.scan(b"", b"\xff" * 8))
    assert len(rows) == GROUPS // 2


def test_a_chain_of_executions_uploads_only_what_changed(writers: list[Writer], tmp_path: Path) -> None:
    """Inherited files keep their old paths."""
    writer = begin(writers, tmp_path)
    writer.add(0)
    for number in range(2_000):
        writer.put(0, f"k{number}", "x" * 200)
    refs = writer.publish()
    for _ in range(3):
        writer = begin(writers, tmp_path, refs=refs)
        writer.put(0, "k1", "y")
        refs = writer.publish()
    name = writer.origin.store.manifest(1)
    manifest = writer.catalog.read(name)
    assert manifest.stats.uploaded_bytes < manifest.stats.reused_bytes / 10
    assert len({entry.path.partition("/")[0] for entry in manifest.files}) > 1
    assert len(manifest.ancestors) == 3


def test_a_restored_store_that_did_not_change_publishes_without_an_upload(
    writers: list[Writer], tmp_path: Path
) -> None:
    """A manifest, under its own id, and nothing else."""
    first = begin(writers, tmp_path)
    first.add(0)
    first.put(0, "a", 1)
    refs = first.publish()
    again = begin(writers, tmp_path, refs=refs)
    before = set(again.storage.list("flow"))
    again.publish()
    assert [name.rpartition(".")[2] for name in set(again.storage.list("flow")) - before] == ["manifest"]


def test_the_claim_comes_first(writers: list[Writer], tmp_path: Path) -> None:
    """Version 0 of a new store names what it inherits before it reads any of it."""
    first = begin(writers, tmp_path)
    first.add(0)
    first.put(0, "a", 1)
    refs = first.publish()
    again = begin(writers, tmp_path, refs=refs)
    name = again.origin.store.manifest(0)
    claimed = again.catalog.read(name)
    assert {entry.path.partition("/")[0] for entry in claimed.files} == {first.origin.store.store_id}


class Deleting(FaultyStorage):
    """A storage in which somebody deletes a manifest as soon as it was read."""

    def get(self, name: str) -> bytes:
        data = super().get(name)
        self.delete([name])
        return data


def test_a_manifest_that_goes_before_the_claim_ends_the_restore(writers: list[Writer], tmp_path: Path) -> None:
    """Its files go next, by whoever did not see the claim: rather an error now than a snapshot of deleted files."""
    first = begin(writers, tmp_path)
    first.add(0)
    first.put(0, "a", 1)
    refs = first.publish()
    catalog = Catalog(Deleting(first.storage, []))
    origin = replace(first.origin, store=StoreId(STEP, first.origin.store.store_id.replace("0000", "0009")))
    with pytest.raises(SnapshotMissingError, match="was deleted while"):
        restore(catalog, tmp_path / "other", tmp_path / "other" / "live", origin, refs, MEMORY, NOW, 1)


def test_a_first_version_without_its_claim_is_taken_back(writers: list[Writer], tmp_path: Path) -> None:
    """Somebody took this run for dead, and may have deleted what it builds on; Bytewax gets no ref to it."""
    first = begin(writers, tmp_path)
    first.add(0)
    first.put(0, "a", 1)
    name = first.origin.store.manifest(0)
    first.storage.delete([name])
    with pytest.raises(ConflictError, match="took this one for dead"):
        first.publish()
    assert [one for one in first.storage.list("flow") if one.endswith(".manifest")] == []


@pytest.mark.parametrize("lose", [True, False])
def test_small_changes_are_in_the_manifest_until_there_are_many(
    lose: bool, writers: list[Writer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Puts and deletions, on top of the last image, which is on the local disk or has to be fetched."""
    monkeypatch.setattr(rows, "SMALL", 2_000)
    first = begin(writers, tmp_path)
    first.add(0, 1)
    expected: dict[int, dict[str, object]] = {0: {}, 1: {}}
    kept: list[tuple[list[Ref], dict[int, dict[str, object]]]] = []
    for number in range(60):
        group, key = number % 2, f"k{number % 7}"
        if number % 5 == 4 and key in expected[group]:
            first.delete(group, key)
            del expected[group][key]
        else:
            first.put(group, key, "x" * (number * 10 % 300))
            expected[group][key] = "x" * (number * 10 % 300)
        kept.append((first.publish(), {one: dict(had) for one, had in expected.items()}))
    manifests = [first.catalog.read(first.origin.store.manifest(version)) for version in range(1, 61)]
    images = [one for one in manifests if not one.changes]
    assert len(images) in range(4, 20)
    assert all(sum(len(key) + len(row or b"") for key, row in one.changes.items()) <= 2_000 for one in manifests)
    assert sum(one.stats.uploaded_files for one in manifests if one.changes) == 0
    if lose:
        shutil.rmtree(tmp_path / "work")
    for refs, found in kept[::7]:
        assert begin(writers, tmp_path, refs=refs).contents() == found


def test_own_versions_go_with_their_files(writers: list[Writer], tmp_path: Path) -> None:
    """And what is left can be restored."""
    first = Writer(tmp_path, 0, [], keep=2)
    writers.append(first)
    first.add(0)
    for number in range(30):
        first.put(0, f"k{number % 3}", number)
        refs = first.publish()
    names = first.storage.list("flow")
    assert len([name for name in names if name.endswith(".manifest")]) <= 4
    again = begin(writers, tmp_path, refs=refs)
    assert again.contents() == {0: {"k0": 27, "k1": 28, "k2": 29}}


def test_the_plan_uploads_what_is_not_durable(tmp_path: Path) -> None:
    """And passes the small mutable files to the manifest, without RocksDB's empty log."""
    for name in ("000008.sst", "000012.sst", "CURRENT", "MANIFEST-000005", "000013.log"):
        (tmp_path / name).write_text(name)
    known = FileEntry("000012.sst", "store/files/000012.sst", 10, "ab" * 32)
    todo = plan(tmp_path, Durable({"000012.sst": known, "000004.sst": known}))
    assert [path.name for path in todo.new] == ["000008.sst"]
    assert todo.reused == (known,)
    assert todo.inline == {"CURRENT": b"CURRENT", "MANIFEST-000005": b"MANIFEST-000005"}


@pytest.mark.parametrize("state", [{"kind": "window"}, {"id": 7}, {"name": "total"}])
def test_a_state_that_the_step_does_not_have_is_refused(
    state: dict[str, Any], writers: list[Writer], tmp_path: Path
) -> None:
    """Before any row of it is read, or anything is claimed; be it in the base or in what is to be put into that."""
    known, foreign = logic_state("msgpack"), {**logic_state("msgpack")[LOGIC], **state}
    one, two = begin(writers, tmp_path, 0), begin(writers, tmp_path, 1)
    for writer, groups, states in ((one, (0, 1), known), (two, (2,), {foreign.pop("name", LOGIC): foreign})):
        writer.versions._origin = replace(writer.origin, states=states)
        writer.add(*groups)
        for group in groups:
            writer.put(group, "a", 1)
    refs = one.publish() + two.publish()
    before = one.storage.list("flow")
    origin = replace(one.origin, store=StoreId(STEP, one.origin.store.store_id.replace("w000", "w007")), states=known)
    with pytest.raises(IncompatibleError, match=r"version 1 of store .*w001.* has a state .*'logic' of kind 'logic'"):
        restore(one.catalog, tmp_path / "other", tmp_path / "other" / "live", origin, refs, MEMORY, NOW, 1)
    assert one.storage.list("flow") == before
