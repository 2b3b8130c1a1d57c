"""Inputs of the fuzzer: what is damaged of which job, where and how; all of it drawn from a seed.

Owns the choice, so that every kind of object meets every way of damage in every region of its bytes, and the damage to
bytes. It does not own the objects (`jobs`), nor what may come of it (`judge`).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults import flipped
from tests.fuzz.jobs import Stock

KINDS = ("manifest", "claim", "sst", "frozen sst", "frozen small", "ref", "row", "partition", "forged")
"""What is damaged. A small file of a frozen folder is one of those that lie in the manifest too; a row is the value of
one in Bytewax's recovery partitions, and a partition the whole file; forged is a manifest whose digest (without a key)
was made to match after the damage."""

WAYS = ("flip", "zero", "noise", "cut", "extend", "swap", "older", "delete", "empty")
"""A bit flipped; bytes overwritten with zeros, or at random; the end cut off; bytes put in; exchanged with another one
of its kind; replaced by an older one; deleted; made empty."""

_WHOLE = frozenset({"swap", "older", "delete", "empty"})
_REFS = frozenset({"ref", "row"})

Span = tuple[int, int]

_REGIONS: Mapping[str, Mapping[str, Span]] = {
    "manifest": {"head": (0, 10), "body": (10, -32), "digest": (-32, 0)},
    # Behind the blocks of rows: filter, index, properties and their index; last, the footer.
    "sst": {"head": (0, 64), "rows": (64, -1500), "index": (-1500, -53), "footer": (-53, 0)},
    "frozen small": {"head": (0, 16), "body": (16, -16), "tail": (-16, 0)},
    "ref": {"head": (0, 5), "numbers": (5, 17), "store": (17, -8), "digest": (-8, 0)},
    "row": {"head": (0, 13), "body": (13, -2), "tail": (-2, 0)},
    "partition": {"head": (0, 100), "schema": (100, 4096), "pages": (4096, 0), "tail": (-512, 0)},
}
"""Where the regions of a kind begin and end; from the end, if negative or an end of 0."""


def regions(kind: str) -> Mapping[str, Span]:
    """Return the regions of a kind."""
    same = {"claim": "manifest", "forged": "manifest", "frozen sst": "sst"}
    return _REGIONS[same.get(kind, kind)]


def _turns() -> list[tuple[str, str, str]]:
    ways = {"partition": [way for way in WAYS if way != "older"], "forged": [way for way in WAYS if way not in _WHOLE]}
    return [
        (kind, way, region)
        for kind in KINDS
        for way in ways.get(kind, WAYS)
        for region in (("",) if way in _WHOLE else regions(kind))
    ]


TURNS = _turns()
"""Every kind, way and region; each comes up as often as any other."""


@dataclass(frozen=True, slots=True)
class Input:
    """One damage, and the restore that meets it."""

    number: int
    job: int
    kind: str
    way: str
    region: str
    """Empty where the whole is damaged."""
    name: str
    """Of an object, a local file or a partition, or the number of a key group."""
    other: str
    """Another one of its kind, to swap with, or to be replaced by."""
    before: int
    """Epoch to resume at."""
    groups: tuple[int, ...]
    warm: bool
    """Whether there is a local folder with frozen images."""
    seed: int


def draw(count: int, rng: random.Random, stocks: Sequence[Stock]) -> Iterator[Input]:
    """Draw inputs.

    :arg count: How many; the first ones have each turn once.

    :arg rng: Where all choices come from.

    :arg stocks: Of each job.

    """
    turns: list[tuple[str, str, str]] = []
    for number in range(count):
        turns = turns or rng.sample(TURNS, len(TURNS))
        yield _draw(number, rng, stocks, *turns.pop())


def _draw(number: int, rng: random.Random, stocks: Sequence[Stock], kind: str, way: str, region: str) -> Input:
    job = rng.randrange(len(stocks))
    stock = stocks[job]
    before, groups = rng.choice(sorted(stock.needed))
    names = [str(group) for group in groups] if kind in _REFS else stock.names[kind]
    if kind in ("manifest", "sst", "forged") and rng.random() < 0.7:
        # Most of what there is, a given resume does not need.
        names = [name for name in names if name in stock.needed[before, groups]]
    name = rng.choice(names)
    others = _others(kind, way, name, names if kind in _REFS else stock.names[kind])
    return Input(
        number=number,
        job=job,
        kind=kind,
        way="delete" if way in ("swap", "older") and not others else way,
        region=region,
        name=name,
        other=rng.choice(others) if others else "",
        before=before,
        groups=groups,
        warm=kind.startswith("frozen") or rng.random() < 0.3,
        seed=rng.randrange(1 << 32),
    )


def _others(kind: str, way: str, name: str, names: Sequence[str]) -> Sequence[str]:
    if way == "swap":
        return [one for one in names if one != name]
    if way != "older":
        return []
    if kind in _REFS:
        return [name]  # of the same key group
    # An older one of the same store, or of another version's frozen folder. Names sort by age.
    folder = name.rpartition("/")[0] if kind != "frozen small" else ""
    return [one for one in names if one < name and one.startswith(folder)]


def altered(data: bytes, kind: str, way: str, region: str, rng: random.Random) -> bytes:
    """Damage bytes within a region.

    :arg data: Sound bytes.

    :arg kind: Of `KINDS`.

    :arg way: Of `WAYS`, but for those that take the whole.

    :arg region: Of `regions`.

    :arg rng: Where exactly, and what.

    :returns: May be the same, where zeros were there already.

    """
    begin, end = _span(regions(kind)[region], len(data))
    at = rng.randrange(begin, max(end, begin + 1))
    if way == "cut":
        return data[:at]
    if way == "extend":
        # At the end of the whole as often as within.
        at = len(data) if rng.random() < 0.5 else at
        return data[:at] + rng.randbytes(rng.choice((1, 4, 32, 100))) + data[at:]
    if not data:
        return data
    at = min(at, len(data) - 1)
    if way == "flip":
        return flipped(data, at, rng.randrange(8))
    size = min(rng.choice((1, 2, 8, 64, 512)), max(end, at + 1) - at)
    return data[:at] + (bytes(size) if way == "zero" else rng.randbytes(size)) + data[at + size :]


def _span(region: Span, size: int) -> Span:
    begin, end = (size + one if one < 0 else one for one in region)
    begin = min(max(begin, 0), size)
    return begin, min(max(end, begin), size) if region[1] else size
