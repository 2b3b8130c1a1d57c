"""What follows from the figures, in words: the sentences and tables of the page that says what to choose.

Owns the words around numbers that are measured; whatever a new measurement could make wrong is said with its number.
Called by `page`.
"""

from benchmarks.figures import Figure
from benchmarks.results import Results
from benchmarks.tables import NONE, number, table

STORES = ("plain", "heap", "rocksdb")
MIB = 1 << 20


_CHOOSE = """\
- `heap`, the default, while all state fits into memory: {mapped} times as fast as plain Bytewax with 100,000 keys and
  batches of 1,000 items, and {memory} times its memory.
- `rocksdb` for more state than memory holds: {cached} times as fast as plain Bytewax's memory while all keys are in the
  cache, and {hot} times with one key in fifty there, if nine items in ten are of hot keys. With 2,000,000 keys, the
  first item comes {resume} s after a restart.
- Neither for single items of few keys: with 1,000 keys these cost {dearer} times the CPU of plain Bytewax, and batches
  cost less {crossing}."""


def choose(results: Results) -> str:
    """Say in three lines what to choose."""
    figures = results.figures
    single = figures.get("crossover:heap:1000:1")
    return _CHOOSE.format(
        mapped=_value(figures.get("stateful_map:heap:100000:1000")),
        memory=_value(_first(results, "memory", "heap")),
        cached=_value(figures.get("stateful_map:rocksdb:100000:1000")),
        hot=_value(figures.get("hot_keys:rocksdb:2000000:1000")),
        resume=_value(results.figures.get("resume:rocksdb:2000000:100")),
        dearer=NONE if single is None else number(1 / single.value),
        crossing=_from(dict(_crossings(results)).get(1_000)),
    )


def sizes(results: Results) -> str:
    """Make a table of throughput and latency by the number of keys."""
    found = {tuple(figure.case.split(":")[1:]): figure for figure in results.of("state_size")}
    rows = []
    for keys in dict.fromkeys(keys for _, keys in found):
        of_size = [found.get((store, keys)) for store in STORES]
        rows.append([f"{int(keys):,}", *map(_value, of_size), *map(_latency, of_size)])
    head = [
        "keys",
        *(f"{store}, k items/s" for store in STORES),
        *(f"{store}, 99 % of batches, ms" for store in STORES),
    ]
    return table(head, rows)


def crossing(results: Results) -> str:
    """Make a table of the smallest batches with which ours costs less than plain Bytewax."""
    rows = []
    for keys, size in _crossings(results):
        cases = [results.figures.get(f"crossover:heap:{keys}:{batch}") for batch in (1, 10, 100, 1_000)]
        rows.append([f"{keys:,}", NONE if size is None else f"{size:,}", *map(_value, cases)])
    return table(
        ["keys", "costs less with batches from", "times as fast with 1", "with 10", "with 100", "with 1,000"], rows
    )


def access(results: Results) -> str:
    """Make a table of what RocksDB does with each pattern of accesses."""
    patterns = {
        "all keys in the cache": "stateful_map:rocksdb:100000:1000",
        "nine items in ten of 1 % of the keys, 2 % in the cache": "hot_keys:rocksdb:2000000:1000",
        "any of the keys, 2 % in the cache": "many_keys:rocksdb:5000000:1000",
    }
    rows = []
    for pattern, case in patterns.items():
        figure = results.figures.get(case)
        against = NONE if figure is None else figure.against
        rows.append([pattern, f"{int(case.split(':')[2]):,}", _value(figure), against])
    return table(["accesses", "keys", "times as fast", "as"], rows)


def resume(results: Results) -> str:
    """Make a table of what a restart takes."""
    rows = []
    for figure in results.of("resume"):
        _, store, _, length = figure.case.split(":")
        ours = figure.value if figure.ours is None else figure.ours
        rows.append([f"{_keys(figure)} {_values(length)}, `{store}`", _seconds(figure.theirs), _seconds(ours)])
    return table(["state", "plain, s", "ours, s"], rows)


def pauses(results: Results) -> str:
    """Make a table of how much longer than a usual batch the longest one takes."""
    rows = []
    for figure in results.of("pauses"):
        _, store, _, *resumed = figure.case.split(":")
        keys = "met again after a restart" if resumed else "first met, and met again"
        rows.append([f"{store}, keys {keys}", _keys(figure), number(figure.more["batch_ms"]), number(figure.value)])
    return table(["flow", "keys", "median batch, ms", "longest beyond it, ms"], rows)


def epoch(results: Results) -> str:
    """Make a table of what an epoch takes in which little changes, and of one of a large state."""
    figures = results.figures
    rows = []
    for figure in results.of("epochs"):
        _, store, _, steps, *part = figure.case.split(":")
        written = figures.get(f"{figure.case}:manifest")
        if not part:
            flow = f"{_keys(figure)} keys, steps: {steps}, `{store}`"
            rows.append([flow, _number(figure.theirs), _number(figure.ours), NONE, _value(written)])
    for figure in results.of("large_epochs"):
        worst = figures.get(f"{figure.case}:worst")
        if worst is not None:
            rows.append([f"{_keys(figure)} keys, `rocksdb`", NONE, _number(figure.ours), _value(worst), NONE])
    return table(["flow", "plain, ms", "ours, ms", "longest, ms", "bytes of a manifest"], rows)


def memory(results: Results) -> str:
    """Make a table of what a key takes in memory."""
    rows = []
    for figure in results.of("memory"):
        _, store, keys, length = figure.case.split(":")
        sides = [NONE if side is None else f"{side * MIB / int(keys):,.0f}" for side in (figure.theirs, figure.ours)]
        rows.append([f"{_keys(figure)} {_values(length)}, `{store}`", *sides])
    return table(["state", "plain, bytes a key", "ours, bytes a key"], rows)


def _first(results: Results, name: str, store: str) -> Figure | None:
    return next((figure for figure in results.of(name) if figure.case.split(":")[1] == store), None)


def _values(length: str) -> str:
    return f"texts of {length} bytes" if int(length) else "numbers"


def _keys(figure: Figure) -> str:
    return f"{int(figure.case.split(':')[2]):,}"


def _crossings(results: Results) -> list[tuple[int, int | None]]:
    """Find, for each number of keys, the size of batches from which on ours always costs less."""
    found: dict[int, dict[int, float]] = {}
    for figure in results.of("crossover"):
        _, _, keys, size = figure.case.split(":")
        found.setdefault(int(keys), {})[int(size)] = figure.value
    return [(keys, _crossed(found[keys])) for keys in sorted(found)]


def _crossed(ratios: dict[int, float]) -> int | None:
    sizes = sorted(ratios)
    dearer = [index for index, size in enumerate(sizes) if ratios[size] < 1]
    first = dearer[-1] + 1 if dearer else 0
    return sizes[first] if first < len(sizes) else None


def _from(size: int | None) -> str:
    return "nowhere" if size is None else f"from {size:,} items on"


def _value(figure: Figure | None) -> str:
    return NONE if figure is None else number(figure.value)


def _number(value: float | None) -> str:
    return NONE if value is None else number(value)


def _latency(figure: Figure | None) -> str:
    return NONE if figure is None else number(figure.more["p99_ms"])


def _seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
