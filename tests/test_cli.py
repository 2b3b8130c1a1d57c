"""The command line: what it lists and shows, how it exits, and what it never prints."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bytewax_state.cli import app
from bytewax_state.metrics import UPLOADED_BYTES
from bytewax_state.signing import read_keys
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import is_store_id
from bytewax_state.snapshot.manifest import Manifest, Stats, name_of
from tests.shop import KEY, NOTHING_RUNS, OTHER, STEP, Shop
from tests.snapshot.listings import manifest, named, store

ROOT = Path(__file__).parent.parent
LONG = {"groups", "rows", "files", "inline", "changes", "states", "hash", "names"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Make one that nothing ran in."""
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Make one in which a flow of two steps ran twice; not to be changed."""
    made = Shop(tmp_path_factory.mktemp("used"))
    made.run(1, 2, 1, steps="st")
    made.run(3, 1, steps="st")
    return made


def rows(text: str) -> list[list[str]]:
    """Read the lines of tables that begin with a store."""
    return [line.split() for line in text.splitlines() if is_store_id(line.partition(" ")[0])]


# list


def test_people_see_the_newest_version_of_each_store(used: Shop) -> None:
    """With its step above."""
    text = used.cli("list").stdout
    newest: dict[str, int] = {}
    for one in used.manifests():
        newest[one.store_id] = max(newest.get(one.store_id, 0), one.version)
    assert {row[0]: int(row[1]) for row in rows(text)} == newest
    assert [line.partition(":")[0] for line in text.splitlines() if "stores" in line] == [STEP, OTHER]


def test_people_can_see_all_versions(used: Shop) -> None:
    """The claims too."""
    found = rows(used.cli("list", "--versions").stdout)
    assert [(row[0], int(row[1])) for row in found] == [(one.store_id, one.version) for one in used.manifests()]
    assert [row[2] == "(claim)" for row in found] == [one.version == 0 for one in used.manifests()]


def test_programs_see_every_version_under_the_names_of_the_manifest(used: Shop) -> None:
    """All fields but the long ones; sizes in bytes, times with their zone."""
    lines = used.lines("list")
    fields = set(Manifest.__annotations__)
    for line, one in zip(lines, used.manifests(), strict=True):
        assert set(line) == fields - LONG
        assert {name: line[name] for name in ("flow_id", "step_id", "store_id", "version", "epoch")} == {
            name: getattr(one, name) for name in ("flow_id", "step_id", "store_id", "version", "epoch")
        }
        assert datetime.fromisoformat(line["created_at"]) == one.created_at
        assert set(line["stats"]) == set(Stats.__annotations__)
        assert line["stats"]["live_bytes"] == one.stats.live_bytes
        assert line["stats"]["seconds"]["upload"] == one.stats.seconds.upload


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (("--flow", "flow"), "st"),
        (("--step", "flow.s"), "s"),
        (("--step", OTHER, "--flow", "flow"), "t"),
        (("--step", "flow.s.state"), ""),
        (("--flow", "flo"), ""),
    ],
)
def test_a_list_can_be_narrowed(used: Shop, flags: tuple[str, ...], steps: str) -> None:
    """By flow, by step, by the operator that a step is in; and never by a part of a name."""
    assert {line["step_id"].split(".")[1] for line in used.lines("list", *flags)} == set(steps)


def test_a_manifest_that_cannot_be_read_is_listed_with_its_error(shop: Shop) -> None:
    """And the others are listed all the same."""
    shop.lay(manifest("a1", "a1"))
    shop.catalog.storage.put(name_of(manifest("a2")), b"damaged")
    good, bad = shop.lines("list", code=1)
    assert good["version"] == 1
    assert (bad["name"], bad["store_id"], bad["version"]) == (name_of(manifest("a2")), store("a"), 2)
    assert (bad["kind"], "damaged" in bad["text"]) == ("snapshot-corrupt", True)
    assert f"cannot be read: {bad['name']}" in shop.cli("list", code=1).stdout


def test_a_store_that_has_published_nothing_is_listed(shop: Shop) -> None:
    """Its first upload may be under way."""
    shop.catalog.storage.put(named("a1")[0], b"")
    assert rows(shop.cli("list").stdout) == [[store("a"), "none"]]
    assert shop.lines("list") == []


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_storage_with_nothing_in_it_is_fine(shop: Shop, flags: tuple[str, ...]) -> None:
    """Nothing is printed, and people are told why."""
    shop.uri.mkdir()
    done = shop.cli("list", *flags)
    assert done.stdout == ""
    assert done.stderr == f"bytewax-state: no snapshots in file://{shop.uri}\n"
    assert shop.cli("verify", "--json").stdout == ""


def test_a_name_cannot_do_anything_to_a_terminal(shop: Shop) -> None:
    """A flow may have any name, and a manifest may come from anywhere."""
    shop.lay(replace(manifest("a1"), flow_id="a\x1b[31mb", step_id="a\x1b[31mb.[red]s\n"))
    for command in (("list",), ("list", "--versions"), ("show", store("a")), ("verify",)):
        assert "\x1b" not in shop.cli(*command).stdout
    assert json.loads(shop.cli("list", "--json").stdout)["flow_id"] == "a\x1b[31mb"


@pytest.mark.parametrize("steps", ["s", "st"])
def test_every_byte_in_the_storage_was_told(steps: str, shop: Shop) -> None:
    """By the metrics, and by a list for programs, in which a version's manifest, or a claim, is beside its files."""
    before = uploaded()
    shop.run(1, 2, 1, steps=steps)
    shop.run(3, 1, steps=steps)
    there = sum(map(len, shop.objects().values()))
    stats = [line["stats"] for line in shop.lines("list")]
    assert sum(one["uploaded_bytes"] + one["manifest_bytes"] for one in stats) == there
    assert uploaded() - before == there


