"""Operators on plain values: what Bytewax's own logics do, rows included."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import bytewax.operators as op
import pytest
from bytewax.dataflow import Stream
from hypothesis import given, settings
from hypothesis import strategies as st

from bytewax_state import Settings
from tests.dataflow.runs import Run, Step, causes, results
from tests.keyed.running import BACKENDS, FREEZING, Running

SIDES = 3
KEYS = st.sampled_from(["a", "b", "ö", "", "c" * 40])
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.integers(-5, 5)), min_size=1, max_size=8), max_size=8)
FREEZING_PAIRS = st.tuples(*[st.sampled_from(FREEZING)] * 2)


def add_or_forget(total: int | None, value: int) -> tuple[int | None, int]:
    total = (total or 0) + value
    return (None if value == 0 else total), total


def repeat(seen: list[int] | None, value: int) -> tuple[list[int] | None, list[int]]:
    """Change the state in place, and emit none, one or many."""
    seen = seen if seen is not None else []
    seen.append(value)
    return (None if value == 5 else seen), seen[: max(0, value)]


def append(acc: list[int] | None, value: int) -> list[int] | None:
    """Change the accumulator in place; `None` is one too."""
    acc = [] if acc is None else acc
    acc.append(value)
    return None if value in (0, 5) else acc


def add(one: int, other: int) -> int | None:
    return None if other == 0 else one + other


def labelled(value: int) -> tuple[int, int | None]:
    """Make of a value what a core step that joins is given: the side, and a value of it."""
    return value % SIDES, value // SIDES or None


def of_side(side: int, item: tuple[str, int]) -> tuple[str, int | None] | None:
    label, value = labelled(item[1])
    return (item[0], value) if label == side else None


MAPPING: dict[str, Step] = {
    "map": lambda up: op.stateful_map("s", up, add_or_forget),
    "flat_map": lambda up: op.stateful_flat_map("s", up, repeat),
}
FINAL: dict[str, Step] = {
    "fold": lambda up: op.fold_final("s", up, lambda: [-1], append),
    "fold_from_none": lambda up: op.fold_final("s", up, lambda: None, append),
}
REDUCING: dict[str, Step] = {
    "reduce": lambda up: op.reduce_final("s", up, add),
    "count": lambda up: op.count_final("s", up, lambda item: item[0]),
    "max": lambda up: op.max_final("s", up, by=abs),
    "min": lambda up: op.min_final("s", up),
}
"""Of each batch, their core step is given what the step in front of it has reduced that to."""
JOINS: dict[str, Step] = {
    f"join_{insert}_{emit}": lambda up, insert=insert, emit=emit: op.join(
        "s",
        *(op.filter_map(f"side{side}", up, partial(of_side, side)) for side in range(SIDES)),
        insert_mode=insert,
        emit_mode=emit,
    )
    for insert in get_args(op.JoinInsertMode)
    for emit in get_args(op.JoinEmitMode)
}
COLLECTING: dict[str, Step] = {
    f"collect_{size}": lambda up, size=size: op.collect("s", up, timedelta(days=1), size) for size in (0, 2, 4)
}
OPERATORS = MAPPING | FINAL | COLLECTING
ALL = OPERATORS | REDUCING | JOINS


@pytest.mark.parametrize("operator", OPERATORS | REDUCING)
@settings(deadline=None, max_examples=25)
@given(before=BATCHES, after=BATCHES, backends=FREEZING_PAIRS, ends=st.booleans())
def test_either_goes_on_from_what_the_other_wrote(
    operator: str, before: list[Any], after: list[Any], backends: tuple[str, str], ends: bool
) -> None:
    """Plain values from the rows of the logics, and the logics from theirs: with the same results as ever, in order."""
    _go_on((operator, operator), before, after, backends, ends)


@settings(deadline=None, max_examples=25)
@given(
    operators=st.tuples(*[st.sampled_from(sorted(COLLECTING))] * 2),
    before=BATCHES,
    after=BATCHES,
    backends=FREEZING_PAIRS,
    ends=st.booleans(),
)
def test_what_was_collected_up_to_another_size(
    operators: tuple[str, str], before: list[Any], after: list[Any], backends: tuple[str, str], ends: bool
) -> None:
    """Is emitted with the next value, if it is enough by now."""
    _go_on(operators, before, after, backends, ends)


@settings(deadline=None, max_examples=100)
@given(
    operators=st.tuples(*[st.sampled_from(sorted(JOINS))] * 2),
    before=BATCHES,
    after=BATCHES,
    backends=FREEZING_PAIRS,
    ends=st.booleans(),
)
def test_a_join_in_any_mode_goes_on_from_any_other(
    operators: tuple[str, str], before: list[Any], after: list[Any], backends: tuple[str, str], ends: bool
) -> None:
    """A side may then have several values, where it has one at most from now on; and `None` is a value too."""
    parts = [[[(key, labelled(value)) for key, value in batch] for batch in part] for part in (before, after)]
    _go_on(operators, *parts, backends, ends)


def _go_on(
    operators: tuple[str, str], before: list[Any], after: list[Any], backends: tuple[str, str], ends: bool
) -> None:
    expected: list[Any] | None = None
    for plain_before, plain_after in ((False, False), (False, True), (True, False), (True, True)):
        with TemporaryDirectory() as name:
            folder = Path(name)
            one = Running(ALL[operators[0]], plain_before, BACKENDS[backends[0]], folder / "live", restored=False)
            found = [one.processor.on_items(batch) for batch in before]
            found += [one.end()] if ends else []
            frozen = one.store.freeze(folder / "frozen")
            one.store.close()
            other = Running(ALL[operators[1]], plain_after, BACKENDS[backends[1]], folder / "frozen", restored=True)
            found += [other.processor.on_items(batch) for batch in after]
            found += [other.end(), other.end()]
            other.store.flush()
            found.append([sum(column.count.values()) for column in other.store._columns])
            other.store.close()
            found.append(frozen.rows)
        expected = expected or found
        assert found == expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", OPERATORS)
@settings(deadline=None, max_examples=25)
@given(batches=BATCHES)
def test_results_are_those_of_plain_bytewax(operator: str, backend: str, batches: list[Any]) -> None:
    """For each key, whatever the state does in between."""
    expected = results(OPERATORS[operator], batches)
    with TemporaryDirectory() as name:
        running = Running(OPERATORS[operator], True, BACKENDS[backend], Path(name) / "live", restored=False)
        found: dict[str, list[Any]] = {}
        for emitted in (*map(running.processor.on_items, batches), running.processor.on_end()):
            for key, value in emitted:
                found.setdefault(key, []).append(value)
        running.store.close()
    assert {key.removesuffix(" "): values for key, values in expected.items()} == found


@pytest.mark.parametrize("operator", JOINS)
@settings(deadline=None, max_examples=10)
@given(items=st.lists(st.tuples(KEYS, st.integers(0, 8)), max_size=12))
def test_rows_of_a_join_are_those_of_plain_bytewax(operator: str, items: list[Any]) -> None:
    """Item by item: which of several sides comes first is up to Bytewax."""
    expected = results(JOINS[operator], [[item] for item in items], None)
    found = results(JOINS[operator], [[item] for item in items], Settings(uri=None))
    assert found == expected


class Array:
    """A state that refuses to be compared, as an array of numpy does."""

    def __eq__(self, other: object) -> bool:
        msg = "ambiguous"
        raise ValueError(msg)

    __hash__ = object.__hash__


@pytest.mark.parametrize("backend", ["heap", "rocksdb-2"])
def test_a_state_is_never_compared(backend: str, tmp_path: Path) -> None:
    """Neither to find out whether it is in memory, nor whether it has to be written, spilled and kept."""
    step = partial(op.stateful_map, "s", mapper=lambda state, value: (state or Array(), value))
    running = Running(step, True, BACKENDS[backend], tmp_path / "live", restored=False)
    items = [(key, 1) for key in "abcabcaabbcc"]
    assert [item for one in items for item in running.processor.on_items([one])] == items
    running.processor.on_items(items)
    running.store.freeze(tmp_path / "frozen")
    running.store.close()


def _raise(state: Any, value: Any) -> Any:
    msg = "no"
    raise KeyError(msg)


WRONG: dict[str, Callable[[Any, Any], Any]] = {
    "raises": _raise,
    "nothing": lambda state, value: None,
    "one": lambda state, value: (1,),
    "three": lambda state, value: (1, 2, 3),
}


@pytest.mark.parametrize("operator", [op.stateful_map, op.stateful_flat_map], ids=["map", "flat_map"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_mapper_that_fails(wrong: str, operator: Callable[..., Stream[Any]]) -> None:
    """Gives Bytewax's error, in its words, with the step and the user's key."""
    _fails_as_in_bytewax(lambda up: operator("s", up, WRONG[wrong]))


FAILING: dict[str, Step] = {
    "fold": lambda up: op.fold_final("s", up, int, _raise),
    "reduce": lambda up: op.reduce_final("s", up, _raise),
    "max": lambda up: op.max_final("s", up, by=lambda value: value.no),
}


@pytest.mark.parametrize("operator", FAILING)
def test_a_folder_that_fails(operator: str) -> None:
    """Gives Bytewax's error, in its words, with the step and the user's key; where it fails, among several, first."""
    _fails_as_in_bytewax(FAILING[operator])


def test_a_builder_that_fails() -> None:
    """Gives its own error."""
    ours = _failure(lambda up: op.fold_final("s", up, lambda: {}["no"], _raise), Settings(uri=None))
    assert str(ours[-1]) == "'no'"
    assert "for key 'key'" in str(ours[-2])


def _fails_as_in_bytewax(step: Step) -> None:
    theirs, ours = _failure(step, None), _failure(step, Settings(uri=None))
    assert [*map(type, theirs[-2:])] == [*map(type, ours[-2:])]
    for their, our in zip(theirs[-2:], ours[-2:], strict=True):
        # Bytewax puts the line of its source in front, and other quotes.
        assert str(their).replace('"', "'").endswith(str(our))
    assert any("'flow.s" in str(ex) and "'key'" in str(ex) for ex in ours)


def test_what_is_no_list_of_values_to_emit() -> None:
    """Gives Bytewax's error too."""
    step = lambda up: op.stateful_flat_map("s", up, lambda state, value: (1, 2))  # noqa: E731
    theirs, ours = _failure(step, None), _failure(step, Settings(uri=None))
    assert type(theirs[-1]) is type(ours[-1]) is TypeError
    assert str(theirs[-1]) == str(ours[-1])


def _failure(step: Step, chosen: Settings | None) -> list[BaseException]:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        results(step, [[("key 2", 1), ("key", 1)], [("key 2", 1), ("key", 1)]], chosen, [Run()])
    return list(causes(caught.value))
