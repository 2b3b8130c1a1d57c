"""The benchmarks run, at tiny sizes, and print the lines that they promise; never how fast."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSink, run_main

from benchmarks import __main__ as command
from benchmarks import codecs, key_growth, large_state, memory, pauses, quix, resume, state_size, upload_amplification
from benchmarks.apart import RunFailedError
from benchmarks.cases import CASES, Backend, Case
from benchmarks.figures import Figure
from benchmarks.flows import Batches, Section, flow_of
from benchmarks.large_run import Run, run_large
from benchmarks.pairs import measure, run_once
from benchmarks.suites import SUITES
from benchmarks.turn import settings_of
from benchmarks.upload_amplification import Job
from bytewax_state import attach

LINE = ["case", "against", "value", "unit", "turns", "at_least", "at_most", "theirs", "ours", "side_unit", "more"]


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

    def lap(self) -> None:
        """Go on."""

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
    ("name", "count"), [("stateful", 8), ("stateful:heap:1000", 4), ("stateful:heap:1000:10", 1), ("stateful_map", 16)]
)
def test_a_name_may_be_cut_off(name: str, count: int) -> None:
    """At a colon, and then it names all that go on from there."""
    assert sum(case.is_named(name) for case in CASES) == count


@pytest.mark.parametrize("case", WAYS, ids=lambda case: case.full_name)
def test_a_pair_gives_a_figure(case: Case) -> None:
    """Both sides run in processes of their own and emit the same number of items."""
    (figure,) = measure([tiny(case)], turns=1)
    assert (figure.case, figure.turns) == (f"{case.name}:{case.backend}:20:50", 1)
    assert figure.theirs
    assert figure.ours
    assert figure.value == pytest.approx(figure.theirs / figure.ours, rel=0.02) or case.unit == "items/s"


def test_cases_of_a_pair_share_its_processes() -> None:
    """There is a figure for each all the same."""
    cases = [replace(tiny(CASES[0]), batch_size=size) for size in (50, 10)]
    assert [figure.case for figure in measure(cases, turns=2)] == [case.full_name for case in cases]


@pytest.mark.parametrize("case", FLOWS, ids=lambda case: f"{case.operator}:{case.backend}")
def test_both_sides_of_a_pair_give_the_same(case: Case, tmp_path: Path) -> None:
    """A ratio of two flows that do different things would say nothing."""
    assert results(tiny(case), tmp_path) == results(tiny(case), None)


FIGURE = Figure("case", "plain Bytewax", 1.5, "times", 5)


def test_a_line_has_the_fields_that_scripts_read() -> None:
    """In this order."""
    assert list(asdict(FIGURE)) == LINE


@pytest.mark.parametrize(
    ("at_least", "at_most", "holds"),
    [(None, None, True), (1.5, None, True), (1.6, None, False), (None, 1.5, True), (None, 1.4, False)],
)
def test_a_figure_is_judged_by_what_was_asked(at_least: float | None, at_most: float | None, holds: bool) -> None:
    """One for information always holds."""
    assert replace(FIGURE, at_least=at_least, at_most=at_most).holds is holds


def test_the_command_prints_json_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else goes to standard output, and a figure that is too low is exit code 1."""
    monkeypatch.setitem(SUITES, "too_low", lambda turns, report: iter([replace(FIGURE, at_least=1e9)]))
    assert command.main(["too_low", "--turns", "1", "--json"]) == 1
    assert list(json.loads(capsys.readouterr().out)) == LINE


def test_what_fails_keeps_nothing_else_from_being_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named at the end, and the exit code tells of it."""
    failing = replace(tiny(CASES[0]), operator="no_such_operator")
    monkeypatch.setitem(SUITES, "failing", lambda turns, report: measure([failing], turns, report))
    monkeypatch.setitem(SUITES, "measured", lambda turns, report: iter([FIGURE]))
    assert command.main(["failing", "measured", "--turns", "1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == LINE
    assert "not measured: benchmarks.turn" in err


def test_an_unknown_case_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names those that there are."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["no_such_case"])
    assert "there is no no_such_case; there are stateful_map" in capsys.readouterr().err


def test_a_turn_that_fails_says_why() -> None:
    """Its error output is in the message."""
    with pytest.raises(RunFailedError, match="no_such_operator"):
        run_once("theirs", replace(tiny(CASES[0]), operator="no_such_operator"), SECTION)


SMALL: dict[str, Callable[[], Iterator[Figure]]] = {
    "key_growth": lambda: key_growth.figures(1, print, few=10, many=1_000, items=600),
    "resume": lambda: resume.figures(1, print, keys=300, many=500),
    "memory": lambda: memory.figures(1, print, keys=20_000),
    "pauses": lambda: pauses.figures(2, print, keys=20_000),
    "state_size": lambda: state_size.figures(1, print, sizes=(100, 1_000)),
    "upload_amplification": lambda: upload_amplification.figures(1, print, keys=1_000, epochs=3),
    "quix": lambda: quix.figures(1, print, keys=100, items=600),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_suite_gives_figures(name: str) -> None:
    """Each with a name of its own; every key has the state that the runs before left."""
    if name == "quix" and not quix.PYTHON.exists():
        pytest.skip("Quix Streams is not installed")
    figures = list(SMALL[name]())
    assert figures
    assert len({figure.case for figure in figures}) == len(figures)


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
        run_large(Run("theirs", keys=10, stop=10, seen_before=1, folder=str(tmp_path)))


def test_a_case_survives_the_way_into_its_process() -> None:
    """It is handed over as JSON."""
    assert all(Case(**json.loads(json.dumps(asdict(case)))) == case for case in CASES)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_uploads_are_those_of_the_manifests(backend: Backend, tmp_path: Path) -> None:
    """Each epoch changes as many rows as it says, and uploads little more."""
    line = upload_amplification.measure(Job(backend, keys=2_000, epochs=5, changed=0.1), tmp_path)
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