def uploaded() -> float:
    """Read the metric, of all steps."""
    samples = [sample for metric in UPLOADED_BYTES.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name == "bytewax_state_uploaded_bytes_total")


def test_people_see_what_a_version_brought_with_its_manifest(shop: Shop) -> None:
    """Which is most of it, where little changed."""
    shop.lay(manifest("a1", "a1"), manifest("a2", "a1"))
    (row,) = rows(shop.cli("list").stdout)
    size = len(shop.catalog.storage.get(name_of(manifest("a2"))))
    assert row[-4:] == [str(size), "B", "0", "B"]
    total = sum(map(len, shop.objects().values()))
    assert f"1 store, 2 versions, 1 file, {total} B" in shop.cli("list").stdout
    assert f"this manifest, {size} B" in shop.cli("show", store("a")).stdout


def test_rows_that_nobody_counted_are_marked(shop: Shop) -> None:
    """Those of a manifest of format 1 are an estimate."""
    old = (ROOT / "tests" / "data" / "format-1.manifest").read_bytes()
    name = "access log/steps/access log.hits.window.stateful_batch/20261124T081500123456Z-w001-ab12cd34"
    shop.catalog.storage.put(f"{name.replace(' ', '%20')}/000000000007.manifest", old)
    (row,) = rows(shop.cli("list").stdout)
    assert "~1000000" in row
    assert "~1000000, " in shop.cli("show", row[0]).stdout


# show


def test_a_version_is_shown_with_all_its_fields(used: Shop) -> None:
    """But of inline files only the sizes, and of the changes only their number."""
    one = used.catalog.read(name_of(used.manifests()[2]))
    (line,) = used.lines("show", f"{one.store_id}@{one.version}")
    assert set(line) == set(Manifest.__annotations__)
    assert one.inline
    assert line["inline"] == {name: len(data) for name, data in one.inline.items()}
    assert line["changes"] == len(one.changes) > 0
    assert {int(group): version for group, version in line["groups"].items()} == one.groups
    assert {int(group): rows for group, rows in line["rows"].items()} == one.rows
    assert [(file["path"], file["size"], file["sha256"]) for file in line["files"]] == [
        (entry.path, entry.size, entry.sha256) for entry in one.files
    ]


