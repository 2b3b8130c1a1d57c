"""`python -m benchmarks.page [--add|--new]`: writes what was measured into the pages that tell of it, and draws plots.

Owns the pages, and the blocks in them: what stands between `<!-- figures: NAME -->` and `<!-- /figures -->` is made
from the figures, everything else is written by hand. With `--add` or `--new` it first takes lines of figures from
standard input, and keeps each at once: a run that is ended has measured them all the same. Called from the command
line.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping

from benchmarks import advice, plots, tables
from benchmarks.figures import Figure
from benchmarks.results import ROOT, Results, machine, today
from benchmarks.suites import place

PAGES = tuple(ROOT / name for name in ("README.md", "docs/benchmarks.md", "docs/choosing.md"))
BLOCKS: Mapping[str, Callable[[Results], str]] = {
    "machine": tables.machine,
    "pairs": tables.pairs,
    "others": tables.others,
    "short": tables.short,
    "choose": advice.choose,
    "sizes": advice.sizes,
    "crossing": advice.crossing,
    "access": advice.access,
    "resume": advice.resume,
    "memory": advice.memory,
    "pauses": advice.pauses,
    "epoch": advice.epoch,
}
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def filled(text: str, results: Results) -> str:
    """Fill the blocks of a page.

    :arg text: Page.

    :arg results: What was measured.

    :returns: Page.

    """
    return _BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]](results)}\n{match[3]}", text)


def named(text: str) -> list[str]:
    """Name the blocks of a page.

    :arg text: Page.

    """
    return [match[2] for match in _BLOCK.finditer(text)]


def write(results: Results) -> None:
    """Write all pages and plots.

    :arg results: What was measured.

    """
    for page in PAGES:
        page.write_text(filled(page.read_text(), results))
    plots.draw(results)


def add(results: Results, lines: Iterable[str]) -> Results:
    """Keep figures as they come.

    :arg results: What was measured before.

    :arg lines: Of JSON, each a figure.

    :returns: All.

    """
    here, run = machine(), today()
    for line in lines:
        print(line, end="", flush=True)
        results = results.merged(Figure(**json.loads(line)), here, run).ordered(place)
        results.save()
    return results


def main(argv: list[str]) -> None:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="Write the figures into the pages.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--add", action="store_true", help="first take lines of figures from standard input")
    which.add_argument("--new", action="store_true", help="the same, and forget all figures of before")
    args = parser.parse_args(argv)
    before = Results(machine(), {}, {}) if args.new else Results.load()
    write(add(before, sys.stdin if args.add or args.new else []))


if __name__ == "__main__":
    main(sys.argv[1:])
