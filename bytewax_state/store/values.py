"""Values: the bytes of a row's value, which hold an object and when it wants to be notified.

Owns what must never change while there are snapshots, as `rowkeys` does for the keys of rows. It does not own the
bytes of the object (`codecs`). Called by the processors.

    format (1), flags (1), in format 2 a mark (8), with the flag 1 a due time (8, microseconds since 0001-01-01), object
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError

MARK_BYTES = 8

_PLAIN, _MARKED = 1, 2
_HAS_DUE = 1

_HEADER = struct.Struct(">BB")
_DUE = struct.Struct(">q")

PLAIN = _HEADER.pack(_PLAIN, 0)
"""What the value of a row begins with whose object does not want to be notified."""


@dataclass(frozen=True, slots=True)
class Value:
    """What the value of a row says."""

    due_us: int | None
    mark: bytes
    """Of the store that wrote the row before it had asked all restored objects for their times; else empty."""
    data: bytes


def make_value(due_us: int | None, mark: bytes, data: bytes) -> bytes:
    """Make the value of a row.

    :arg due_us: When the object wants to be notified, in microseconds since 0001-01-01 UTC; `None`: never.

    :arg mark: Of the store; may be empty.

    """
    header = _HEADER.pack(_MARKED if mark else _PLAIN, 0 if due_us is None else _HAS_DUE)
    return b"".join((header, mark, b"" if due_us is None else _DUE.pack(due_us), data))


def parse_values(rows: Iterable[bytes]) -> list[bytes]:
    """Parse what `make_value` made, for the bytes of the objects alone; see `parse_value`."""
    at = len(PLAIN)
    return [row[at:] if row.startswith(PLAIN) else parse_value(row).data for row in rows]


def parse_value(row: bytes) -> Value:
    """Parse what `make_value` made.

    :arg row: Value of a row.

    :returns: What it says.

    :raises SnapshotCorruptError: If it is too short.

    :raises IncompatibleError: If its format is not known here.

    """
    if len(row) >= _HEADER.size and row[0] not in (_PLAIN, _MARKED):
        msg = f"a row of state has format {row[0]}; this version of bytewax_state reads {_MARKED}; upgrade it"
        raise IncompatibleError(msg)
    try:
        form, flags = _HEADER.unpack_from(row)
        at = _HEADER.size + (MARK_BYTES if form == _MARKED else 0)
        if flags != _HAS_DUE:
            return Value(None, row[_HEADER.size : at], row[at:])
        (due_us,) = _DUE.unpack_from(row, at)
        return Value(due_us, row[_HEADER.size : at], row[at + _DUE.size :])
    except struct.error as ex:
        msg = f"a row of state is {len(row)} bytes long; expected a header and a value"
        raise SnapshotCorruptError(msg) from ex