def test_people_see_all_of_a_version(used: Shop) -> None:
    """Identity, groups, files, ancestors, writer, what it cost."""
    one = used.catalog.read(name_of(used.manifests()[-1]))
    text = used.cli("show", f"{one.store_id}@{one.version}").stdout
    wanted = [one.flow_id, one.step_id, one.store_id, *one.ancestors, "bytewax 0.21", "0-7", *one.inline]
    wanted += [word for entry in one.files for word in (entry.path, str(entry.size), entry.sha256)]
    assert [word for word in wanted if word not in text] == []


def test_without_a_version_the_newest_is_shown(used: Shop) -> None:
    """And the name of a manifest does, as findings have it."""
    one = used.manifests()[-1]
    (newest,) = used.lines("show", one.store_id)
    assert (newest["store_id"], newest["version"]) == (one.store_id, one.version)
    assert used.lines("show", name_of(one)) == [newest]


@pytest.mark.parametrize(
    "version", ["nonsense", "{store}@", "{store}@x", "{store}@999", f"{store('z')}@1", store("z"), "{name}"]
)
def test_a_version_that_is_not_there_is_a_usage_error(used: Shop, version: str) -> None:
    """It says what there is."""
    one = used.manifests()[-1]
    gone = name_of(replace(one, version=999))
    done = used.cli("show", version.format(store=one.store_id, name=gone), code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("bytewax-state: usage: ")


def test_a_version_that_is_damaged_is_told(shop: Shop) -> None:
    """With the kind of the error."""
    shop.catalog.storage.put(name_of(manifest("a2")), b"damaged")
    assert "snapshot-corrupt" in shop.cli("show", f"{store('a')}@2", code=1).stderr


def test_a_missing_folder_is_not_taken_for_an_empty_storage(shop: Shop) -> None:
    """A typo would look like that."""
    done = shop.cli("list", code=2)
    assert (done.stdout, str(shop.uri) in done.stderr) == ("", True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--uri", "none"),
        ("list", "--uri", "nope://bucket"),
        ("list", "--uri", ""),
        ("list", "--nonsense"),
        ("show",),
        ("nonsense",),
        ("gc",),
        ("gc", "--recovery", "no-such-folder"),
        ("verify", "--min-age", "3"),
        ("gc", "--recovery", ".", "--grace", "soon"),
    ],
)
def test_a_wrong_command_exits_with_2(shop: Shop, arguments: tuple[str, ...]) -> None:
    """And prints nothing to standard output."""
    assert shop.cli(*arguments, code=2, uri=False).stdout == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("UPLOAD_THREADS", "many"), ("STORAGE_OPTIONS", "{"), ("SIGNING_KEY", "short"), ("NO_SUCH", "1"), ("URI", "none")],
)
def test_a_wrong_setting_exits_with_2(shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """In one line that names it."""
    monkeypatch.setenv(f"BYTEWAX_STATE_{name}", value)
    done = shop.cli("list", code=2, uri=name != "URI")
    assert len(done.stderr.splitlines()) == 1
    assert f"BYTEWAX_STATE_{name}" in done.stderr


def test_a_storage_out_of_reach_exits_with_3(shop: Shop) -> None:
    """Whichever command meets it."""
    loop = shop.uri / name_of(manifest("a1"))
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop)
    for command in (("list",), ("verify",), ("show", f"{store('a')}@1")):
        done = shop.cli(*command, code=3)
        assert (done.stdout, done.stderr.startswith("bytewax-state: storage: ")) == ("", True)


