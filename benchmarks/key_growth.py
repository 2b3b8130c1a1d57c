"""`python -m benchmarks.key_growth [--keys N] [--many N] [--turns N]`: what an item costs more as keys grow many.

Owns the comparison: CPU time of an item in `stateful_map` on the heap, with few keys and with many, beside a plain dict
behind `flat_map_batch`, which gains from the caches of the processor alone. Prints a line of JSON; exit code 1 if ours
gains more than 1.5 times what the dict does. Called from the command line.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.cases import Case
from benchmarks.flows import Section
from benchmarks.pairs import running
from benchmarks.turn import Side

AT_MOST = 1.5
ITEMS = 200_000
"""Of a turn."""

_OPERATORS: dict[Side, str] = {"theirs": "dict", "ours": "stateful_map"}


@dataclass(frozen=True, slots=True)
class Line:
    """CPU microseconds of an item."""

    case: str
    keys: tuple[int, int]
    """Few and many."""
    theirs: tuple[float, float]
    """Of the dict, with few and with many."""
    ours: tuple[float, float]
    ratio: float
    """Ours gain by that of the dict."""
    turns: int

    @property
    def holds(self) -> bool:
        """Whether the gain is as small as was asked for."""
        return self.ratio <= AT_MOST


def measure(few: int, many: int, turns: int, items: int = ITEMS) -> Line:
    """Measure.

    :arg few: Keys.

    :arg many: Keys.

    :arg turns: How often each flow runs.

    :arg items: Of a turn.

    :returns: Line.

    """
    flows = [(side, keys) for side in _OPERATORS for keys in (few, many)]
    costs: dict[tuple[Side, int], list[float]] = {flow: [] for flow in flows}
    with ExitStack() as stack:
        started = {flow: stack.enter_context(running(flow[0], _case(*flow))) for flow in flows}
        for number in range(turns):
            for flow in flows:
                took = started[flow].take(Section(number, items, 1_000))
                costs[flow].append(took.cpu_seconds / items * 1e6)
    theirs, ours = ((median(costs[side, few]), median(costs[side, many])) for side in _OPERATORS)
    ratio = (ours[1] - ours[0]) / (theirs[1] - theirs[0])
    return Line("key_growth", (few, many), _round(theirs), _round(ours), round(ratio, 3), turns)


def _case(side: Side, keys: int) -> Case:
    return Case("key_growth", _OPERATORS[side], "heap", keys)


def _round(pair: tuple[float, float]) -> tuple[float, float]:
    return round(pair[0], 3), round(pair[1], 3)


def main(argv: list[str]) -> int:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.key_growth")
    parser.add_argument("--keys", type=int, default=10_000, metavar="N", help="few keys (default: 10000)")
    parser.add_argument("--many", type=int, default=2_000_000, metavar="N", help="many keys (default: 2000000)")
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="times that each flow runs (default: 5)")
    args = parser.parse_args(argv)
    line = measure(args.keys, args.many, args.turns)
    print(json.dumps(asdict(line)))
    return 0 if line.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
