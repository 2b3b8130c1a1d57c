"""A process that may die: reads inputs, a JSON object a line, and answers each with a line.

Called by the fuzzer, which so sees which input a process died of.
"""

import json
import logging
import os
import pickle
import sys
from pathlib import Path

from tests.fuzz.damage import Input
from tests.fuzz.jobs import Job, stock
from tests.fuzz.judge import Judge
from tests.fuzz.partitions import Reader


def main(folder: Path) -> None:
    """Take inputs for the jobs of a folder, until there are no more."""
    logging.getLogger("bytewax_state").setLevel(logging.ERROR)
    # Whatever else writes to the standard output must not come between.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: list[Job] = pickle.loads((folder / "jobs.pickle").read_bytes())
    judges = [Judge(job, stock(job), folder) for job in jobs]
    readers = [Reader(job, folder) for job in jobs]
    for line in sys.stdin:
        case = Input(**{name: _tuple(value) for name, value in json.loads(line).items()})
        verdict = (readers if case.kind in ("row", "partition") else judges)[case.job](case)
        print(json.dumps([verdict.outcome, verdict.message, verdict.findings]), file=answers, flush=True)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
