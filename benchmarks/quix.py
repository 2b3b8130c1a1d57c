"""Beside the store of Quix Streams, which is made for the same: read, modify and write a number, key after key.

Owns what is asked for, and the other side's turns. That side is no flow but the store alone, without a broker, in an
environment of its own (`quix_store`); where there is none, nothing is measured. Called by `suites`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.apart import Apart
from benchmarks.cases import Backend, Case
from benchmarks.figures import Figure, Report
from benchmarks.flows import Section
from benchmarks.pairs import running

PYTHON = Path(__file__).parent.parent / ".venv" / "quix" / "bin" / "python"
"""Of an environment that has `quixstreams`; the Makefile makes it."""
KEYS = 100_000
ITEMS = 100_000
"""Of a turn."""
AT_LEAST: dict[Backend, float] = {"rocksdb": 9.0, "heap": 13.0}


def figures(turns: int, report: Report, keys: int = KEYS, items: int = ITEMS) -> Iterator[Figure]:
    """Measure.

    :arg turns: How often each side runs.

    :arg report: Told of each turn.

    :arg keys: Keys.

    :arg items: Of a turn.

    :returns: Figures; none where Quix Streams is not installed.

    """
    if not PYTHON.exists():
        report(f"quix: there is no {PYTHON}, which `make bench` makes")
        return
    costs = _measure(turns, report, keys, items)
    each = {name: median(cost) / items * 1e6 for name, cost in costs.items()}
    for backend, at_least in AT_LEAST.items():
        yield Figure(
            case=f"quix:{backend}:{keys}",
            against="Quix Streams' `RocksDBStore`",
            value=round(each["quix"] / each[backend], 3),
            unit="times",
            turns=turns,
            at_least=at_least,
            theirs=round(each["quix"], 3),
            ours=round(each[backend], 3),
            side_unit="CPU us/item",
        )


def _measure(turns: int, report: Report, keys: int, items: int) -> dict[str, list[float]]:
    with ExitStack() as stack:
        theirs = stack.enter_context(Apart("benchmarks.quix_store", str(keys), str(items), python=PYTHON))
        ours = {backend: stack.enter_context(running("ours", _case(backend, keys))) for backend in AT_LEAST}
        theirs.answer()
        for one in ours.values():
            one.warm_up()
        costs: dict[str, list[float]] = {name: [] for name in ("quix", *ours)}
        for number in range(turns):
            theirs.tell(str(number))
            costs["quix"].append(theirs.answer()["cpu_seconds"])
            for backend, one in ours.items():
                costs[backend].append(one.take(Section(number, items, 1_000)).cpu_seconds)
            report(f"quix: {', '.join(f'{name} {cost[-1]:.3f} s' for name, cost in costs.items())}")
    return costs


def _case(backend: Backend, keys: int) -> Case:
    return Case("quix", "stateful_map", backend, keys)
