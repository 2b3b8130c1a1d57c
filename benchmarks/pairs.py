"""Measures pairs: both sides in turns, and the ratio of their medians.

Owns the order of the turns and the arithmetic. Each side is a process of its own, which has met every key before its
first turn; while one side has its turn, the other one waits for its next. It does not own what a turn does (`turn`).
Called by the command line, and by the tests with tiny cases.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from statistics import median

from benchmarks.apart import Apart, RunFailedError, free_addresses
from benchmarks.cases import Case, Unit
from benchmarks.figures import SIDES, Figure, Report, Side
from benchmarks.flows import Section
from benchmarks.turn import Took

MAY_DIFFER = 0.001
"""Share of the items that one side may have emitted more than the other."""


def measure(cases: Sequence[Case], turns: int, report: Report = lambda text: None) -> Iterator[Figure]:
    """Measure the cases of a pair.

    :arg cases: Cases, which differ in their turns only.

    :arg turns: How often each side runs.

    :arg report: Told of each turn.

    :returns: A figure for each.

    :raises RunFailedError: If a turn fails, or the sides emit different numbers of items.

    """
    costs: dict[tuple[str, Side], list[float]] = {}
    with ExitStack() as stack:
        stay = {} if cases[0].to_end else {side: stack.enter_context(running(side, cases[0])) for side in SIDES}
        for one in stay.values():
            one.warm_up()
        for number, (case, section) in enumerate(_schedule(cases, turns)):
            emitted = []
            for side in _order(number):
                took = stay[side].take(section) if stay else run_once(side, case, section)
                cost = took.ended - took.began if case.unit == "items/s" else took.cpu_seconds
                costs.setdefault((case.full_name, side), []).append(cost)
                emitted.append(took.emitted)
                report(f"{case.full_name} {side}: {cost:.3f} s")
            _check_same(case, emitted)
    for case in cases:
        yield _figure(case, turns, *(median(costs[case.full_name, side]) for side in SIDES))


def _schedule(cases: Sequence[Case], turns: int) -> Iterator[tuple[Case, Section]]:
    """Say what is run after what, and which part of the input it gets."""
    for number, case in enumerate([*cases] * turns):
        yield case, Section(number, case.items, case.batch_size)


def _check_same(case: Case, emitted: Sequence[int]) -> None:
    """Refuse sides that do different things. Time passes for one that stands still too, and may close a window."""
    if not case.is_live and max(emitted) - min(emitted) > max(emitted) * MAY_DIFFER:
        msg = f"the sides of {case.full_name} emitted different numbers of items: {sorted(emitted)}"
        raise RunFailedError(msg)


def _order(number: int) -> Sequence[Side]:
    """Say who begins a turn: each side in its turn, so that a machine that gets slower or faster favours neither."""
    return SIDES if number % 2 == 0 else SIDES[::-1]


def _figure(case: Case, turns: int, theirs: float, ours: float) -> Figure:
    return Figure(
        case=case.full_name,
        against=case.against,
        value=round(theirs / ours, 3),
        unit="times",
        turns=turns,
        at_least=case.at_least,
        theirs=_in_unit(theirs / case.items, case.unit),
        ours=_in_unit(ours / case.items, case.unit),
        side_unit=case.unit,
    )


def _in_unit(seconds_each: float, unit: Unit) -> float:
    return round(1 / seconds_each, 1) if unit == "items/s" else round(seconds_each * 1e6, 3)


class Running:
    """A side that runs, in one process or several."""

    def __init__(self, processes: Sequence[Apart]) -> None:
        """Init.

        :arg processes: Which have just been started.

        """
        self._processes = processes

    def warm_up(self) -> None:
        """Wait until it has met all keys; to be called once, before all else.

        :raises RunFailedError: If it ends instead.

        """
        for process in self._processes:
            process.answer()

    def take(self, section: Section) -> Took:
        """Let it take a section.

        :arg section: Section.

        :returns: What it took.

        :raises RunFailedError: If it ends instead.

        """
        self._tell(section)
        return _together([Took(**process.answer()) for process in self._processes])

    def take_last(self, section: Section) -> Took:
        """Let it take a section and end.

        :arg section: Section.

        :returns: What the section and the end took.

        :raises RunFailedError: If it fails.

        """
        self._tell(section)
        for process in self._processes:
            process.close()
        return _together([Took(**process.last()) for process in self._processes])

    def _tell(self, section: Section) -> None:
        for process in self._processes:
            process.tell(json.dumps(asdict(section)))


@contextmanager
def running(side: Side, case: Case) -> Iterator[Running]:
    """Start a side.

    :arg side: Side.

    :arg case: Case.

    :returns: The side, which is ended at the end.

    """
    addresses = free_addresses(case.processes if side == "ours" else 1)
    args = "benchmarks.turn", side, json.dumps(asdict(case)), ",".join(addresses)
    with ExitStack() as stack:
        yield Running([stack.enter_context(Apart(*args, str(index))) for index in range(len(addresses))])


def run_once(side: Side, case: Case, section: Section) -> Took:
    """Start a side for one section.

    :arg side: Side.

    :arg case: Case.

    :arg section: Section.

    :returns: What the section and the end of the run took.

    :raises RunFailedError: If it fails.

    """
    with running(side, case) as process:
        process.warm_up()
        return process.take_last(section)


def _together(parts: Sequence[Took]) -> Took:
    return Took(
        began=min(one.began for one in parts),
        ended=max(one.ended for one in parts),
        cpu_seconds=sum(one.cpu_seconds for one in parts),
        emitted=sum(one.emitted for one in parts),
        batch_ms=max(one.batch_ms for one in parts),
    )