def test_the_storage_is_that_of_the_environment(used: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the flow."""
    monkeypatch.setenv("BYTEWAX_STATE_URI", f"file://{used.uri}")
    assert used.cli("list", uri=False).stdout == used.cli("list").stdout


def test_a_key_that_is_missing_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without it nothing is deleted."""
    shop.run(1, 2, key=KEY)
    shop.run(3, key=KEY, recovery=shop.other())
    assert {line["kind"] for line in shop.lines("list", code=1)} == {"snapshot-corrupt"}
    assert {line["invariant"] for line in shop.lines("verify", "--recovery", shop.recovery, code=1)} == {
        "manifests_can_be_read",
        "refs_can_be_restored",
    }
    before = shop.objects()
    shop.gc("--delete", *NOTHING_RUNS, code=1)
    assert shop.objects() == before
    monkeypatch.setenv("BYTEWAX_STATE_SIGNING_KEY", KEY)
    assert shop.lines("list")
    assert shop.gc("--delete", *NOTHING_RUNS)
    assert shop.is_clean(*NOTHING_RUNS)


def test_refs_that_somebody_else_wrote_are_not_believed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key, what is not signed does not say what may go."""
    shop.run(1, 2)
    for one in shop.manifests():
        shop.catalog.storage.delete([name_of(one)])
        Catalog(shop.catalog.storage, read_keys(KEY)).write(one)
    monkeypatch.setenv("BYTEWAX_STATE_SIGNING_KEY", KEY)
    before = shop.objects()
    assert "not signed" in shop.cli("gc", "--recovery", shop.recovery, "--delete", *NOTHING_RUNS, code=1).stderr
    assert shop.objects() == before


def test_no_secret_is_ever_printed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the key, nor what a URI or the options of a driver hold."""
    monkeypatch.setenv("BYTEWAX_STATE_SIGNING_KEY", f"{KEY} hunter2")
    monkeypatch.setenv("BYTEWAX_STATE_STORAGE_OPTIONS", '{"password": "hunter2"}')
    shop.run(1, key=KEY)
    for arguments in (
        ("list", "--uri", shop.uri),
        ("verify", "--recovery", shop.recovery, "--uri", shop.uri),
        ("list", "--uri", "memory://me:hunter2@there"),
        ("list", "--uri", "nope://me:hunter2@there/x"),
        ("list", "--uri", "simplecache::memory://me:hunter2@there"),
    ):
        done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert "hunter2" not in done.output


# The program


def test_a_disk_that_refuses_is_no_wrong_data(shop: Shop) -> None:
    """As where a folder above cannot be entered: one line, and the exit code of a storage out of reach."""
    said = shop.cli("list", "--uri", shop.folder / ("a" * 300), code=3, uri=False).stderr
    assert re.fullmatch(r"bytewax-state: storage: .*File name too long.*\n", said)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(unbuffered: str, used: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told; a reader that has seen enough is none of our business."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    line = f"{sys.executable} -m bytewax_state.cli list --versions --json --uri '{used.uri}'"
    full = subprocess.run(["bash", "-c", f"{line} > /dev/full"], check=False, capture_output=True, text=True)
    assert (full.returncode, full.stderr.count("\n")) == (3, 1)
    assert "No space left" in full.stderr
    script = f"set -o pipefail; {line} | sed q; {line} | true"
    seen = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (seen.returncode, seen.stderr, seen.stdout.count("\n")) == (0, "", 1)


def program(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bytewax_state.cli", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_does_what_the_commands_do(used: Shop) -> None:
    """From a shell, with its own clock, and with nothing on standard error."""
    done = program("list", "--json", BYTEWAX_STATE_URI=str(used.uri))
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == used.lines("list")


def test_the_program_exits_as_documented(shop: Shop) -> None:
    """With a line, and no traceback."""
    done = program("list", "--uri", shop.uri)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    shop.catalog.storage.put(name_of(manifest("a2")), b"damaged")
    assert program("verify", "--uri", shop.uri).returncode == 1


def test_the_entry_point_is_there() -> None:
    """As the package names it."""
    found = re.search(r'^bytewax-state = "([\w.]+):(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    assert callable(getattr(import_module(found[1]), found[2]))
