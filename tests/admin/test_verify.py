"""What `verify` finds: whatever breaks an invariant, and nothing that a running flow, or retention, does by right."""

import hashlib
import inspect
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bytewax_state.admin import invariants
from bytewax_state.admin.invariants import Finding
from bytewax_state.admin.roots import Roots
from bytewax_state.admin.survey import Survey
from bytewax_state.admin.verify import Report, check
from bytewax_state.signing import UNSIGNED
from bytewax_state.snapshot.catalog import Catalog, StepListing
from bytewax_state.snapshot.manifest import Manifest, name_of
from tests.faults import Fault, FaultyStorage, flipped
from tests.shop import KEY, NOTHING_RUNS, STEP, Shop
from tests.snapshot.listings import HOUR, NOW, manifest, named


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Make one that nothing ran in."""
    return Shop(tmp_path)


def break_rows(shop: Shop) -> None:
    shop.run(1, 2)
    for part in shop.recovery.glob("part-*.sqlite3"):
        with sqlite3.connect(part) as db:
            db.execute(
                "DELETE FROM snaps WHERE step_id = ? AND state_key = (SELECT MIN(state_key) FROM snaps)", (STEP,)
            )
        db.close()


def change_a_file(shop: Shop) -> None:
    """Flip a bit, and keep the size."""
    shop.run(1, 2)
    file = min(shop.uri.rglob("*.sst"))
    file.write_bytes(flipped(file.read_bytes(), 0))


def other_content(one: Manifest) -> Manifest:
    return replace(one, files=(replace(one.files[0], sha256="cd" * 32),))


BROKEN: dict[str, Callable[[Shop], object]] = {
    "refs_can_be_restored": Shop.lose_the_newest,
    "manifests_can_be_read": lambda shop: shop.catalog.storage.put(name_of(manifest("a2")), b"damaged"),
    "named_files_exist": lambda shop: shop.lay(manifest("a1", "a1"), files=False),
    "named_files_are_sound": change_a_file,
    "paths_mean_one_file": lambda shop: shop.lay(manifest("a1", "a1"), other_content(manifest("a2", "a1"))),
    "versions_rise": lambda shop: shop.lay(manifest("a1", groups=[0]), manifest("a3", groups={0: 0})),
    "ancestry_is_sound": lambda shop: shop.lay(manifest("a1", ancestors="b"), manifest("b1", ancestors="a")),
    "groups_have_rows": break_rows,
    "nothing_is_unreachable": lambda shop: (shop.run(1, recovery=shop.other()), shop.run(2)),
}


def predicates() -> set[str]:
    """Name the invariants: what looks for findings, and tells each under its own name."""
    return {
        name
        for name, function in inspect.getmembers(invariants, inspect.isfunction)
        if inspect.signature(function).return_annotation == Iterator[Finding]
    }


def test_every_invariant_is_broken_by_a_test() -> None:
    """One that nobody breaks here may not be checked by `verify`."""
    assert predicates() == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_verify_finds_what_is_wrong(name: str, shop: Shop) -> None:
    """With every invariant that there is; a finding is a line, and so is it for people."""
    BROKEN[name](shop)
    flags = ("verify", "--recovery", shop.recovery, "--deep")
    findings = shop.lines(*flags, code=1)
    assert name in {finding["invariant"] for finding in findings}
    assert {tuple(finding) for finding in findings} == {("invariant", "name", "text")}
    text = shop.cli(*flags, code=1).stdout.splitlines()
    assert len(text) == len(findings) + 1
    assert any(line.startswith(f"{name}: ") for line in text)


def test_without_deep_no_file_is_read(shop: Shop) -> None:
    """So a change that keeps the size is not found."""
    change_a_file(shop)
    assert shop.verify().exit_code == 0
    assert shop.verify("--deep", code=1).exit_code == 1


def test_what_is_deleted_all_the_time_keeps_nothing_else_from_being_said(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where lists are old: of garbage nothing is said then."""
    shop.run(1, 2, 3)
    listed = Catalog.step
    monkeypatch.setattr(Catalog, "step", lambda *args: replace(listed(*args), vanished=("a manifest",)))
    assert shop.verify("--deep", code=0).exit_code == 0
    assert "a manifest was deleted" in shop.cli("gc", "--recovery", shop.recovery, code=3).stderr


def test_without_a_recovery_directory_nothing_is_said_of_refs(shop: Shop) -> None:
    """Nor of garbage."""
    shop.lose_the_newest()
    shop.run(1, recovery=shop.other())
    assert shop.lines("verify", "--deep") == []


