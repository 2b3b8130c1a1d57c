"""`python -m tests.fuzz`: damages snapshots and refs in every way, and sees that each damage is found and named.

Makes small jobs, hands inputs to processes that restore them, and prints what came of how many. Exits with 1 if there
is a finding: a wrong answer, an error that is none of ours or does not tell what is damaged, a process that died.
"""

import argparse
import json
import os
import pickle
import queue
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from tests.fuzz.damage import KINDS, WAYS, Input, draw
from tests.fuzz.jobs import Job, make, stock
from tests.fuzz.judge import Verdict
from tests.places import in_memory

ROOT = Path(__file__).parents[2]

_PATIENCE = 120.0  # seconds for one input


@dataclass(frozen=True, slots=True)
class Result:
    """An input, and what it led to."""

    case: Input
    job: str
    verdict: Verdict

    def line(self) -> str:
        """Show it as a JSON object."""
        return json.dumps({**asdict(self.case), "job": self.job, **asdict(self.verdict)})


class Child:
    """A process that restores, and another one if it died."""

    def __init__(self, folder: Path) -> None:
        """Init.

        :arg folder: Of the jobs.

        """
        self._command = [sys.executable, "-m", "tests.fuzz.child", str(folder)]
        self._process: subprocess.Popen[str] | None = None

    def ask(self, case: Input) -> Verdict:
        """Hand it an input, and wait for what came of it."""
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(_PATIENCE, process.kill)
        timer.start()
        try:
            print(json.dumps(asdict(case)), file=process.stdin, flush=True)
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return Verdict(*json.loads(answer))
        code = process.wait()
        self.close()
        return Verdict("died", f"exit code {code}", ["a process that died"])

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()


def fuzz(inputs: int, seed: int, processes: int) -> Iterator[Result]:
    """Damage and restore.

    :arg inputs: How many.

    :arg seed: Of all choices.

    :arg processes: How many at once.

    :returns: Results, as they come.

    """
    with TemporaryDirectory(dir=in_memory()) as name:
        folder = Path(name)
        jobs = _make_jobs(folder)
        stocks = [stock(job) for job in jobs]
        cases = list(draw(inputs, random.Random(seed), stocks))
        children = [Child(folder) for _ in range(processes)]
        try:
            for case, verdict in zip(cases, _ask_all(children, cases), strict=True):
                yield Result(case, jobs[case.job].name, verdict)
        finally:
            for child in children:
                child.close()


def _make_jobs(folder: Path) -> list[Job]:
    jobs = [
        make(folder / f"job-{backend}-{signed}", backend, signed)
        for backend in ("heap", "rocksdb")
        for signed in (True, False)
    ]
    (folder / "jobs.pickle").write_bytes(pickle.dumps(jobs))
    return jobs


def _ask_all(children: Sequence[Child], cases: Iterable[Input]) -> Iterator[Verdict]:
    free: queue.SimpleQueue[Child] = queue.SimpleQueue()
    for child in children:
        free.put(child)

    def ask(case: Input) -> Verdict:
        child = free.get()
        try:
            return child.ask(case)
        finally:
            free.put(child)

    with ThreadPoolExecutor(len(children)) as pool:
        yield from pool.map(ask, cases)


def table(results: Sequence[Result]) -> Iterator[str]:
    """Show how many inputs of which kind and way led to what."""
    counts = Counter((one.case.kind, one.case.way, one.verdict.outcome) for one in results)
    outcomes = sorted({outcome for _, _, outcome in counts})
    head = ["damaged", "how", "inputs", *outcomes]
    rows = [
        [kind, way, sum(line), *line]
        for kind in KINDS
        for way in WAYS
        if any(line := [counts[kind, way, outcome] for outcome in outcomes])
    ]
    sums = [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)]
    lines = [[str(cell or "") for cell in row] for row in [head, *rows, ["all", "", *sums]]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        names = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        yield "  ".join([*names, *numbers]).rstrip()


def main(argv: Sequence[str], out: TextIO) -> int:
    """Fuzz, and tell.

    :arg argv: Arguments, without the program's name.

    :arg out: Gets what is told.

    :returns: Exit code.

    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print each input and what came of it as a line")
    args = parser.parse_args(argv)
    results: list[Result] = []
    began = time.perf_counter()
    for result in fuzz(args.inputs, args.seed, args.processes):
        results.append(result)
        if args.json or result.verdict.findings:
            print(result.line(), file=out, flush=True)
    seconds = time.perf_counter() - began
    found = sum(1 for result in results if result.verdict.findings)
    summary = {"inputs": len(results), "findings": found, "seed": args.seed, "seconds": round(seconds, 1)}
    if args.json:
        print(json.dumps(summary), file=out)
    else:
        print(*table(results), sep="\n", file=out)
        print(*(f"{name}: {value}" for name, value in summary.items()), sep=", ", file=out)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdout))
