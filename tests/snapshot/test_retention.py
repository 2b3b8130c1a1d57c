"""What retention lets go: plans as pure functions, and the rounds of a collector over a real folder."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.lineage import Lineage
from bytewax_state.snapshot.manifest import name_of
from bytewax_state.snapshot.retention import (
    Collector,
    Policy,
    Published,
    expired,
    note_freeze,
    plan,
)
from bytewax_state.storage.uri import open_storage
from tests.faults import ALWAYS, Fault, FaultyStorage
from tests.snapshot.listings import HOUR, NOW, PREFIX, manifest, named, step, store

ZERO = timedelta(0)


def past(*files: str) -> list[Published]:
    """Versions 1, 2, 3 … with the files that each letter names."""
    return [Published(version, frozenset(names)) for version, names in enumerate(files, 1)]


def test_nothing_goes_before_a_newer_version_is_known_to_be_committed() -> None:
    """The one that was just published may belong to an epoch that never commits."""
    versions = note_freeze(past("a", "b"), 3, NOW)
    assert [one.superseded_at for one in versions] == [NOW, None]
    assert expired(past("a", "b"), Policy(1, ZERO), NOW) == ()


def test_a_version_stays_for_the_retention_after_it_was_superseded() -> None:
    """Bytewax may resume from any epoch in its backup interval."""
    versions = note_freeze(past("a", "b", "c"), 4, NOW)
    assert expired(versions, Policy(1, HOUR), NOW + HOUR - timedelta(seconds=1)) == ()
    assert expired(versions, Policy(1, HOUR), NOW + HOUR) == (1, 2)


def test_the_newest_versions_stay_in_any_case() -> None:
    """However old they are."""
    versions = note_freeze(past("a", "b", "c", "d"), 5, NOW)
    assert expired(versions, Policy(3, ZERO), NOW + 1000 * HOUR) == (1,)


def test_the_time_that_counts_is_that_of_the_first_proof() -> None:
    """A later freeze does not make an old version younger."""
    versions = note_freeze(note_freeze(past("a", "b"), 3, NOW), 4, NOW + HOUR)
    assert versions[0].superseded_at == NOW


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_committed_version_never_goes(keep: int) -> None:
    """Whatever the policy says."""
    versions = past("a", "b", "c", "d", "e")
    for frozen in range(2, 7):
        versions = note_freeze(versions, frozen, NOW)
    assert 5 not in expired(versions, Policy(keep, ZERO), NOW + HOUR)


OWN = manifest("d2", "a1 d11", [0, 1], "a")


def test_what_goes_are_manifests_and_the_files_that_no_other_manifest_names() -> None:
    """Of this store the old versions, and of the others all, oldest first."""
    there = step(manifest("a2", "a2"), manifest("d1", "a3 d1", ancestors="a"), OWN, more="a4 d9")
    todo = plan(there, OWN, {store("a")}, [1], named("d11", "a1"))
    assert todo.manifests == tuple(name_of(manifest(at)) for at in ("a2", "d1"))
    assert todo.files == tuple(named("a2", "a3", "a4", "d1", "d9"))


def test_a_file_stays_while_any_manifest_or_claim_names_it() -> None:
    """Whoever wrote it, and whoever names it; or nobody that was read does, but it is known to be wanted."""
    there = step(manifest("a2", "a2"), manifest("b0", "a1", ancestors="a"), more="a3 a4 b9")
    assert plan(there, OWN, {store("a")}, [], named("a4")).files == tuple(named("a2", "a3"))


class Run:
    """A collector over a folder, and what it sees."""

    def __init__(self, folder: Path, policy: Policy, faults: Iterable[Fault] = (), elders: str = "") -> None:
        self.beneath = open_storage(str(folder / "snapshots"), {}, 4)
        self.storage = FaultyStorage(self.beneath, faults)
        self.catalog = Catalog(self.storage)
        self.now = NOW
        own = StoreId(StepId("flow", "flow.s"), store("d"))
        lineage = Lineage(elders=frozenset(map(store, elders)), parents_committed_at=NOW - HOUR)
        self.collector = Collector(self.catalog, own, policy, lambda: self.now, lineage)
        self.version = 0

    def lay(self, *manifests: object, files: str = "") -> None:
        for one in manifests:
            self.catalog.write(one)  # type: ignore[arg-type]
        for name in named(*files.split()):
            self.beneath.put(name, b"0123456789")

    def publish(self, files: str, now: datetime = NOW, ancestors: str = "a") -> tuple[str, ...]:
        self.version += 1
        self.now = now
        self.collector.note_freeze(self.version, now)
        one = manifest(f"d{self.version}", files, [0, 1], ancestors)
        self.lay(one)
        self.collector.note_published(one)
        return self.collector.collect()

    def left(self) -> set[str]:
        return set(self.beneath.list(PREFIX))


def test_a_collector_deletes_its_own_past(tmp_path: Path) -> None:
    """Manifests at once, and after the grace period the files that none names, such as those of an upload cut short."""
    run = Run(tmp_path, Policy(1, HOUR))
    run.lay(files="d1 d2 d3 d9")
    for number in (1, 2, 3):
        run.publish(f"d{number}", NOW, ancestors="")
    run.publish("d3", NOW + HOUR, ancestors="")
    assert {name.rpartition("/")[2] for name in run.left()} >= {"000001.sst", "000009.sst", "000000000003.manifest"}
    assert name_of(manifest("d1")) not in run.left()
    run.publish("d3", NOW + HOUR + timedelta(minutes=1), ancestors="")
    assert {name.rpartition("/")[2] for name in run.left() if name.endswith(".sst")} == {"000002.sst", "000003.sst"}


def test_a_collector_deletes_what_was_before_it(tmp_path: Path) -> None:
    """Ancestors and those that died early, after its second freeze and the retention; then it forgets them."""
    run = Run(tmp_path, Policy(1, HOUR))
    run.lay(
        manifest("a1", "a1 a2"), manifest("a2", "a2 a3"), manifest("b0", "a1", ancestors="a"), files="a1 a2 a3 b11 d11"
    )
    run.publish("a3 d11")
    run.publish("a3 d11", NOW + HOUR)
    assert run.publish("a3 d11", NOW + 2 * HOUR - timedelta(seconds=1)) == (store("a"),)
    assert len(run.left()) == 3 + 5 + 3
    run.publish("a3 d11", NOW + 2 * HOUR)
    assert run.publish("a3 d11", NOW + 3 * HOUR) == (store("a"),)
    for hour in range(4, 8):
        left = run.publish("d11", NOW + hour * HOUR)
    assert left == ()
    assert {name for name in run.left() if store("d") not in name} == set()


def test_runs_that_are_shorter_than_the_retention_leave_nothing_behind_for_long(tmp_path: Path) -> None:
    """What its parent was restored from nobody needs, since the parent had committed; files of that go in the end."""
    run = Run(tmp_path, Policy(1, HOUR), elders="a")
    run.lay(manifest("a1", "a1"), manifest("c1", "a1 c2", ancestors="a"), files="a1 a9 c2 d11")
    assert run.publish("c2 d11", ancestors="ac") == (store("a"), store("c"))
    assert not {name for name in run.left() if name.endswith(".manifest") and store("a") in name}
    run.publish("c2 d11", NOW + timedelta(minutes=1), ancestors="ac")
    assert {name for name in run.left() if store("a") in name} == set(named("a1"))
    assert {name for name in run.left() if store("c") in name} == {name_of(manifest("c1")), *named("c2")}


def test_claims_on_elders_go_with_them(tmp_path: Path) -> None:
    """Or they would stay for ever, as nothing is left that they are known by; another worker's claim stays."""
    run = Run(tmp_path, Policy(1, HOUR), elders="a")
    run.lay(manifest("a1"), manifest("b0", ancestors="a"), manifest("c1", "c2", ancestors="a"), files="b3 c2 d11")
    worker = replace(manifest("c0", ancestors="ac"), store_id=store("c").replace("w000", "w001"))
    run.lay(worker)
    for minute in range(2):
        run.publish("c2 d11", NOW + timedelta(minutes=minute), ancestors="ac")
    left = run.left()
    assert not {name for name in left if store("a") in name or store("b") in name}
    assert {name_of(manifest("c1")), name_of(worker)} <= left


