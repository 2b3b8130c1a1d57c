"""The bytes of row keys: rows of a table sort by key group, then by what they are.

Owns their layout, which must never change while there are snapshots. It does not own values (`values`), nor which group
a key belongs to (`keygroups`). Called by the stores, and by restore.

A row key is the group (2 bytes, big-endian) and the space (1): 1 values, 2 timers. Then

    value   state (2)       length (4) utf8(key) sub
    timer   state (2) due (8) length (4) utf8(key)

so rows sort by group, space and state, timers by due time, and the length in front keeps the rows of one key from
reaching into those of a longer one.
"""

import struct
from collections.abc import Iterable

from bytewax_state.errors import SnapshotCorruptError

_VALUE, _TIMER = 1, 2

_GROUP = struct.Struct(">H")
_SPACE = struct.Struct(">HB")
_STATE = struct.Struct(">HBH")
_VALUE_ROW = struct.Struct(">HBHI")
_TIMER_ROW = struct.Struct(">HBHqI")


def value_key(group: int, state: int, key: str, sub: bytes = b"") -> bytes:
    """Make the row key of a value.

    :arg group: Key group of the key.

    :arg state: Number of the state, up to 65,535.

    :arg sub: Which of the key's rows in this state, such as an entry of a map.

    """
    utf8 = key.encode()
    return _VALUE_ROW.pack(group, _VALUE, state, len(utf8)) + utf8 + sub


def value_keys(groups: Iterable[int], state: int, keys: Iterable[str]) -> list[bytes]:
    """Make the row keys of many values.

    :arg groups: Key group of each key.

    :arg state: Number of the state, up to 65,535.

    :arg keys: Keys.

    """
    pack = _VALUE_ROW.pack
    return [
        pack(group, _VALUE, state, len(utf8)) + utf8 for group, utf8 in zip(groups, map(str.encode, keys), strict=True)
    ]


def timer_key(group: int, state: int, due_us: int, key: str) -> bytes:
    """Make the row key of a timer.

    :arg group: Key group of the key.

    :arg state: Number of the state, up to 65,535.

    :arg due_us: When it is due: microseconds since 0001-01-01 UTC, not negative.

    """
    utf8 = key.encode()
    return _TIMER_ROW.pack(group, _TIMER, state, due_us, len(utf8)) + utf8


def parse_value_key(row: bytes) -> tuple[int, int, str, bytes]:
    """Parse what `value_key` made.

    :returns: Group, state, key, sub.

    :raises SnapshotCorruptError: If it is no row key of a value.

    """
    try:
        group, space, state, length = _VALUE_ROW.unpack_from(row)
        end = 9 + length
        key = row[9:end].decode()
    except (struct.error, UnicodeDecodeError) as ex:
        raise _no_row_key(row, "value") from ex
    if space != _VALUE or len(row) < end:
        raise _no_row_key(row, "value")
    return group, state, key, row[end:]


def parse_timer_key(row: bytes) -> tuple[int, int, int, str]:
    """Parse what `timer_key` made.

    :returns: Group, state, due time in microseconds since 0001-01-01 UTC, key.

    :raises SnapshotCorruptError: If it is no row key of a timer.

    """
    try:
        group, space, state, due_us, length = _TIMER_ROW.unpack_from(row)
        key = row[17:].decode()
    except (struct.error, UnicodeDecodeError) as ex:
        raise _no_row_key(row, "timer") from ex
    if space != _TIMER or len(row) != 17 + length:
        raise _no_row_key(row, "timer")
    return group, state, due_us, key


def _no_row_key(row: bytes, kind: str) -> SnapshotCorruptError:
    msg = f"found {row[:80].hex()} where the row key of a {kind} should be; restore an older snapshot"
    return SnapshotCorruptError(msg)


def group_of_row(row: bytes) -> int:
    """Return the key group of a row.

    :arg row: Any row key.

    :returns: Group.

    """
    group: int = _GROUP.unpack_from(row)[0]
    return group


def group_range(group: int) -> tuple[bytes, bytes]:
    """Return the range of all rows of a key group.

    :returns: Begin, and end exclusive.

    """
    return _GROUP.pack(group), _GROUP.pack(group + 1)


def value_range(group: int, state: int) -> tuple[bytes, bytes]:
    """Return the range of the value rows of one state in a key group.

    :arg state: Number of the state.

    :returns: Begin, and end exclusive.

    """
    return _state_range(group, _VALUE, state)


def timer_range(group: int, state: int) -> tuple[bytes, bytes]:
    """Return the range of the timer rows of one state in a key group, which sort by due time.

    :arg state: Number of the state.

    :returns: Begin, and end exclusive.

    """
    return _state_range(group, _TIMER, state)


def _state_range(group: int, space: int, state: int) -> tuple[bytes, bytes]:
    begin = _STATE.pack(group, space, state)
    end = _SPACE.pack(group, space + 1) if state == 0xFFFF else _STATE.pack(group, space, state + 1)
    return begin, end
