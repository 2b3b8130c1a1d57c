"""The bytes of row keys: what they are made of comes back, and rows sort by it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.errors import SnapshotCorruptError
from bytewax_state.keygroups import MAX_KEY_GROUPS
from bytewax_state.store.rowkeys import (
    group_range,
    parse_timer_key,
    parse_value_key,
    timer_key,
    timer_range,
    value_key,
    value_keys,
    value_range,
)

GROUPS = st.integers(0, MAX_KEY_GROUPS - 1)
STATES = st.integers(0, 0xFFFF)
DUES = st.integers(0, 2**63 - 1)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SUBS = st.binary(max_size=8)

LAST_MICROSECOND = 315_537_897_599_999_999
"""9999-12-31 23:59:59.999999 as a due time."""


@given(GROUPS, STATES, KEYS, SUBS)
def test_value_row_keys_come_back(group: int, state: int, key: str, sub: bytes) -> None:
    """Parsing undoes making."""
    assert parse_value_key(value_key(group, state, key, sub)) == (group, state, key, sub)


@given(st.lists(st.tuples(GROUPS, KEYS)), STATES)
def test_many_row_keys_are_those_of_each(cells: list[tuple[int, str]], state: int) -> None:
    """Made at once or one by one."""
    groups, keys = [group for group, _ in cells], [key for _, key in cells]
    assert value_keys(groups, state, keys) == [value_key(group, state, key) for group, key in cells]


@given(GROUPS, STATES, DUES, KEYS)
def test_timer_row_keys_come_back(group: int, state: int, due_us: int, key: str) -> None:
    """Parsing undoes making."""
    assert parse_timer_key(timer_key(group, state, due_us, key)) == (group, state, due_us, key)


@given(GROUPS, STATES, KEYS, KEYS, SUBS, SUBS)
def test_no_row_of_a_key_is_a_prefix_of_another_keys(
    group: int, state: int, key: str, other: str, sub: bytes, other_sub: bytes
) -> None:
    """Whatever the keys contain, their rows stay apart."""
    if key != other:
        assert not value_key(group, state, other, other_sub).startswith(value_key(group, state, key))
        assert value_key(group, state, key, sub) != value_key(group, state, other, other_sub)
        assert not timer_key(group, state, 0, other).startswith(timer_key(group, state, 0, key))


def test_a_key_that_looks_like_anothers_row_stays_apart() -> None:
    """A key is not found at the end of a shorter one's row."""
    assert not value_key(1, 0, "ab").startswith(value_key(1, 0, "a"))
    assert value_key(1, 0, "a", b"b") != value_key(1, 0, "ab")


ROWS = st.one_of(
    st.tuples(st.just("value"), GROUPS, STATES, KEYS),
    st.tuples(st.just("timer"), GROUPS, STATES, KEYS),
)


def row_key(row: tuple[str, int, int, str]) -> bytes:
    """Make a row key of any kind."""
    kind, group, state, key = row
    return value_key(group, state, key) if kind == "value" else timer_key(group, state, LAST_MICROSECOND, key)


@given(ROWS, GROUPS, STATES)
def test_ranges_hold_their_rows_and_no_others(row: tuple[str, int, int, str], group: int, state: int) -> None:
    """A row is in a range exactly if it is of that group, kind and state."""
    kind, of_group, of_state, _ = row
    for group_at, state_at in ((group, state), (of_group, of_state), (of_group, state), (group, of_state)):
        ranges = {
            "any": (group_range(group_at), of_group == group_at),
            "value": (value_range(group_at, state_at), (kind, of_group, of_state) == ("value", group_at, state_at)),
            "timer": (timer_range(group_at, state_at), (kind, of_group, of_state) == ("timer", group_at, state_at)),
        }
        for (begin, end), inside in ranges.values():
            assert (begin <= row_key(row) < end) == inside


@given(ROWS, ROWS)
def test_rows_sort_by_group(row: tuple[str, int, int, str], other: tuple[str, int, int, str]) -> None:
    """So a group is one range of the table."""
    if row[1] < other[1]:
        assert row_key(row) < row_key(other)


@given(GROUPS, STATES, st.tuples(DUES, KEYS), st.tuples(DUES, KEYS))
def test_timers_sort_by_due_time(group: int, state: int, timer: tuple[int, str], other: tuple[int, str]) -> None:
    """So the first row is the next one due."""
    if timer[0] < other[0]:
        assert timer_key(group, state, *timer) < timer_key(group, state, *other)


@pytest.mark.parametrize(
    "row",
    [b"", b"\0", value_key(1, 2, "key")[:-1], timer_key(1, 2, 3, "key"), b"\0\0\0", b"\0\1\1\0\0\0\0\0\1\xff"],
)
def test_what_is_no_value_row_key_is_corrupt(row: bytes) -> None:
    """A damaged row key is told by an error of ours."""
    with pytest.raises(SnapshotCorruptError, match="row key of a value"):
        parse_value_key(row)


@pytest.mark.parametrize(
    "row", [b"", timer_key(1, 2, 3, "key")[:-1], timer_key(1, 2, 3, "key") + b"x", value_key(1, 2, "a" * 20)]
)
def test_what_is_no_timer_row_key_is_corrupt(row: bytes) -> None:
    """A damaged row key is told by an error of ours."""
    with pytest.raises(SnapshotCorruptError, match="row key of a timer"):
        parse_timer_key(row)
