"""The plots of the figures, as SVG.

Owns how they look. The same figures give the same plot, which says in its description which figures these are: so a
test can tell whether a plot is out of date, whatever a newer version of the library would draw. Called by `page`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import StrMethodFormatter

from benchmarks.figures import Figure
from benchmarks.results import FILE, Results

FOLDER = FILE.parent
COLOURS = {"plain": "#888888", "heap": "#d9822b", "rocksdb": "#2b6cb0"}

_STYLE: Any = {
    "svg.hashsalt": "bytewax_state",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_PLAIN = StrMethodFormatter("{x:,.0f}")


def draw(results: Results, folder: Path = FOLDER) -> None:
    """Draw all plots.

    :arg results: What was measured.

    :arg folder: Where they go.

    """
    for name, (cases, plot) in PLOTS.items():
        figures = results.of(cases)
        with mpl.rc_context(_STYLE):
            drawing = Drawing(figsize=(8, 3.4), layout="constrained")
            plot(drawing, figures)
            # A page that shows it may be dark.
            drawing.patch.set_facecolor("white")
            metadata: dict[str, Any] = {"Date": None, "Creator": None, "Description": digest(figures)}
            drawing.savefig(folder / f"{name}.svg", format="svg", metadata=metadata)


def digest(figures: Iterable[Figure]) -> str:
    """Tell figures from others."""
    return sha256(json.dumps([asdict(figure) for figure in figures]).encode()).hexdigest()


def _state_size(drawing: Drawing, figures: list[Figure]) -> None:
    throughput, latency = drawing.subplots(1, 2)
    for store, colour in COLOURS.items():
        found = [figure for figure in figures if figure.case.split(":")[1] == store]
        keys = [_keys(figure) for figure in found]
        label = "plain Bytewax" if store == "plain" else store
        throughput.plot(keys, [figure.value for figure in found], "o-", color=colour, label=label)
        latency.plot(keys, [figure.more["p99_ms"] for figure in found], "o-", color=colour, label=f"{label}, 99 %")
        latency.plot(keys, [figure.more["median_ms"] for figure in found], "o:", color=colour, label=f"{label}, median")
    _label(throughput, "Throughput, batches of 1,000", "thousand items a second of CPU time")
    _label(latency, "Latency of a batch of 100", "milliseconds")
    latency.set_yscale("log")


def _label(axes: Axes, title: str, y: str) -> None:
    axes.set(title=title, xlabel="keys", ylabel=y, xscale="log")
    axes.xaxis.set_major_formatter(_PLAIN)
    if axes.lines:
        axes.legend(fontsize=7)


def _crossover(drawing: Drawing, figures: list[Figure]) -> None:
    axes = drawing.subplots()
    for keys in sorted({_keys(figure) for figure in figures}):
        found = sorted((int(one.case.rpartition(":")[2]), one.value) for one in figures if _keys(one) == keys)
        axes.plot(*zip(*found, strict=True), "o-", label=f"{keys:,} keys")
    axes.axhline(1, color="black", linewidth=1)
    axes.set(title="stateful_map on the heap beside plain Bytewax", xlabel="items in a batch", xscale="log")
    axes.set(
        ylabel="times as fast (CPU time)", yscale="log", yticks=(0.5, 1, 2, 4, 8), yticklabels=("½", "1", "2", "4", "8")
    )
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(_PLAIN)
    if figures:
        axes.legend(fontsize=8)


def _keys(figure: Figure) -> int:
    return int(figure.case.split(":")[2])


PLOTS: Mapping[str, tuple[str, Callable[[Drawing, list[Figure]], None]]] = {
    "state_size": ("state_size", _state_size),
    "crossover": ("crossover", _crossover),
}
"""Name to the first part of the names of the figures that are drawn, and how."""