def test_a_ref_of_a_step_that_is_not_in_the_storage_is_a_finding(shop: Shop) -> None:
    """The wrong storage looks like an empty one."""
    shop.run(1)
    shutil.rmtree(shop.uri)
    shop.uri.mkdir()
    assert {finding["invariant"] for finding in shop.lines("verify", "--recovery", shop.recovery, code=1)} == {
        "refs_can_be_restored"
    }
    assert "snapshot-missing" in shop.cli("gc", "--recovery", shop.recovery, code=1).stderr


def test_one_cause_is_one_finding(shop: Shop) -> None:
    """Though many key groups are lost by it."""
    shop.run(*range(20))
    shutil.rmtree(shop.uri)
    shop.uri.mkdir()
    findings = shop.lines("verify", "--recovery", shop.recovery, code=1)
    assert len(findings) < 8
    assert sum(int(finding["text"].split()[3]) for finding in findings) == 8
    assert "belong together" in findings[0]["text"]


def test_refs_that_cannot_be_read_are_one_finding(shop: Shop) -> None:
    """As where the key is missing."""
    shop.run(1, 2, key=KEY)
    lines = shop.verify(code=1).stdout.splitlines()
    (finding,) = (line for line in lines if line.startswith("refs_can_be_restored"))
    assert "8 refs cannot be read; the first:" in finding


def test_state_that_plain_bytewax_keeps_is_a_finding(shop: Shop) -> None:
    """The next run refuses it."""
    shop.run(1, recovery=shop.other())
    shop.run(1, plain=True)
    assert [line["invariant"] for line in shop.lines("verify", "--recovery", shop.recovery, code=1)] == [
        "refs_can_be_restored"
    ]


def test_the_refs_are_counted(shop: Shop) -> None:
    """Or an empty recovery directory would look like a sound one."""
    shop.run(1)
    assert ", 8 refs: 0 findings" in shop.verify().stdout
    assert ", 0 refs: 0 findings" in shop.cli("verify", "--recovery", shop.other()).stdout


def test_what_a_running_flow_deletes_meanwhile_is_no_finding(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that was listed, and whose file had gone by the time it was asked for."""
    shop.lay(manifest("a1", "a1"), manifest("a2", "a2"))
    listed = Catalog.step

    def and_gone(catalog: Catalog, prefix: str) -> StepListing:
        step = listed(catalog, prefix)
        shop.catalog.storage.delete([name_of(manifest("a1")), *named("a1")])
        return step

    monkeypatch.setattr(Catalog, "step", and_gone)
    assert shop.lines("verify") == []


def test_what_retention_let_go_by_right_is_no_finding(shop: Shop) -> None:
    """Bytewax keeps rows by epochs, and retention by time: older rows may name what is gone."""
    shop.run(*range(5), backup=timedelta(hours=1))
    shop.catalog.storage.delete([name_of(one) for one in shop.manifests() if one.version < 4])
    assert shop.is_clean()
    shop.gc(*NOTHING_RUNS, "--delete")
    assert [one.version for one in shop.manifests()] == [4, 5]
    assert shop.is_clean(*NOTHING_RUNS)


class Quiet:
    """Hears how far it is, and counts."""

    def __init__(self) -> None:
        self.expected = self.done = 0

    def expect(self, more: int) -> None:
        self.expected += more

    def advance(self) -> None:
        self.done += 1

    def close(self) -> None:
        pass


def verify(storage: FaultyStorage, progress: Quiet) -> Report:
    survey = Survey(storage, UNSIGNED, 4, progress)
    try:
        return check(survey, Roots, True, HOUR, lambda: NOW)
    finally:
        survey.close()


@pytest.mark.parametrize(("times", "findings"), [(1, 0), (1 << 30, 1)])
def test_damage_on_the_way_is_read_again(shop: Shop, times: int, findings: int) -> None:
    """And damage that stays is told."""
    data = hashlib.sha256(b"0123456789").hexdigest()
    one = manifest("a1", "a1")
    shop.lay(replace(one, files=(replace(one.files[0], sha256=data),)))
    storage = FaultyStorage(shop.catalog.storage, [Fault("get_file", "corrupt", times=times)])
    assert len(verify(storage, Quiet()).findings) == findings


def test_each_manifest_is_read_once(shop: Shop) -> None:
    """However often a step is looked at; whoever wants to know hears of all that is done."""
    shop.lay(*(manifest(f"a{version}", f"a{version}") for version in range(1, 20)), files=False)
    storage = FaultyStorage(shop.catalog.storage, [])
    progress = Quiet()
    assert len(verify(storage, progress).findings) == 19
    assert sorted(name for verb, name in storage.calls if verb == "get") == [
        name_of(manifest(f"a{version}")) for version in range(1, 20)
    ]
    assert progress.done == progress.expected > 19