def test_files_whose_manifests_are_gone_wait_for_the_grace_period_too(tmp_path: Path) -> None:
    """These may have gone just now, by another worker, and who claims the files may not be listed yet."""
    run = Run(tmp_path, Policy(1, HOUR), elders="a")
    run.lay(manifest("c1", "a1 c2", ancestors="a"), files="a1 a9 c2 d11")
    run.publish("c2 d11", ancestors="ac")
    assert {name for name in run.left() if store("a") in name} == set(named("a1", "a9"))
    run.publish("c2 d11", NOW + timedelta(minutes=1), ancestors="ac")
    assert {name for name in run.left() if store("a") in name} == set(named("a1"))


def test_a_file_stays_for_a_minute_after_another_worker_deleted_the_last_manifest_that_named_it(tmp_path: Path) -> None:
    """Whoever is about to restore from that manifest may have claimed the file, and not be listed yet."""
    run = Run(tmp_path, Policy(1, HOUR), elders="a")
    other = replace(manifest("c1", "a1", ancestors="a"), store_id=store("c").replace("w000", "w001"))
    run.lay(manifest("c1", "c2", ancestors="a"), other, replace(other, version=2, files=()), files="a1 c2 d11")
    run.publish("c2 d11", ancestors="ac")
    run.beneath.delete([name_of(other)])
    run.publish("c2 d11", NOW + timedelta(minutes=1), ancestors="ac")
    assert named("a1")[0] in run.left()
    for minute in (2, 3):
        run.publish("c2 d11", NOW + timedelta(minutes=minute), ancestors="ac")
    assert named("a1")[0] not in run.left()


