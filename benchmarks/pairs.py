"""Measures a pair: both sides in turns, each turn in a process of its own, and the ratio of their medians.

Owns the order of the turns and the arithmetic. It does not own what a turn does (`turn`).
Called by the command line, and by the tests with tiny cases.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.apart import RunFailedError, free_addresses, run_apart
from benchmarks.cases import Backend, Case, Unit
from benchmarks.turn import Side, Turn, together


@dataclass(frozen=True, slots=True)
class Line:
    """What a pair gave; the fields of the JSON line."""

    case: str
    backend: Backend
    items: int
    keys: int
    batch: int
    """Items in a batch."""
    theirs: float
    """Median, in `unit`."""
    ours: float
    ratio: float
    """How many times as fast as theirs ours is."""
    at_least: float | None
    unit: Unit
    turns: int

    @property
    def holds(self) -> bool:
        """Whether the ratio is what was asked for."""
        return self.at_least is None or self.ratio >= self.at_least


def measure(case: Case, turns: int, report: Callable[[str], None] = lambda text: None) -> Line:
    """Measure a case.

    :arg case: Case.

    :arg turns: How often each side runs.

    :arg report: Told of each turn.

    :returns: Line.

    :raises RunFailedError: If a turn fails, or the sides emit different numbers of items.

    """
    done: dict[Side, list[Turn]] = {"theirs": [], "ours": []}
    for number in range(turns):
        for side in _order(number):
            turn = run_turn(side, case)
            done[side].append(turn)
            report(f"{case.full_name} turn {number + 1}/{turns} {side}: {turn.cost(case.unit):.2f} s")
    _check_same(case, done["theirs"] + done["ours"])
    theirs, ours = (median(turn.cost(case.unit) for turn in done[side]) / case.items for side in ("theirs", "ours"))
    return Line(
        case=case.name,
        backend=case.backend,
        items=case.items,
        keys=case.keys,
        batch=case.batch_size,
        theirs=_in_unit(theirs, case.unit),
        ours=_in_unit(ours, case.unit),
        ratio=round(theirs / ours, 3),
        at_least=case.at_least,
        unit=case.unit,
        turns=turns,
    )


def run_turn(side: Side, case: Case) -> Turn:
    """Run a turn.

    :arg side: Side.

    :arg case: Case.

    :returns: What it gave.

    :raises RunFailedError: If it ends with an error.

    """
    addresses = free_addresses(case.processes if side == "ours" else 1)
    args = "benchmarks.turn", side, json.dumps(asdict(case)), ",".join(addresses)
    with ThreadPoolExecutor(len(addresses)) as pool:
        return together(
            [Turn(**one) for one in pool.map(lambda index: run_apart(*args, str(index)), range(len(addresses)))]
        )


def _in_unit(seconds_each: float, unit: Unit) -> float:
    return round(1 / seconds_each, 1) if unit == "items/s" else round(seconds_each * 1e6, 3)


def _order(number: int) -> tuple[Side, Side]:
    """Say who begins a turn: each side in its turn, so that a machine that gets slower or faster favours neither."""
    return ("theirs", "ours") if number % 2 == 0 else ("ours", "theirs")


def _check_same(case: Case, turns: list[Turn]) -> None:
    emitted = {turn.emitted for turn in turns}
    if len(emitted) > 1:
        msg = f"the turns of case {case.full_name} emitted different numbers of items: {sorted(emitted)}"
        raise RunFailedError(msg)
