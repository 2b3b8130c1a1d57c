"""How long a flow stands still at the end of an epoch, and what that writes: few keys that change, and a large state.

Owns which runs are compared and what is asked for. It does not own a run (`epoch_run`). Called by `suites`.
"""

from collections.abc import Iterator
from statistics import median

from benchmarks.epoch_run import Result, Run, run_epochs
from benchmarks.figures import Figure, Report

STEPS_AT_MOST = {1: 8.0, 4: 20.0}
"""Steps to milliseconds beyond plain Bytewax."""
BYTES_AT_MOST = 4_000.0
SMALL = Run("ours", "heap", keys=1_000, changed=50, epochs=100)
VALUE_BYTES = 200
LARGE = Run("ours", "rocksdb", keys=5_000_000, changed=50_000, epochs=60, value_bytes=VALUE_BYTES)
"""1 GiB, of which each epoch changes 1 %."""
LARGE_TO_SMALL = 8
LARGE_AT_MOST = 1.3
"""Times the standstill of a state that is an eighth of it, where as many keys change."""
WORST_AT_MOST = 1_500.0
"""Milliseconds."""


def figures(turns: int, report: Report) -> Iterator[Figure]:
    """Measure small epochs.

    :arg turns: How often each runs.

    :arg report: Told of each run.

    :returns: Figures.

    """
    for backend in ("heap", "rocksdb"):
        for steps in STEPS_AT_MOST:
            yield from _small(turns, report, Run("ours", backend, SMALL.keys, SMALL.changed, SMALL.epochs, steps))


def _small(turns: int, report: Report, ours: Run) -> Iterator[Figure]:
    theirs = Run("theirs", ours.backend, ours.keys, ours.changed, ours.epochs, ours.steps)
    pairs = [(_measure(theirs, report), _measure(ours, report)) for _ in range(turns)]
    case = f"epochs:{ours.backend}:{ours.keys}:{ours.steps}"
    plain, own = (median(pair[side].mean_ms for pair in pairs) for side in (0, 1))
    yield Figure(
        case=case,
        against="plain Bytewax's epoch",
        value=round(median(one.mean_ms - other.mean_ms for other, one in pairs), 2),
        unit="ms more",
        turns=turns,
        at_most=STEPS_AT_MOST[ours.steps],
        theirs=plain,
        ours=own,
        side_unit="ms",
        more={
            "median_ms": median(one.median_ms for _, one in pairs),
            "worst_ms": median(one.worst_ms for _, one in pairs),
        },
    )
    yield Figure(
        case=f"{case}:manifest",
        against="an epoch and step",
        value=median(one.manifest_bytes for _, one in pairs),
        unit="bytes",
        turns=turns,
        at_most=BYTES_AT_MOST,
    )


def large_figures(turns: int, report: Report) -> Iterator[Figure]:
    """Measure a large state beside an eighth of it, each once: a run has many epochs, and takes minutes.

    :arg turns: Not used.

    :arg report: Told of each run.

    :returns: Figures.

    """
    less = Run("ours", "rocksdb", LARGE.keys // LARGE_TO_SMALL, LARGE.changed, LARGE.epochs, value_bytes=VALUE_BYTES)
    small, large = _measure(less, report), _measure(LARGE, report)
    yield Figure(
        case=f"large_epochs:rocksdb:{LARGE.keys}",
        against=f"{less.keys} keys",
        value=round(large.standstill_ms / small.standstill_ms, 2),
        unit="times",
        turns=1,
        at_most=LARGE_AT_MOST,
        theirs=small.standstill_ms,
        ours=large.standstill_ms,
        side_unit="ms",
    )
    yield Figure(
        case=f"large_epochs:rocksdb:{LARGE.keys}:worst",
        against="the worst epoch",
        value=large.worst_standstill_ms,
        unit="ms",
        turns=1,
        at_most=WORST_AT_MOST,
    )


def _measure(what: Run, report: Report) -> Result:
    result = run_epochs(what)
    report(f"{what.side} {what.backend}, {what.steps} steps, {what.keys} keys: {result}")
    return result
