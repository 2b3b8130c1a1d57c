"""`python -m benchmarks [CASE…] [--turns N] [--json]`: measures pairs, one line of JSON each on standard output.

Owns the command line. Exit code 1 if a ratio is below what its case asks for, 2 for a wrong argument.
"""

import argparse
import json
import sys
from dataclasses import asdict

from benchmarks.cases import CASES, select
from benchmarks.pairs import measure

TURNS = 5


def main(argv: list[str]) -> int:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        cases = select(args.cases)
    except ValueError as ex:
        parser.error(str(ex))
    if args.turns < 1:
        parser.error(f"--turns is {args.turns}; expected 1 or more")
    report = (lambda text: None) if args.json else _report
    all_hold = True
    for line in measure(cases, args.turns, report):
        print(json.dumps(asdict(line)), flush=True)
        if not line.holds:
            all_hold = False
            print(f"{line.full_name}: the ratio is {line.ratio}; expected at least {line.at_least}", file=sys.stderr)
    return 0 if all_hold else 1


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Bytewax alone, and with bytewax_state.")
    known = ", ".join(dict.fromkeys(case.name for case in CASES))
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"NAME[:BACKEND[:KEYS[:BATCH]]]; all if none. {known}")
    parser.add_argument("--turns", type=int, default=TURNS, metavar="N", help="times that each side runs (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the lines only, without a note of each turn")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
