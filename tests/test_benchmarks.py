"""The benchmarks run, at tiny sizes, and print the lines that they promise; never how fast."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSink, run_main

from benchmarks import __main__ as command
from benchmarks import codecs, key_growth, large_state
from benchmarks.apart import RunFailedError
from benchmarks.cases import CASES, Backend, Case, select
from benchmarks.flows import Batches, Section, flow_of
from benchmarks.large_run import Run
from benchmarks.pairs import Line, measure, run_once
from benchmarks.turn import settings_of
from benchmarks.upload_amplification import Job
from benchmarks.upload_amplification import measure as measure_uploads
from bytewax_state import attach

LINE = ["case", "backend", "items", "keys", "batch", "theirs", "ours", "ratio", "at_least", "unit", "turns"]


def tiny(case: Case) -> Case:
    """Shrink a case."""
    return replace(case, items=600, keys=20, batch_size=50, cached=2.0)


SECTION = Section(0, items=600, batch_size=50)

FLOWS = {(case.operator, case.backend): case for case in reversed(CASES) if not case.is_live}.values()
"""The first case of each flow and store: the others differ in sizes, or in how they are run."""

WAYS = {(one.recovery, one.epoch_seconds, one.to_end, one.processes, one.is_live): one for one in CASES}.values()
"""The last case of each way to be run."""


class Untimed:
    """Times nothing."""

    def begin(self) -> None:
        """Begin."""

    def end(self) -> None:
        """End."""


def results(case: Case, folder: Path | None) -> dict[str, list[Any]]:
    """Run the flow of a case in this process, attached if there is a folder; return what each key gave."""
    out: list[Any] = []
    source = Batches(case.feed, iter([Section(0, case.items, case.batch_size)]), Untimed())
    flow = flow_of(case.operator, source, TestingSink(out))
    run_main(attach(flow, settings_of(case, folder)) if folder else flow)
    found: dict[str, list[Any]] = {}
    for key, value in out:
        found.setdefault(key, []).append(value)
    return found


def test_each_case_has_a_name_of_its_own() -> None:
    """A line could be of any of them otherwise."""
    assert len({case.full_name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("name", "count"), [("notify", 8), ("notify:heap", 4), ("notify:heap:1000:10", 1), ("stateful_map", 16)]
)
def test_a_name_may_be_cut_off(name: str, count: int) -> None:
    """At a colon, and then it names all that go on from there."""
    assert len(select([name])) == count


@pytest.mark.parametrize("case", WAYS, ids=lambda case: case.full_name)
def test_a_pair_gives_a_line(case: Case) -> None:
    """Both sides run in processes of their own and emit the same number of items."""
    (line,) = measure([tiny(case)], turns=1)
    assert (line.case, line.backend, line.items, line.keys, line.turns) == (case.name, case.backend, 600, 20, 1)
    assert line.theirs > 0
    assert line.ours > 0


def test_cases_of_a_pair_share_its_processes() -> None:
    """There is a line for each all the same."""
    cases = [replace(tiny(CASES[0]), batch_size=size) for size in (50, 10)]
    assert [line.batch for line in measure(cases, turns=2)] == [50, 10]


@pytest.mark.parametrize("case", FLOWS, ids=lambda case: f"{case.operator}:{case.backend}")
def test_both_sides_of_a_pair_give_the_same(case: Case, tmp_path: Path) -> None:
    """A ratio of two flows that do different things would say nothing."""
    assert results(tiny(case), tmp_path) == results(tiny(case), None)


def test_a_line_has_the_fields_that_scripts_read() -> None:
    """In this order."""
    assert [field.name for field in fields(Line)] == LINE


@pytest.mark.parametrize(("at_least", "holds"), [(None, True), (1.5, True), (1.6, False)])
def test_a_ratio_below_what_is_asked_for_does_not_hold(at_least: float | None, holds: bool) -> None:
    """A case that only informs always holds."""
    assert Line("case", "heap", 1, 1, 1, 2.0, 3.0, 1.5, at_least, "items/s", 5).holds is holds


def test_the_command_prints_json_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else goes to standard output, and a ratio that is too low is exit code 1."""
    case = replace(tiny(CASES[0]), at_least=1e9)
    monkeypatch.setattr(command, "select", lambda wanted: [case])
    assert command.main(["--turns", "1", "--json"]) == 1
    assert list(json.loads(capsys.readouterr().out)) == LINE


def test_an_unknown_case_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names those that there are."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["no_such_case"])
    assert "stateful_map:heap" in capsys.readouterr().err


def test_a_turn_that_fails_says_why() -> None:
    """Its error output is in the message."""
    with pytest.raises(RunFailedError, match="no_such_operator"):
        run_once("theirs", replace(tiny(CASES[0]), operator="no_such_operator"), SECTION)


def test_growth_is_that_of_ours_beside_that_of_a_dict() -> None:
    """Each with few keys and with many."""
    line = key_growth.measure(10, 1_000, turns=1, items=600)
    assert min(line.theirs + line.ours) > 0
    assert line.ratio != 0


def test_a_setting_of_the_users_does_not_reach_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would decide what is measured."""
    monkeypatch.setenv("BYTEWAX_STATE_KEY_GROUPS", "no number")
    assert run_once("ours", tiny(CASES[0]), SECTION).emitted == 620


def test_a_large_state_resumes_with_and_without_its_folder(tmp_path: Path) -> None:
    """Each run checks that every key has the state that the runs before it left."""
    found = dict(large_state.measure(2_000, tmp_path))
    assert {name: result.items for name, result in found.items()} == {
        "build": 2_000,
        "resume": 200,
        "resume_without_dir": 200,
    }
    assert all(result.peak_bytes > 0 for result in found.values())


def test_a_large_state_that_was_lost_is_found(tmp_path: Path) -> None:
    """Here it was never there."""
    with pytest.raises(RunFailedError, match="expected 2"):
        large_state.run(Run("theirs", keys=10, stop=10, seen_before=1, folder=str(tmp_path)))


def test_a_case_survives_the_way_into_its_process() -> None:
    """It is handed over as JSON."""
    assert all(Case(**json.loads(json.dumps(asdict(case)))) == case for case in CASES)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_uploads_are_those_of_the_manifests(backend: Backend, tmp_path: Path) -> None:
    """Each epoch changes as many rows as it says, and uploads little more."""
    line = measure_uploads(Job(backend, keys=2_000, epochs=5, changed=0.1), tmp_path)
    assert line.epochs == 5
    assert 5 * 200 * 200 < line.changed_bytes < 5 * 200 * 300
    assert line.amplification == round(line.uploaded_bytes / line.changed_bytes, 3) < 4
    assert 0 < line.manifest_bytes < line.uploaded_bytes
    assert line.median_upload <= line.largest_upload < 1


def test_the_codec_is_measured_beside_pickle(capsys: pytest.CaptureFixture[str]) -> None:
    """No state takes much more room than its pickle, or the exit code would say so."""
    assert codecs.main(["--turns", "1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["direction"] for line in lines} == {"encode", "decode"}
    assert all(line["ratio"] > 0 for line in lines)
