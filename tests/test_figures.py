"""The pages say what was measured, and nothing else."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import page, plots
from benchmarks.figures import Figure
from benchmarks.results import Results
from benchmarks.suites import place

RESULTS = Results.load()
FIGURE = Figure("stateful_map:heap:100000:1000", "plain Bytewax", 5.6, "times", 5, at_least=5.5, theirs=5.6, ours=1.0)


@pytest.mark.parametrize("path", page.PAGES, ids=lambda path: path.name)
def test_a_page_is_made_from_the_figures(path: Path) -> None:
    """Run `python -m benchmarks.page`, and commit what it writes."""
    assert page.filled(path.read_text(), RESULTS) == path.read_text()


@pytest.mark.parametrize("name", plots.PLOTS)
def test_a_plot_is_of_the_figures(name: str) -> None:
    """It says so itself, whatever version of the library drew it."""
    assert plots.digest(RESULTS.of(plots.PLOTS[name][0])) in (plots.FOLDER / f"{name}.svg").read_text()


def test_the_same_figures_give_the_same_plots(tmp_path: Path) -> None:
    """Or every measurement would change all of them."""
    folders = tmp_path / "once", tmp_path / "twice"
    for folder in folders:
        folder.mkdir()
        plots.draw(RESULTS, folder)
    once, twice = ({path.name: path.read_text() for path in folder.iterdir()} for folder in folders)
    assert once == twice


def test_every_figure_is_still_measured() -> None:
    """What is not, is not to be told of."""
    assert [case for case in RESULTS.figures if place(case) is None] == []


def test_every_block_is_on_a_page() -> None:
    """And every block of a page is known."""
    text = "".join(path.read_text() for path in page.PAGES)
    assert set(page.BLOCKS) == set(page.named(text))


def test_figures_survive_the_way_through_the_file(tmp_path: Path) -> None:
    """A line for each."""
    path = tmp_path / "benchmarks" / "figures.json"
    results = Results({"cores": "2"}, {}, {}).merged(FIGURE, {"cores": "2"}, "2024-01-01 abc")
    results.save(path)
    assert Results.load(path) == results
    assert f"  {json.dumps(asdict(FIGURE))}" in path.read_text().splitlines()


def test_a_figure_that_is_measured_again_takes_the_place() -> None:
    """The others stay, with when they were measured."""
    other = replace(FIGURE, case="other")
    results = Results({}, {}, {}).merged(FIGURE, {}, "old").merged(other, {}, "old").merged(FIGURE, {}, "new")
    assert results.runs == {FIGURE.case: "new", "other": "old"}


def test_figures_are_in_the_order_in_which_they_are_measured() -> None:
    """Whichever was measured last; what is no longer measured goes."""
    results = Results({}, {}, {})
    for case in ("quix:heap:100000", "no_such_case", FIGURE.case, "memory:heap:1:0"):
        results = results.merged(replace(FIGURE, case=case), {}, "run")
    assert list(results.ordered(place).figures) == [FIGURE.case, "memory:heap:1:0", "quix:heap:100000"]


def test_figures_of_another_machine_do_not_stay() -> None:
    """A page with both would compare what cannot be compared."""
    results = Results({}, {}, {}).merged(FIGURE, {"cores": "2"}, "old").merged(FIGURE, {"cores": "4"}, "new")
    assert (results.machine, results.runs) == ({"cores": "4"}, {FIGURE.case: "new"})


def test_a_figure_below_what_was_asked_is_seen() -> None:
    """In the table, and in the list."""
    results = Results({}, {}, {FIGURE.case: replace(FIGURE, value=5.4)})
    assert "**5.4 < 5.5**" in page.BLOCKS["pairs"](results)
    assert FIGURE.case in page.BLOCKS["short"](results)
    assert page.BLOCKS["short"](replace(results, figures={FIGURE.case: FIGURE})) == "None."
