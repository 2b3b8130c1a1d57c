"""How long the longest batch takes beyond a usual one: the collector of Python looks through all that is alive.

Owns which flows are measured and what is asked for: one on the heap that meets many new keys, and then half of them
again; one that meets them again after it was resumed; and plain Bytewax, which meets new ones, once. It does not own a
run (`large_run`). Called by `suites`.
"""

from collections.abc import Iterator
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure, Report, Side
from benchmarks.large_run import Result, Run, run_large

KEYS = 2_000_000
AT_MOST = 50.0
"""Milliseconds."""
NO_EPOCH = 3600.0
"""Seconds, longer than any run: the time of a snapshot would be in that of a batch."""


def figures(turns: int, report: Report, keys: int = KEYS) -> Iterator[Figure]:
    """Measure.

    :arg turns: How often each runs; plain Bytewax runs once.

    :arg report: Told of each run.

    :arg keys: Keys.

    :returns: Figures.

    """
    with TemporaryDirectory(prefix="pauses-") as folder:
        yield _figure(f"pauses:plain:{keys}", [_pause("theirs", keys, keys, folder, report)], None)
    with TemporaryDirectory(prefix="pauses-") as folder:
        pauses = [_pause("ours", keys, keys + keys // 2, folder, report) for _ in range(turns)]
        yield _figure(f"pauses:heap:{keys}", pauses, AT_MOST)
    with TemporaryDirectory(prefix="pauses-") as folder:
        _pause("ours", keys, keys, folder, report, recovery=True)
        stops = (keys + (turn + 1) * keys // turns for turn in range(turns))
        pauses = [_pause("ours", keys, stop, folder, report, recovery=True) for stop in stops]
        yield _figure(f"pauses:heap:{keys}:resumed", pauses, AT_MOST)


def _figure(case: str, pauses: list[Result], at_most: float | None) -> Figure:
    return Figure(
        case=case,
        against="a batch of median length",
        value=round(median(one.longest_batch_ms - one.batch_ms for one in pauses), 1),
        unit="ms",
        turns=len(pauses),
        at_most=at_most,
        more={"batch_ms": median(one.batch_ms for one in pauses)},
    )


def _pause(side: Side, keys: int, stop: int, folder: str, report: Report, recovery: bool = False) -> Result:
    what = Run(side, keys, stop, -1, folder, backend="heap", value_bytes=0, recovery=recovery, epoch_seconds=NO_EPOCH)
    result = run_large(what)
    report(f"pause {side} {keys}: {result.longest_batch_ms} ms, median {result.batch_ms} ms")
    return result
