"""What `gc` deletes: what it said, of one flow, and nothing that anybody may resume from."""

import shutil
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import name_of
from tests.shop import NOTHING_RUNS, OTHER, STEP, Shop
from tests.snapshot.listings import NOW, PREFIX, manifest, path, store


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Make one that nothing ran in."""
    return Shop(tmp_path)


def test_a_dry_run_deletes_nothing(shop: Shop) -> None:
    """It only says what could go."""
    shop.run(1, 2, 3)
    shop.run(4)
    before = shop.objects()
    done = shop.cli("gc", "--recovery", shop.recovery)
    assert "nothing was deleted" in done.stdout
    assert any(line["manifests"] for line in shop.gc() if "step" in line)
    assert shop.objects() == before
    assert shop.slept == []


def test_what_is_deleted_is_what_was_said(shop: Shop) -> None:
    """No more, no less; what is left is sound, and the flow goes on from it."""
    shop.run(1, 2, 3, steps="st")
    shop.run(4, 5, recovery=shop.other(), steps="st")
    before = shop.objects()
    said = shop.gc(*NOTHING_RUNS)
    done = shop.gc(*NOTHING_RUNS, "--delete")
    assert [line | {"deleted": True} for line in said] == done
    gone = before.keys() - shop.objects().keys()
    assert gone == {line["name"] for line in done if "name" in line}
    assert any(name.endswith(".sst") for name in gone)
    assert shop.is_clean(*NOTHING_RUNS)
    assert shop.gc(*NOTHING_RUNS) == []
    assert shop.run(*(1, 2, 3), *(1, 2), steps="st")[-2:] == [("k1", 3), ("k2", 6)]


def test_the_sums_are_those_of_the_lines(shop: Shop) -> None:
    """By step."""
    shop.run(1, 2, recovery=shop.other(), steps="st")
    shop.run(1, steps="st")
    lines = shop.gc(*NOTHING_RUNS)
    sums = [line for line in lines if "step" in line]
    assert len(sums) == 2
    for line in sums:
        mine = [one for one in lines if one.get("name", "").startswith(f"{line['step']}/")]
        files = [one for one in mine if one["name"].endswith(".sst")]
        assert (line["manifests"], line["files"]) == (len(mine) - len(files), len(files))
        assert line["bytes"] == sum(one["size"] for one in mine)
    assert sum(line["files"] for line in sums) == sum(name.endswith(".sst") for name in named(lines)) > 0


def test_the_bytes_that_go_are_those_that_are_gone(shop: Shop) -> None:
    """Manifests among them."""
    shop.run(1, 2, recovery=shop.other(), steps="st")
    shop.run(1, steps="st")
    before = shop.objects()
    lines = shop.gc(*NOTHING_RUNS, "--delete")
    gone = before.keys() - shop.objects().keys()
    assert sum(line["bytes"] for line in lines if "step" in line) == sum(len(before[name]) for name in gone)


def named(lines: list[dict[str, Any]]) -> list[str]:
    """Name the objects of some lines."""
    return [line["name"] for line in lines if "name" in line]


def test_a_file_that_no_manifest_tells_of_is_asked_for_its_size(shop: Shop) -> None:
    """It is left of an upload that was cut short."""
    shop.run(1)
    name = f"flow/steps/{STEP}/{path('a9')}"
    shop.catalog.storage.put(name, b"12345")
    assert {"name": name, "size": 5, "deleted": False} in shop.gc()


def test_a_young_store_stays(shop: Shop) -> None:
    """An hour unless told otherwise: a run may be about to commit."""
    shop.run(1)
    shop.run(2, recovery=shop.other())
    shop.later = timedelta(minutes=59)
    assert shop.gc() == []
    assert shop.gc("--min-age", "58m") != []


def test_files_go_after_the_grace_period(shop: Shop) -> None:
    """A minute unless told otherwise, once for all steps; the manifests are gone by then."""
    shop.run(1, recovery=shop.other(), steps="st")
    shop.run(2)
    seen: list[set[str]] = []
    shop.while_waiting = lambda: seen.append({name.rpartition(".")[2] for name in shop.objects() if ".t." in name})
    shop.gc("--delete")
    assert sum(shop.slept) == 60
    assert seen[0] == {"sst"}
    shop.slept.clear()
    shop.run(1, recovery=shop.other())
    shop.run(3)
    shop.gc("--delete", "--grace", "1.5s")
    assert shop.slept == [1.0, 0.5]


def test_what_a_run_claims_within_the_grace_period_stays(shop: Shop) -> None:
    """It was about to restore from it."""
    shop.run(1)
    shop.lay(manifest("a1", "a1 a2"))
    prefix = f"flow/steps/{STEP}"
    shutil.move(shop.uri / PREFIX / store("a"), shop.uri / prefix)
    (shop.uri / prefix / store("a") / "000000000001.manifest").unlink()
    shop.catalog.write(replace(manifest("a1", "a1 a2"), step_id=STEP))
    claim = replace(manifest("b0", "a1", ancestors="a", created_at=NOW + timedelta(days=999)), step_id=STEP)
    shop.while_waiting = lambda: shop.catalog.write(claim)
    text = shop.cli("gc", "--recovery", shop.recovery, "--delete", "--grace", "1s").stdout
    assert "left 1 file that a run claimed meanwhile" in text
    assert f"{prefix}/{path('a1')}" in shop.objects()
    assert f"{prefix}/{path('a2')}" not in shop.objects()


def test_other_flows_stay_as_they_are(shop: Shop) -> None:
    """Garbage or not; also one whose name begins the same."""
    shop.run(1)
    for flow_id in ("other", "flow2", "flo"):
        shop.run(1, flow_id=flow_id, recovery=shop.other())
    before = {name: data for name, data in shop.objects().items() if not name.startswith("flow/")}
    shop.run(1, recovery=shop.other())
    assert shop.gc("--delete", *NOTHING_RUNS) != []
    assert {name: data for name, data in shop.objects().items() if not name.startswith("flow/")} == before
    assert shop.is_clean(*NOTHING_RUNS)


def test_a_step_that_the_recovery_directory_does_not_know_goes(shop: Shop) -> None:
    """It was renamed, or taken out, before this directory was made."""
    shop.run(1, steps="t", recovery=shop.other())
    shop.run(1)
    assert {line["name"].split("/")[2] for line in shop.lines("verify", "--recovery", shop.recovery, code=1)} == {OTHER}
    shop.gc("--delete")
    assert {one.step_id for one in shop.manifests()} == {STEP}
    assert [name for name in shop.objects() if OTHER in name] == []


def test_a_missing_partition_is_refused(shop: Shop) -> None:
    """It may hold the refs that are wanted; several folders together may have all."""
    shop.run(1)
    elsewhere = shop.folder / "elsewhere"
    elsewhere.mkdir()
    shutil.move(shop.recovery / "part-1.sqlite3", elsewhere)
    before = shop.objects()
    for verb in (("gc", "--delete"), ("verify",)):
        done = shop.cli(*verb, "--recovery", shop.recovery, code=2)
        assert "not all recovery partitions" in done.stderr
    assert shop.objects() == before
    shop.gc("--recovery", elsewhere)
    assert shop.is_clean("--recovery", elsewhere)


def test_nothing_is_deleted_while_a_manifest_cannot_be_read(shop: Shop) -> None:
    """In any step: all are planned before the first one is touched."""
    shop.run(1, 2, steps="st")
    shop.run(3, steps="st", recovery=shop.other())
    victim = name_of(next(one for one in shop.manifests() if ".t." in one.step_id))
    (shop.uri / victim).write_bytes(b"damaged")
    before = shop.objects()
    done = shop.cli("gc", "--recovery", shop.recovery, "--delete", *NOTHING_RUNS, code=1)
    assert victim in done.stderr
    assert shop.objects() == before


def test_nothing_is_deleted_while_a_ref_cannot_be_served(shop: Shop) -> None:
    """The storage is not that of the recovery directory, or something is wrong."""
    shop.lose_the_newest()
    before = shop.objects()
    assert "belong together" in shop.cli("gc", "--recovery", shop.recovery, "--delete", code=1).stderr
    assert shop.objects() == before


def test_a_recovery_directory_without_refs_does_not_tell_its_flow(shop: Shop) -> None:
    """So it has to be told; all of it goes then."""
    shop.run(1, 2, recovery=shop.other())
    shop.run(1, flow_id="flow2", recovery=shop.other())
    assert "--flow" in shop.cli("gc", "--recovery", shop.recovery, "--delete", code=2).stderr
    assert len(shop.manifests()) > 0
    shop.gc("--flow", "flow", "--delete")
    assert {name.partition("/")[0] for name in shop.objects()} == {"flow2"}


def test_a_flow_that_the_recovery_directory_is_not_of_is_refused(shop: Shop) -> None:
    """Or all of it would be garbage."""
    shop.run(1)
    shop.run(1, flow_id="flow2", recovery=shop.other())
    before = shop.objects()
    assert "'flow'" in shop.cli("gc", "--recovery", shop.recovery, "--flow", "flow2", "--delete", code=2).stderr
    assert shop.objects() == before
    assert shop.gc("--flow", "flow", *NOTHING_RUNS, "--delete") != []


def test_what_is_published_while_gc_looks_survives(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its refs were not read: the clock is read before them, so that it is young, whatever `--min-age` is."""
    shop.run(1, 2)
    shop.run(3, recovery=shop.other())
    shop.later = timedelta(0)
    steps = Catalog.steps

    def after_a_run(*args: Any) -> list[str]:
        shop.run(1, 2, 4, 5)
        return steps(*args)

    monkeypatch.setattr(Catalog, "steps", after_a_run)
    assert shop.gc(*NOTHING_RUNS, "--delete") != []
    monkeypatch.undo()
    assert shop.is_clean()


