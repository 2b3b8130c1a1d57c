"""How long a flow that resumes takes until its first item.

Owns which stores are built and resumed, and what is asked for. Local files are there; each resume goes on by one item
from where the one before ended. Plain Bytewax, which takes a minute or so, is resumed once. It does not own a run
(`large_run`). Called by `suites`.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.cases import Backend
from benchmarks.figures import Figure, Report, Side
from benchmarks.large_run import Run, run_large

KEYS = 300_000
MANY_KEYS = 2_000_000
VALUE_BYTES = 100
AT_LEAST: dict[Backend, float] = {"heap": 100.0, "rocksdb": 500.0}
MANY_AT_MOST = 0.3
"""Seconds. Flink takes 0.44 s on such a machine."""


def figures(turns: int, report: Report, keys: int = KEYS, many: int = MANY_KEYS) -> Iterator[Figure]:
    """Measure.

    :arg turns: How often each store of ours is resumed.

    :arg report: Told of each run.

    :arg keys: Keys with a number each, as many as plain Bytewax can resume.

    :arg many: Keys with a text each, of RocksDB.

    :returns: Figures.

    """
    with TemporaryDirectory(prefix="resume-") as folder:
        plain = Resumes("theirs", "heap", keys, 0, Path(folder) / "plain", report)
        stores = {backend: Resumes("ours", backend, keys, 0, Path(folder) / backend, report) for backend in AT_LEAST}
        plain.resume()
        for _ in range(turns):
            for one in stores.values():
                one.resume()
        for backend, at_least in AT_LEAST.items():
            yield _against_plain(backend, keys, turns, at_least, plain.seconds, stores[backend].seconds)
    with TemporaryDirectory(prefix="resume-") as folder:
        large = Resumes("ours", "rocksdb", many, VALUE_BYTES, Path(folder), report)
        for _ in range(turns):
            large.resume()
        yield Figure(
            f"resume:rocksdb:{many}:{VALUE_BYTES}", "Flink: 0.44 s", large.seconds, "s", turns, at_most=MANY_AT_MOST
        )


class Resumes:
    """A store that is resumed again and again."""

    def __init__(self, side: Side, backend: Backend, keys: int, value_bytes: int, folder: Path, report: Report) -> None:
        """Build the store.

        :arg side: Whose.

        :arg backend: Of our side.

        :arg keys: Keys.

        :arg value_bytes: Length of the text that is a state; 0: it is a number.

        :arg folder: Where it is.

        :arg report: Told of each run.

        """
        self._side: Side = side
        self._backend: Backend = backend
        self._keys = self._at = keys
        self._value_bytes = value_bytes
        self._folder = folder
        self._report = report
        self._took: list[float] = []
        folder.mkdir(exist_ok=True)
        self._run(seen_before=0)

    def resume(self) -> None:
        """Resume it, for one item."""
        self._at += 1
        self._took.append(self._run(seen_before=1))

    @property
    def seconds(self) -> float:
        """Median until the first item."""
        return round(median(self._took), 4)

    def _run(self, seen_before: int) -> float:
        result = run_large(
            Run(
                self._side,
                self._keys,
                self._at,
                seen_before,
                str(self._folder),
                backend=self._backend,
                value_bytes=self._value_bytes,
            )
        )
        self._report(f"resume {self._side} {self._backend} {self._keys}: {result.first_item_seconds} s")
        return result.first_item_seconds


def _against_plain(backend: Backend, keys: int, turns: int, at_least: float, theirs: float, ours: float) -> Figure:
    return Figure(
        case=f"resume:{backend}:{keys}:0",
        against="plain Bytewax",
        value=round(theirs / ours, 1),
        unit="times",
        turns=turns,
        at_least=at_least,
        theirs=theirs,
        ours=ours,
        side_unit="s until the first item",
    )
