"""What an item costs more as keys grow many, beside a plain dict behind `flat_map_batch`.

Owns the comparison: CPU time of an item in `stateful_map` on the heap, with few keys and with many. Whatever looks
something up by its key pays for the caches of the processor, a dict too. Called by `suites`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.cases import Case
from benchmarks.figures import SIDES, Figure, Report, Side
from benchmarks.flows import Section
from benchmarks.pairs import running

AT_MOST = 1.5
ITEMS = 200_000
"""Of a turn."""


def figures(
    turns: int, report: Report, few: int = 10_000, many: int = 2_000_000, items: int = ITEMS
) -> Iterator[Figure]:
    """Measure.

    :arg turns: How often each flow runs.

    :arg report: Told of each turn.

    :arg few: Keys.

    :arg many: Keys.

    :arg items: Of a turn.

    :returns: The figure.

    """
    flows = [(side, keys) for side in SIDES for keys in (few, many)]
    costs: dict[tuple[Side, int], list[float]] = {flow: [] for flow in flows}
    with ExitStack() as stack:
        started = {flow: stack.enter_context(running(flow[0], _case(flow[1]))) for flow in flows}
        for one in started.values():
            one.warm_up()
        for number in range(turns):
            for flow, one in started.items():
                costs[flow].append(one.take(Section(number, items, 1_000)).cpu_seconds / items * 1e6)
                report(f"key_growth {flow[0]} {flow[1]} keys: {costs[flow][-1]:.3f} CPU us/item")
    took = {flow: round(median(cost), 3) for flow, cost in costs.items()}
    theirs, ours = (took[side, many] - took[side, few] for side in SIDES)
    yield Figure(
        case=f"key_growth:heap:{many}",
        against="a dict behind `flat_map_batch`",
        value=round(ours / theirs, 3),
        unit="times",
        turns=turns,
        at_most=AT_MOST,
        theirs=round(theirs, 3),
        ours=round(ours, 3),
        side_unit="CPU us/item gained",
        more={f"{side}_{keys}": cost for (side, keys), cost in took.items()},
    )


def _case(keys: int) -> Case:
    return Case("key_growth", "stateful_map", "heap", keys, their_operator="dict")
