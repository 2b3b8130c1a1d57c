"""What was measured last, with where and when: `docs/benchmarks/figures.json`.

Owns the file and its merging: a figure that is measured again takes the place of the one before, unless that was on
another machine or with other versions, with which it must not share a page. Called by `page` and `plots`.
"""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Figure

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs" / "benchmarks" / "figures.json"


@dataclass(frozen=True, slots=True)
class Results:
    """Figures of one machine."""

    machine: Mapping[str, str]
    """Its parts and the versions of what runs there."""
    runs: Mapping[str, str]
    """Name of a figure to the day and the commit that it was measured on."""
    figures: Mapping[str, Figure]

    @classmethod
    def load(cls, path: Path = FILE) -> "Results":
        """Read them.

        :arg path: File; nothing was measured if there is none.

        """
        if not path.exists():
            return cls(machine(), {}, {})
        found = json.loads(path.read_text())
        figures = {one["case"]: Figure(**one) for one in found["figures"]}
        return cls(found["machine"], found["runs"], figures)

    def save(self, path: Path = FILE) -> None:
        """Write them, a line for each figure.

        :arg path: File.

        """
        lines = ",\n".join(f"  {json.dumps(asdict(figure))}" for figure in self.figures.values())
        head = {
            name: json.dumps(dict(part), indent=1) for name, part in (("machine", self.machine), ("runs", self.runs))
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"machine": {head["machine"]},\n"runs": {head["runs"]},\n"figures": [\n{lines}\n]}}\n')

    def merged(self, figure: Figure, here: Mapping[str, str], run: str) -> "Results":
        """Add a figure, or put it in the place of the one before.

        :arg figure: Figure.

        :arg here: The machine.

        :arg run: Day and commit.

        """
        kept = self if self.machine == here else Results(here, {}, {})
        figures, runs = {**kept.figures, figure.case: figure}, {**kept.runs, figure.case: run}
        return replace(kept, figures=figures, runs=runs)

    def ordered(self, place: Callable[[str], int | None]) -> "Results":
        """Put figures in order, and leave out what is no longer measured.

        :arg place: Says which place a figure has by its name; those of the same one keep their order.

        """
        places = {case: at for case in self.figures if (at := place(case)) is not None}
        cases = sorted(places, key=places.__getitem__)
        runs, figures = {case: self.runs[case] for case in cases}, {case: self.figures[case] for case in cases}
        return Results(self.machine, runs, figures)

    def of(self, name: str) -> list[Figure]:
        """Find all figures of a case or a suite, whatever their store and sizes.

        :arg name: First part of their names.

        """
        return [figure for case, figure in self.figures.items() if case.split(":")[0] == name]


def machine() -> dict[str, str]:
    """Describe this machine and what runs on it."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.system(),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("bytewax", "rocksdict")},
    }


def today() -> str:
    """Say which day it is, and which commit is measured."""
    command = ["git", "rev-parse", "--short=9", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"{datetime.now(timezone.utc):%Y-%m-%d} {done.stdout.strip() or 'outside of a repository'}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
