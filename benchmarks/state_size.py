"""Latency and throughput against the size of the state, of both stores and of plain Bytewax.

Owns the sizes. Throughput is that of batches of 1,000; latency is the time until a batch of 100 is done, in a flow that
takes one after the other. Called by `suites`.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from statistics import median

from benchmarks.cases import Backend, Case
from benchmarks.figures import Figure, Report, Side
from benchmarks.flows import Section
from benchmarks.large_run import CACHE_ENTRIES
from benchmarks.pairs import running
from benchmarks.turn import Took

KEYS = (10_000, 50_000, 200_000, 1_000_000)
STORES: Mapping[str, tuple[Side, Backend]] = {
    "plain": ("theirs", "heap"),
    "heap": ("ours", "heap"),
    "rocksdb": ("ours", "rocksdb"),
}
_THROUGHPUT = (50_000, 1_000)
"""Items and size of a batch."""
_LATENCY = (20_000, 100)


def figures(turns: int, report: Report, sizes: tuple[int, ...] = KEYS) -> Iterator[Figure]:
    """Measure.

    :arg turns: How often each runs.

    :arg report: Told of each size that is done.

    :arg sizes: Numbers of keys.

    :returns: Figures, in thousands of items for a second of CPU time.

    """
    for keys in sizes:
        with ExitStack() as stack:
            sides = {
                name: stack.enter_context(running(side, _case(backend, keys)))
                for name, (side, backend) in STORES.items()
            }
            for one in sides.values():
                one.warm_up()
            took: dict[str, list[tuple[Took, Took]]] = {name: [] for name in sides}
            for number in range(turns):
                for name, side in sides.items():
                    fast, short = (
                        side.take(Section(2 * number + part, items, batch_size))
                        for part, (items, batch_size) in enumerate((_THROUGHPUT, _LATENCY))
                    )
                    took[name].append((fast, short))
        for name, turns_of in took.items():
            figure = _figure(name, keys, turns_of)
            report(f"{figure.case}: {figure.value} {figure.unit}")
            yield figure


def _case(backend: Backend, keys: int) -> Case:
    return Case("state_size", "stateful_map", backend, keys, cached=CACHE_ENTRIES / keys)


def _figure(name: str, keys: int, took: list[tuple[Took, Took]]) -> Figure:
    cpu = median(fast.cpu_seconds for fast, _ in took)
    median_ms, p99_ms, _ = (median(one) for one in zip(*(short.batch_ms for _, short in took), strict=True))
    return Figure(
        case=f"state_size:{name}:{keys}",
        against="other sizes",
        value=round(_THROUGHPUT[0] / cpu / 1e3, 1),
        unit="k items/s",
        turns=len(took),
        more={"median_ms": round(median_ms, 3), "p99_ms": round(p99_ms, 3)},
    )
