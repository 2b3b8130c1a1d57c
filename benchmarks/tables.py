"""The tables of the figures, as Markdown.

Owns how a figure is written. It does not own the pages that the tables stand on (`page`). Called by `page`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from benchmarks.cases import CASES
from benchmarks.figures import Figure
from benchmarks.results import Results

NONE = "–"
SIZES = (1_000, 100, 10, 1)
"""Of batches: the columns of the table of pairs."""


def machine(results: Results) -> str:
    """Tell where and when the figures were measured."""
    parts = results.machine
    runs = sorted(set(results.runs.values()))
    measured = ", ".join(f"{day} (commit `{commit}`)" for day, _, commit in (run.partition(" ") for run in runs))
    return (
        f"{parts.get('processor')}, {parts.get('cores')} cores, {parts.get('memory')}, {parts.get('system')}; "
        f"Python {parts.get('Python')}, Bytewax {parts.get('bytewax')}, rocksdict {parts.get('rocksdict')}. "
        f"Measured on {measured or NONE}; medians of {_turns(results)}."
    )


def pairs(results: Results) -> str:
    """Make a line for each pair against plain Bytewax, with what its batches of each size reached."""
    found = {
        case.full_name: results.figures.get(case.full_name) for case in CASES if _is_row(case.batch_size, case.name)
    }
    rows = []
    for pair, group in groupby(found.items(), lambda item: item[0].rpartition(":")[0]):
        by_size = {int(name.rpartition(":")[2]): figure for name, figure in group}
        if any(by_size.values()):
            rows.append([f"`{pair}`", *(_reached(by_size.get(size)) for size in SIZES), _cost(by_size.get(SIZES[0]))])
    head = ["pair", *(f"{size:,}" for size in SIZES), "CPU µs an item, with 1,000"]
    return table(head, rows)


def others(results: Results) -> str:
    """Make a line for each figure that is in no row of the table of pairs."""
    in_pairs = {case.full_name for case in CASES if _is_row(case.batch_size, case.name)}
    rows = [
        [f"`{figure.case}`", figure.against, _asked(figure), _value(figure), _sides(figure), str(figure.turns)]
        for figure in results.figures.values()
        if figure.case not in in_pairs and (figure.at_least, figure.at_most) != (None, None)
    ]
    return table(["figure", "against", "asked", "reached", "theirs → ours", "turns"], rows)


def short(results: Results) -> str:
    """List the figures that are not what was asked for."""
    found = [figure for figure in results.figures.values() if not figure.holds]
    if not found:
        return "None."
    return "\n".join(f"- `{one.case}`: {_value(one)}, asked {one.asked}" for one in found)


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table.

    :arg head: Titles of the columns.

    :arg rows: Cells.

    :returns: Markdown.

    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _turns(results: Results) -> str:
    turns = {figure.turns for figure in results.figures.values()} or {0}
    return f"{min(turns)} to {max(turns)} turns" if len(turns) > 1 else f"{max(turns)} turns"


def _is_row(batch_size: int, name: str) -> bool:
    return batch_size in SIZES and name not in {"crossover", "two_processes", "many_keys"}


def _reached(figure: Figure | None) -> str:
    if figure is None:
        return NONE
    if figure.at_least is None:
        return number(figure.value)
    return (
        f"{number(figure.value)} ≥ {figure.at_least:g}"
        if figure.holds
        else f"**{number(figure.value)} < {figure.at_least:g}**"
    )


def _cost(figure: Figure | None) -> str:
    return NONE if figure is None else _sides(figure, unit=False)


def _asked(figure: Figure) -> str:
    return figure.asked or NONE


def _value(figure: Figure) -> str:
    text = f"{number(figure.value)}{' ×' if figure.unit == 'times' else ' ' + figure.unit}"
    return text if figure.holds else f"**{text}**"


def _sides(figure: Figure, unit: bool = True) -> str:
    if figure.theirs is None or figure.ours is None:
        return NONE
    return f"{number(figure.theirs)} → {number(figure.ours)}{f' {figure.side_unit}' if unit else ''}"