def test_a_collector_that_was_taken_over_deletes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A newer execution went on from its versions; it says so once."""
    run = Run(tmp_path, Policy(1, ZERO))
    run.lay(manifest("e1", "d1", ancestors="d"), files="d1 d2")
    for minute in range(6):
        run.publish("d2", NOW + timedelta(minutes=minute), ancestors="")
    assert len([name for name in run.left() if store("d") in name and name.endswith(".manifest")]) == 6
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "taken over" in caplog.text


def test_a_collector_stops_at_a_manifest_that_it_cannot_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may name anything."""
    run = Run(tmp_path, Policy(1, ZERO))
    run.beneath.put(name_of(manifest("b1")), b"damaged")
    run.lay(files="d1 d2")
    for minute in range(4):
        run.publish("d2", NOW + timedelta(minutes=minute), ancestors="")
    assert len(run.left()) == 4 + 1 + 2
    assert name_of(manifest("b1")) in caplog.text


def test_a_storage_that_does_not_delete_costs_space_and_nothing_else(tmp_path: Path) -> None:
    """The run goes on, and a later round finds it all again."""
    run = Run(tmp_path, Policy(1, ZERO), [Fault("delete", "before", transient=False, times=2)])
    run.lay(files="d1 d2")
    for minute in range(9):
        run.publish("d2", NOW + timedelta(minutes=minute), ancestors="")
    assert {name.rpartition("/")[2] for name in run.left() if name.endswith(".sst")} == {"000002.sst"}


def test_a_collector_lists_only_when_there_is_something_to_do(tmp_path: Path) -> None:
    """A list costs time in which the worker stands still."""
    run = Run(tmp_path, Policy(3, HOUR), [Fault("list", "before", times=ALWAYS, transient=False)])
    for minute in range(20):
        run.publish("d1", NOW + timedelta(minutes=minute), ancestors="")
    assert [verb for verb, _ in run.storage.calls if verb == "list"] == []


def test_a_claim_with_files_of_the_same_local_name_can_be_written(tmp_path: Path) -> None:
    """It names those of all stores that a restore reads."""
    catalog = Catalog(open_storage(str(tmp_path), {}, 1))
    one = manifest("d0", "a8 b8", ancestors="ab")
    catalog.write(one)
    assert catalog.read(name_of(one)) == one
    with pytest.raises(ValueError, match="local"):
        catalog.write(replace(one, version=1))


@pytest.mark.parametrize(("retain", "epoch"), [(0, 10), (60, 10), (600, 10), (600, 45), (0, 90)])
def test_deletion_comes_within_the_time_that_is_documented(retain: int, epoch: int, tmp_path: Path) -> None:
    """From when it is due: a round of a minute and an epoch for the manifest, and as long again for the files."""
    run = Run(tmp_path, Policy(1, timedelta(seconds=retain)))
    minute, one = timedelta(minutes=1), timedelta(seconds=epoch)
    superseded: dict[int, datetime] = {}
    gone: dict[str, timedelta] = {}
    for number in range(1, (retain + 600 + 9 * epoch) // epoch):
        now = NOW + number * one
        superseded[number - 2] = now
        run.lay(files=f"d{number}")
        run.publish(f"d{number}", now, ancestors="")
        there = run.left()
        for version, at in superseded.items():
            for name in (name_of(manifest(f"d{version}")), *named(f"d{version}")) if version > 0 else ():
                if name not in there:
                    gone.setdefault(name, now - at)
    due = timedelta(seconds=max(retain, 60))
    manifests, files = ([gone[name] for name in gone if name.endswith(end)] for end in (".manifest", ".sst"))
    assert due <= min(manifests)
    assert due + minute / 2 < max(manifests) < due + minute + 2 * one
    assert due + minute <= min(files)
    assert due + 3 * minute / 2 < max(files) < due + 2 * minute + 3 * one
