"""How much memory state takes: most that the process ever had, beyond that of a flow without items.

Owns the states that are measured and what is asked for. There are no snapshots. Memory hardly differs from run to run,
so each runs once, and both sides at the same time. It does not own a run (`large_run`). Called by `suites`.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from tempfile import TemporaryDirectory

from benchmarks.cases import Backend
from benchmarks.figures import SIDES, Figure, Report, Side
from benchmarks.large_run import Run, run_large

KEYS = 3_000_000
VALUE_BYTES = 200
AT_MOST: tuple[tuple[Backend, int, float], ...] = (("heap", 0, 0.55), ("rocksdb", VALUE_BYTES, 0.15))
"""Store, length of the text that is a state (0: it is a number), and how much of plain Bytewax's memory."""


def figures(turns: int, report: Report, keys: int = KEYS) -> Iterator[Figure]:
    """Measure.

    :arg turns: Not used: there is one.

    :arg report: Told of each run.

    :arg keys: Keys.

    :returns: Figures.

    """
    empty = _peak("heap", keys, 0, 0, report, "theirs")
    for backend, value_bytes, at_most in AT_MOST:
        with ThreadPoolExecutor() as pool:
            peaks = pool.map(partial(_peak, backend, keys, value_bytes, keys, report), SIDES)
        theirs, ours = (peak - empty for peak in peaks)
        yield Figure(
            case=f"memory:{backend}:{keys}:{value_bytes}",
            against="plain Bytewax",
            value=round(ours / theirs, 3),
            unit="times",
            turns=1,
            at_most=at_most,
            theirs=round(theirs / 2**20, 1),
            ours=round(ours / 2**20, 1),
            side_unit="MiB",
        )


def _peak(backend: Backend, keys: int, value_bytes: int, items: int, report: Report, side: Side) -> int:
    with TemporaryDirectory(prefix="memory-") as folder:
        what = Run(side, keys, items, 0, folder, backend=backend, value_bytes=value_bytes, recovery=False)
        peak = run_large(what).peak_bytes
    report(f"memory {side} {backend} {items} items of {value_bytes} B: {peak >> 20} MiB")
    return peak
