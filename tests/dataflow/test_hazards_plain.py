"""What Bytewax passes through Rust, which leaves it plain: keys, due times and answers, whatever class they come in."""

from collections import UserDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest

from bytewax_state import Settings
from tests.dataflow.flows import RunningSum
from tests.dataflow.hazards import Count, Way, batched, cut
from tests.dataflow.runs import Batch, Run, results

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)


class Color(str, Enum):  # StrEnum prints as its value, so that a difference would not show
    """Keys, as many a flow has them."""

    RED = "red"
    BLUE = "blue"


class Folded(str):
    """A key that is equal to its like, and to nothing else that it prints as."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folded) and str.lower(self) == str.lower(other)

    def __hash__(self) -> int:
        return hash(str.lower(self))

    def __str__(self) -> str:
        return "folded"

    def encode(self, *args: Any) -> bytes:
        return b"folded"


KEYS: dict[str, list[Any]] = {
    "enum": [Color.RED, Color.BLUE],
    "numpy": [np.str_("red"), np.str_("blue")],
    "equal-in-its-own-way": [Folded("red"), Folded("RED"), "red", Folded("blue")],
    "mixed": [Color.RED, "red", np.str_("red"), "blue"],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_key_is_a_plain_str(keys: list[Any], way: Way) -> None:
    """From the first result on, and the state is that of the text, whichever class the key has this time."""
    batches = cut([(key, number) for number in range(12) for key in keys], len(keys) + 1)

    def step(up: Any) -> Any:
        counted = op.stateful_batch("s", up, Count)
        return op.map("told", counted, lambda item: (item[0], (type(item[0]).__name__, str.__str__(item[0]), item[1])))

    ours = way.results(step, batches)
    assert ours == way.plain(step, batches)
    assert {value[0] for values in ours.values() for value in values} == {"str"}


class Stamp(datetime):
    """A time of another library's, which orders and subtracts in its own way."""

    def _refuse(self, *args: object) -> Any:
        msg = "a Stamp is no plain datetime"
        raise TypeError(msg)

    __lt__ = __le__ = __gt__ = __ge__ = __sub__ = __rsub__ = __add__ = _refuse
    __eq__ = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Zone(tzinfo):
    """UTC, by another name."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Zone) or other == timezone.utc

    def __hash__(self) -> int:
        return hash(timezone.utc)

    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=2)

    def dst(self, when: datetime | None) -> None:
        return None


class Rings(Count):
    """Asks to be notified once, a moment after its first value."""

    make: Callable[[datetime], datetime]

    def __init__(self, state: Any = None) -> None:
        self.count, self.at = state or (0, None)

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        if self.count == 0:
            self.at = datetime.now(timezone.utc) + timedelta(seconds=0.2)
        return super().on_batch(values)

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        early = datetime.now(timezone.utc) < (self.at or PAST)
        self.at = None
        return ["early" if early else "rung"], False

    def notify_at(self) -> datetime | None:
        return None if self.at is None else type(self).make(self.at)

    def snapshot(self) -> Any:
        return (self.count, self.at)


TIMES: dict[str, Callable[[datetime], datetime]] = {
    "stamp": lambda at: Stamp.combine(at.date(), at.time(), timezone.utc),
    "stamp-in-a-zone": lambda at: Stamp.combine(at.date(), at.time(), Zone()),
    "zone": lambda at: at.replace(tzinfo=Zone()),
    "offset": lambda at: at.replace(tzinfo=timezone(timedelta(0), "Z")),
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("make", TIMES.values(), ids=TIMES)
def test_a_due_time_is_a_plain_datetime(
    make: Callable[[datetime], datetime], backend: str, workers: int, spilling: Settings
) -> None:
    """Of the same instant as Bytewax reads it, and what orders them is that alone."""
    step = batched(type("Ringing", (Rings,), {"make": staticmethod(make)}))
    batches: list[Batch] = [[("a", 1), ("b", 1)], [("c", 1)], [("a", 1), ("d", 1)], timedelta(seconds=0.6), [("d", 1)]]
    runs = [Run(workers=workers)]
    ours = results(step, batches, spilling.model_copy(update={"backend": backend}), runs)
    assert _unordered(ours) == _unordered(results(step, batches, None, runs))
    assert all(values.count("rung") == 1 for values in ours.values())


def _unordered(found: dict[str, list[Any]]) -> dict[str, list[str]]:
    """Leave out whether a notification came before an item, which is up to how fast the machine is."""
    return {key: sorted(map(str, values)) for key, values in found.items()}


class ByNumber:
    """Has items by their number, and is no declared sequence."""

    def __getitem__(self, number: int) -> int:
        return [7, 8][number]


EMITS: dict[str, Any] = {
    "array": np.array([1, 2]),
    "by-number": ByNumber(),
    "mapping-by-number": UserDict({0: 1}),
    "bytes": b"ab",
    "set": {1, 2},
    "dict": {0: 1},
    "text": np.str_("ab"),
}
DONES: list[Any] = [True, False, np.True_, np.False_, 1, None]


@pytest.mark.parametrize("done", DONES, ids=repr)
@pytest.mark.parametrize("emit", EMITS.values(), ids=EMITS)
def test_an_answer_is_taken_or_refused_as_bytewax_does(emit: Any, done: Any, spilling: Settings) -> None:
    """Whatever it is made of."""

    class Answers(Count):
        def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
            super().on_batch(values)
            return (emit, done) if self.count > 1 else ([self.count], False)

    batches = cut([("a", 1)] * 4)
    assert _outcome(Answers, batches, spilling) == _outcome(Answers, batches, None)


def _outcome(cls: type[Count], batches: list[Batch], settings: Settings | None) -> Any:
    try:
        return results(batched(cls), batches, settings)
    except Exception as ex:
        while ex.__cause__ is not None:
            ex = ex.__cause__  # type: ignore[assignment]
        return type(ex)


def test_a_spilled_logic_is_found_whichever_class_its_key_has(spilling: Settings) -> None:
    """Under the plain text."""
    batches = cut([(key, number) for number in range(9) for key in (Color.RED, "red", np.str_("red"))])
    ours = results(lambda up: op.stateful("s", up, RunningSum), batches, spilling)
    assert ours == results(lambda up: op.stateful("s", up, RunningSum), batches)
