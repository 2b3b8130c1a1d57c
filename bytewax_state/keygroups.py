"""Which key group a key belongs to, the names that groups are routed by, and the bytes of row keys.

Owns what must never change while there are snapshots: the hash, the table of names, the layout of a row key. It does
not own values (`codecs`), nor which worker has a group (Bytewax). Called by the group step, the stores, and restore.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import TypeVar

from bytewax_state.errors import ConfigError, SnapshotCorruptError

T = TypeVar("T")

HASH = "crc32-utf8"
"""The hash behind `group_of`, as manifests record it.

CRC-32 costs 50 ns with the encoding. It puts digits, addresses, UUIDs and prefixed ids into 100, 128 and 4,096 groups
at least as evenly as BLAKE2b does.
"""

MAX_KEY_GROUPS = 4096
"""The most key groups that a step can have: one for every name in the table."""

_META, _VALUE, _TIMER = range(3)

_GROUP = struct.Struct(">H")
_SPACE = struct.Struct(">HB")
_STATE = struct.Struct(">HBH")
_META_ROW = struct.Struct(">HBI")
_VALUE_ROW = struct.Struct(">HBHI")
_TIMER_ROW = struct.Struct(">HBHqI")


def _read_names() -> tuple[str, ...]:
    text = resources.files(__package__).joinpath("keygroup_names.txt").read_text("ascii")
    return tuple(text.split())


_NAMES = _read_names()

NAMES_ID = hashlib.sha256("\n".join(_NAMES).encode()).hexdigest()[:16]
"""Digest of the table of names, as manifests record it."""


def names(key_groups: int) -> tuple[str, ...]:
    """Return the names that Bytewax routes key groups by.

    Bytewax sends a key to worker `SipHash-1-3(0, utf8(key) + 0xFF) % workers`. The hash of the i-th name is congruent
    to i modulo lcm(1…16)·4, so any number of workers from 1 to 16, 32 and 64 gets equal shares: worker w of n has the
    groups w, w + n, w + 2n and so on.

    :arg key_groups: Number of key groups.

    :returns: A name for each group, in order.

    :raises ConfigError: If there are not as many names.

    """
    _check(key_groups)
    return _NAMES[:key_groups]


def group_of(key: str, key_groups: int) -> int:
    """Return the key group of a key.

    :arg key: Key.

    :arg key_groups: Number of key groups.

    :returns: Group, from 0 on.

    :raises TypeError: If the key is no string.

    :raises UnicodeEncodeError: If the key has a lone surrogate. Bytewax takes no such key either: it says that its step
        requires `str` keys.

    """
    return zlib.crc32(str.encode(key)) % key_groups


def splitter(key_groups: int) -> Callable[[Iterable[tuple[str, T]]], dict[int, list[tuple[str, T]]]]:
    """Bind `group_of` to a number of key groups, for the hot path: one call for all items of a batch.

    :arg key_groups: Number of key groups.

    :returns: Function from `(key, value)` items to key group to its items, in their order. A key of a subclass of `str`
        becomes a `str`, as it would in Bytewax, and before anything asks the subclass what it is equal to. It raises
        what `group_of` raises.

    :raises ConfigError: If there are not as many names.

    """
    _check(key_groups)

    def split(items: Iterable[tuple[str, T]]) -> dict[int, list[tuple[str, T]]]:
        crc32, encode, plain = zlib.crc32, str.encode, str.__str__
        by_group: dict[int, list[tuple[str, T]]] = {}
        for item in items:
            key, value = item
            if type(key) is not str:
                item = plain(key), value  # noqa: PLW2901  # another name would cost each item an assignment
            group = crc32(encode(key)) % key_groups
            if group in by_group:
                by_group[group].append(item)
            else:
                by_group[group] = [item]
        return by_group

    return split


def _check(key_groups: int) -> None:
    if not 1 <= key_groups <= MAX_KEY_GROUPS:
        msg = f"the number of key groups is {key_groups}, expected 1 to {MAX_KEY_GROUPS}; set BYTEWAX_STATE_KEY_GROUPS"
        raise ConfigError(msg)


# A row key is the group (2 bytes, big-endian) and the space (1): 0 meta, 1 values, 2 timers. Then
#
#     meta                    length (4) name
#     value   state (2)       length (4) utf8(key) sub
#     timer   state (2) due (8) length (4) utf8(key)
#
# so rows sort by group, space and state, timers by due time, and the length in front keeps the rows of one key from
# reaching into those of a longer one.


def meta_key(group: int, name: str) -> bytes:
    """Make the row key of something that a group has one of.

    :arg group: Key group.

    :arg name: What it is.

    :returns: Row key.

    """
    utf8 = name.encode()
    return _META_ROW.pack(group, _META, len(utf8)) + utf8


def value_key(group: int, state: int, key: str, sub: bytes = b"") -> bytes:
    """Make the row key of a value.

    :arg group: Key group of the key.

    :arg state: Number of the state, up to 65,535.

    :arg key: Key.

    :arg sub: Which of the key's rows in this state, such as an entry of a map.

    :returns: Row key.

    """
    utf8 = key.encode()
    return _VALUE_ROW.pack(group, _VALUE, state, len(utf8)) + utf8 + sub


def timer_key(group: int, state: int, due_us: int, key: str) -> bytes:
    """Make the row key of a timer.

    :arg group: Key group of the key.

    :arg state: Number of the state, up to 65,535.

    :arg due_us: When it is due: microseconds since 0001-01-01 UTC, not negative.

    :arg key: Key.

    :returns: Row key.

    """
    utf8 = key.encode()
    return _TIMER_ROW.pack(group, _TIMER, state, due_us, len(utf8)) + utf8


def parse_value_key(row: bytes) -> tuple[int, int, str, bytes]:
    """Parse what `value_key` made.

    :arg row: Row key.

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

    :arg row: Row key.

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


def group_range(group: int) -> tuple[bytes, bytes]:
    """Return the range of all rows of a key group.

    :arg group: Key group.

    :returns: Begin, and end exclusive.

    """
    return _GROUP.pack(group), _GROUP.pack(group + 1)


def value_range(group: int, state: int) -> tuple[bytes, bytes]:
    """Return the range of the value rows of one state in a key group.

    :arg group: Key group.

    :arg state: Number of the state.

    :returns: Begin, and end exclusive.

    """
    return _state_range(group, _VALUE, state)


def timer_range(group: int, state: int) -> tuple[bytes, bytes]:
    """Return the range of the timer rows of one state in a key group, which sort by due time.

    :arg group: Key group.

    :arg state: Number of the state.

    :returns: Begin, and end exclusive.

    """
    return _state_range(group, _TIMER, state)


def _state_range(group: int, space: int, state: int) -> tuple[bytes, bytes]:
    begin = _STATE.pack(group, space, state)
    end = _SPACE.pack(group, space + 1) if state == 0xFFFF else _STATE.pack(group, space, state + 1)
    return begin, end
