"""All that is measured, by name: the pairs, and what is no pair of flows.

Owns the list and its order. Called by the command line.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

from benchmarks import epochs, key_growth, memory, pauses, quix, resume, state_size, upload_amplification
from benchmarks.apart import RunFailedError
from benchmarks.cases import CASES
from benchmarks.figures import Figure, Report
from benchmarks.pairs import measure


class Suite(Protocol):
    """Measures what belongs together."""

    def __call__(self, turns: int, report: Report) -> Iterator[Figure]:
        """Measure.

        :arg turns: How often each side runs.

        :arg report: Told of each turn.

        :returns: Figures.

        """
        ...


SUITES: dict[str, Suite] = {
    "key_growth": key_growth.figures,
    "resume": resume.figures,
    "memory": memory.figures,
    "pauses": pauses.figures,
    "state_size": state_size.figures,
    "upload_amplification": upload_amplification.figures,
    "quix": quix.figures,
    "epochs": epochs.figures,
    "large_epochs": epochs.large_figures,
}


def run(wanted: Sequence[str], turns: int, report: Report) -> Iterator[Figure]:
    """Measure.

    :arg wanted: Names of cases, which may be cut off at a colon, and of suites; none: all.

    :arg turns: How often each side runs.

    :arg report: Told of each turn.

    :returns: Figures.

    :raises RunFailedError: If something could not be measured; at the end, when all else is.

    """
    failed = []
    for measured in _parts(wanted, turns, report):
        try:
            yield from measured
        except RunFailedError as error:
            report(str(error))
            failed.append(str(error).partition("\n")[0])
    if failed:
        raise RunFailedError("\n".join(failed))


def _parts(wanted: Sequence[str], turns: int, report: Report) -> Iterator[Iterator[Figure]]:
    cases = [case for case in CASES if not wanted or any(case.is_named(name) for name in wanted)]
    for _, pair in groupby(cases, lambda case: case.pair):
        yield measure(list(pair), turns, report)
    for name, suite in SUITES.items():
        if not wanted or name in wanted:
            yield suite(turns, report)


def unknown(wanted: Sequence[str]) -> list[str]:
    """Tell which names are neither of a case nor of a suite."""
    return [name for name in wanted if name not in SUITES and not any(case.is_named(name) for case in CASES)]


def known() -> list[str]:
    """Name all cases, cut off at the first colon, and all suites."""
    return [*dict.fromkeys(case.name for case in CASES), *SUITES]


def place(figure: str) -> int | None:
    """Say which place a figure has among all, by its full name; `None`: it is no longer measured."""
    return _PLACES.get(figure, _PLACES.get(figure.partition(":")[0]))


_PLACES = {name: index for index, name in enumerate([*(case.full_name for case in CASES), *SUITES])}
