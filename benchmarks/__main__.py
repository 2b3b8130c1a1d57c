"""`python -m benchmarks [CASE…] [--turns N] [--json]`: measures, one line of JSON for each figure on standard output.

Owns the command line. Exit code 1 if a figure is not what its case asks for, or is not measured; 2 for a
wrong argument.
"""

import argparse
import json
import sys
from dataclasses import asdict

from benchmarks.apart import RunFailedError
from benchmarks.suites import known, run, unknown

TURNS = 5


def main(argv: list[str]) -> int:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    parser = _parser()
    args = parser.parse_args(argv)
    if unknown(args.cases):
        parser.error(f"there is no {', '.join(unknown(args.cases))}; there are {', '.join(known())}")
    if args.turns < 1:
        parser.error(f"--turns is {args.turns}; expected 1 or more")
    report = (lambda text: None) if args.json else _report
    all_hold = True
    try:
        for figure in run(args.cases, args.turns, report):
            print(json.dumps(asdict(figure)), flush=True)
            if not figure.holds:
                all_hold = False
                _report(f"{figure.case}: {figure.value} {figure.unit}; expected {figure.asked}")
    except RunFailedError as error:
        _report(f"not measured: {error}")
        return 1
    return 0 if all_hold else 1


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Bytewax alone, and with bytewax_state.")
    names = f"NAME, or of a pair NAME[:BACKEND[:KEYS[:BATCH]]]; all if none. {', '.join(known())}"
    parser.add_argument("cases", nargs="*", metavar="CASE", help=names)
    parser.add_argument("--turns", type=int, default=TURNS, metavar="N", help="times that each side runs (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the lines only, without a note of each turn")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