def test_the_partitions_are_read_before_the_storage(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or their refs would name versions that are not in its list yet."""
    shop.run(1, 2)
    steps = Catalog.steps

    def without_partitions(*args: Any) -> list[str]:
        shutil.rmtree(shop.recovery)
        shop.recovery.mkdir()
        return steps(*args)

    monkeypatch.setattr(Catalog, "steps", without_partitions)
    assert shop.gc() != []


def test_a_version_that_goes_between_the_two_looks_is_looked_for_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow that keeps little has superseded, and deleted, what the refs named that were read."""
    shop.run(1, 2)
    steps = Catalog.steps
    runs = iter([lambda: shop.run(1, 2, 3), list])

    def after_a_run(*args: Any) -> list[str]:
        old = [name for name in shop.objects() if name.endswith(".manifest")]
        if next(runs)():
            shop.catalog.storage.delete(old)
        return steps(*args)

    monkeypatch.setattr(Catalog, "steps", after_a_run)
    assert shop.cli("gc", "--recovery", shop.recovery).exit_code == 0
    assert list(runs) == []


def test_ctrl_c_in_the_grace_period_leaves_files_that_a_later_gc_finds(shop: Shop) -> None:
    """And has an exit code of its own."""
    shop.run(1)
    shop.run(2, recovery=shop.other())

    def interrupt() -> None:
        raise KeyboardInterrupt

    shop.while_waiting = interrupt
    assert "interrupted" in shop.cli("gc", "--recovery", shop.recovery, "--delete", *NOTHING_RUNS, code=130).stderr
    left = [line["name"] for line in shop.gc(*NOTHING_RUNS) if "name" in line]
    assert left
    assert all(name.endswith(".sst") for name in left)


def test_partitions_of_two_directories_are_refused(shop: Shop) -> None:
    """However they are mixed: what the one needs would be garbage of the other."""
    other = shop.other(partitions=3)
    shop.run(*range(20))
    shop.run(*range(20), recovery=other)
    refuses_mixtures(shop, other)


def test_partitions_of_two_moments_are_refused(shop: Shop) -> None:
    """As where one disk was restored from a backup."""
    shop.run(*range(20))
    old = shutil.copytree(shop.recovery, shop.folder / "old")
    shop.run(*range(20))
    refuses_mixtures(shop, old)


def refuses_mixtures(shop: Shop, other: Path) -> None:
    """Give `gc` partitions of both directories, in every way, and see that nothing is deleted."""
    before = shop.objects()
    for number, folders in enumerate(product((shop.recovery, other), repeat=3)):
        if len(set(folders)) == 1:
            continue
        mixed = shop.folder / f"mixed-{number}"
        mixed.mkdir()
        for index, folder in enumerate(folders):
            for part in folder.glob(f"part-{index}.sqlite3*"):
                shutil.copy(part, mixed)
        said = shop.cli("gc", "--recovery", mixed, "--delete", *NOTHING_RUNS, code=2).stderr
        assert "do not belong together" in said
    assert shop.objects() == before


def test_reading_partitions_that_are_none_is_a_usage_error(shop: Shop) -> None:
    """As with any other wrong folder."""
    (shop.recovery / "part-0.sqlite3").unlink()
    (shop.recovery / "part-0.sqlite3").mkdir()
    shop.uri.mkdir()
    assert "recovery partition" in shop.cli("gc", "--recovery", shop.recovery, code=2).stderr
