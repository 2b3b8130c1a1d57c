"""Values as bytes and back, exactly: a tag that names the codec, the version of its format, the encoded value.

Owns the formats, and which types each of them keeps. It does not own what is stored or when, nor the bytes that rows
are found by (`keygroups`). Called by the dataflow for every row of state that is written or read.
"""

import io
import pickle
import struct
from collections.abc import Callable, Collection
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any, NoReturn, Protocol
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgpack

from bytewax_state.errors import BytewaxStateError, ConfigError, IncompatibleError, SnapshotCorruptError, UsageError
from bytewax_state.shapes import gone, shape_of, stored_shape

MSGPACK = 1
"""Tag of the msgpack codec."""

PICKLE = 2
"""Tag of the pickle codec."""

_VERSIONS = {MSGPACK: 1, PICKLE: 1}
_MSGPACK_HEAD = bytes((MSGPACK, _VERSIONS[MSGPACK]))
_PICKLE_HEAD = bytes((PICKLE, _VERSIONS[PICKLE]))
_HEADS = (_MSGPACK_HEAD, _PICKLE_HEAD)
_PICKLE_PROTOCOL = 5


class Codec(Protocol):
    """Turns values into bytes that `decode` turns back."""

    def encode(self, value: Any) -> bytes:
        """Serialise a value.

        :arg value: Value.

        :returns: Tag, version and encoded value.

        :raises UsageError: If it cannot be serialised.

        """
        ...


class PickleCodec:
    """Python's pickle, protocol 5."""

    __slots__ = ()

    def encode(self, value: Any) -> bytes:
        """See `Codec.encode`."""
        return _PICKLE_HEAD + _pickled(value)


class MsgpackCodec:
    """MessagePack, with types of our own for what it does not know, and pickle for the rest.

    It keeps `None`, bool, int, float, str, bytes, list, dict, tuple, set, frozenset, datetime with its zone and fold,
    date, time, timedelta, Decimal, UUID, and plain dataclasses. Any other value inside is pickled by itself. Where
    MessagePack cannot take the whole, or not exactly (cycles, nesting above about 1,000 levels, lone surrogates,
    `bytearray`), the whole is pickled.

    What comes back is equal and of the same types, but unlike pickle's result it does not share: a list that was in two
    places becomes two lists.

    A dataclass is rebuilt without a call of its `__init__`, from the names of its fields. Fields that were added since
    take their defaults.
    """

    __slots__ = ("_packers",)

    def __init__(self) -> None:
        """Init."""
        # A packer has one buffer, and packing runs Python code, so another thread, or a `__reduce__` that encodes
        # something itself, may come in between. Each call takes one for itself. List operations are atomic.
        self._packers: list[Callable[[Any], bytes]] = []

    def encode(self, value: Any) -> bytes:
        """See `Codec.encode`."""
        try:
            pack = self._packers.pop()
        except IndexError:
            pack = msgpack.Packer(default=_lower, strict_types=True).pack
        try:
            # In a list, whose byte is cut off again: msgpack packs one more level of nesting than it unpacks.
            packed = pack([value])
        except UsageError:
            raise
        except Exception:  # whatever it is, pickle may do better, and says it if not
            return _PICKLE_HEAD + _pickled(value)
        self._packers.append(pack)
        # The first bytes of msgpack's three kinds of bytes; other data have them too, by chance.
        if (0xC4 in packed or 0xC5 in packed or 0xC6 in packed) and _holds_buffer(value):
            return _PICKLE_HEAD + _pickled(value)
        return _MSGPACK_HEAD + packed[1:]


def codec(name: str) -> Codec:
    """Make a codec.

    :arg name: `"msgpack"` or `"pickle"`.

    :returns: Codec.

    :raises ConfigError: If there is none of that name.

    """
    if name == "msgpack":
        return MsgpackCodec()
    if name == "pickle":
        return PickleCodec()
    msg = f"the codec is {name!r}, expected 'msgpack' or 'pickle'; set BYTEWAX_STATE_CODEC"
    raise ConfigError(msg)


def decode(data: bytes) -> Any:
    """Turn what any codec encoded back into a value.

    As with pickle, only data from a trusted source may be decoded.

    :arg data: Tag, version and encoded value.

    :returns: Value.

    :raises IncompatibleError: If the codec or its version is not known here, or a time zone or a class is not there, or
        the class has changed.

    :raises SnapshotCorruptError: If the data are damaged, or a class fails while it is unpickled.

    """
    head = data[:2]
    if head not in _HEADS:
        _refuse(data)
    try:
        return _unpack(data[2:]) if head == _MSGPACK_HEAD else _unpickled(data[2:])
    except BytewaxStateError:
        raise
    except Exception as ex:
        # The repr of some errors holds the data.
        why = f"{type(ex).__name__}: {ex}"
        msg = f"an encoded value of {len(data)} bytes cannot be decoded: {why}; restore an older snapshot"
        raise SnapshotCorruptError(msg) from ex


def _refuse(data: bytes) -> NoReturn:
    if len(data) < 2:
        msg = f"an encoded value has {len(data)} bytes, expected at least 2; restore an older snapshot"
        raise SnapshotCorruptError(msg)
    tag, version = data[0], data[1]
    if tag not in _VERSIONS:
        found = f"codec tag {tag}, expected one of {sorted(_VERSIONS)}"
    else:
        found = f"version {version} of codec {tag}, expected {_VERSIONS[tag]}"
    msg = f"an encoded value has {found}; read it with the version of this package that wrote it"
    raise IncompatibleError(msg)


# What MessagePack does not know is an extension type of it: an atom, with the value in it, or a mark at the head of a
# list, with the parts behind it. A list of the user's cannot begin with a mark: the codes are negative, which msgpack
# keeps for itself and lets nobody else construct (see `_Extension`).

_BIG_INT, _DECIMAL, _UUID, _DATE, _TIMEDELTA, _PICKLED = range(-2, -8, -1)
_NAIVE_DATETIME, _UTC_DATETIME, _NAIVE_TIME, _OFFSET, _ZONE = range(-16, -21, -1)
_TUPLE, _SET, _FROZENSET, _ZONED, _FOLDED, _DATACLASS = range(-32, -38, -1)

_DATE_FORMAT = struct.Struct(">HBB")
_TIMEDELTA_FORMAT = struct.Struct(">iII")
_TIME_FORMAT = struct.Struct(">BBBI")
_DATETIME_FORMAT = struct.Struct(">HBBBBBI")


def _extension(code: int, data: bytes) -> msgpack.ExtType:
    """Make an extension value; past the constructor of `ExtType`, which takes no negative code."""
    return tuple.__new__(msgpack.ExtType, (code, data))


class _Mark:
    """What a mark is read as: the function that builds a value of the list which the mark is in."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[Any]], Any]) -> None:
        self.build = build


def _lower(value: Any) -> Any:
    """Put a value that msgpack does not know in terms of those it does. Its parts come here in their turn."""
    kind = type(value)
    lower = _LOWER.get(kind)
    if lower is not None:
        return lower(value)
    shape = shape_of(kind)
    if shape is not None:
        values = shape.take(value)
        if values is not None:
            return [_DATACLASS_MARK, shape.name, *values]
    return _extension(_PICKLED, _pickled(value))


def _lower_int(value: int) -> Any:
    return _extension(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _lower_uuid(value: UUID) -> Any:
    if value.is_safe is not SafeUUID.unknown:
        return _extension(_PICKLED, _pickled(value))
    return _extension(_UUID, value.bytes)


def _lower_datetime(value: datetime) -> Any:
    zone = value.tzinfo
    if zone is not None and zone is not timezone.utc:
        return [_ZONED_MARK, value.replace(tzinfo=None), zone]
    if value.fold:
        return [_FOLDED_MARK, value.replace(fold=0)]
    data = _DATETIME_FORMAT.pack(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond
    )
    return _extension(_NAIVE_DATETIME if zone is None else _UTC_DATETIME, data)


def _lower_time(value: time) -> Any:
    if value.tzinfo is not None:
        return [_ZONED_MARK, value.replace(tzinfo=None), value.tzinfo]
    if value.fold:
        return [_FOLDED_MARK, value.replace(fold=0)]
    return _extension(_NAIVE_TIME, _TIME_FORMAT.pack(value.hour, value.minute, value.second, value.microsecond))


def _lower_timedelta(value: timedelta) -> Any:
    return _extension(_TIMEDELTA, _TIMEDELTA_FORMAT.pack(value.days, value.seconds, value.microseconds))


def _lower_offset(value: timezone) -> Any:
    offset = value.utcoffset(None)
    if repr(value) != repr(timezone(offset)):
        # It has a name of its own, which equality does not tell.
        return _extension(_PICKLED, _pickled(value))
    return _extension(_OFFSET, _TIMEDELTA_FORMAT.pack(offset.days, offset.seconds, offset.microseconds))


def _lower_zone(value: ZoneInfo) -> Any:
    if not value.key or ZoneInfo(value.key) is not value:
        # It came from a file, or is not the one of its name that all others share.
        return _extension(_PICKLED, _pickled(value))
    return _extension(_ZONE, value.key.encode())


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, _PICKLE_PROTOCOL)
    except Exception as ex:  # a `__reduce__` may raise anything
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        msg = f"a value of type {kind} cannot be serialised: {ex!r}; keep only what can be pickled in the state"
        raise UsageError(msg) from ex


_TUPLE_MARK = _extension(_TUPLE, b"")
_SET_MARK = _extension(_SET, b"")
_FROZENSET_MARK = _extension(_FROZENSET, b"")
_ZONED_MARK = _extension(_ZONED, b"")
_FOLDED_MARK = _extension(_FOLDED, b"")
_DATACLASS_MARK = _extension(_DATACLASS, b"")

_LOWER: dict[type, Callable[[Any], Any]] = {
    tuple: lambda value: [_TUPLE_MARK, *value],
    set: lambda value: [_SET_MARK, *value],
    frozenset: lambda value: [_FROZENSET_MARK, *value],
    int: _lower_int,
    Decimal: lambda value: _extension(_DECIMAL, str(value).encode()),
    UUID: _lower_uuid,
    datetime: _lower_datetime,
    date: lambda value: _extension(_DATE, _DATE_FORMAT.pack(value.year, value.month, value.day)),
    time: _lower_time,
    timedelta: _lower_timedelta,
    timezone: _lower_offset,
    ZoneInfo: _lower_zone,
}
"""Exact type to how msgpack is told of it. It asks for an int only when that has more than 64 bits."""


def _lift(parts: list[Any]) -> Any:
    """Make what a list stands for. Its parts were made before it."""
    if parts:
        head = parts[0]
        if type(head) is _Mark:
            return head.build(parts)
    return parts


def _lift_extension(code: int, data: bytes) -> Any:
    mark = _MARKS.get(code)
    if mark is not None:
        return mark
    if code >= 0:
        return msgpack.ExtType(code, data)
    return _LIFT[code](data)


def _lift_utc(data: bytes) -> datetime:
    year, month, day, hour, minute, second, microsecond = _DATETIME_FORMAT.unpack(data)
    return datetime(year, month, day, hour, minute, second, microsecond, timezone.utc)


def _lift_zone(data: bytes) -> ZoneInfo:
    key = data.decode()
    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as ex:
        msg = f"a stored value needs the time zone {key!r}, which this system does not have; install tzdata"
        raise IncompatibleError(msg) from ex


class _Unpickler(pickle.Unpickler):
    """Tells a class that is not there from anything else that goes wrong."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as ex:
            raise gone(module, name) from ex


def _unpickled(data: bytes) -> Any:
    try:
        return pickle.loads(data)
    except (ImportError, AttributeError):
        return _Unpickler(io.BytesIO(data)).load()


_MARKS = {
    _TUPLE: _Mark(lambda parts: tuple(parts[1:])),
    _SET: _Mark(lambda parts: set(parts[1:])),
    _FROZENSET: _Mark(lambda parts: frozenset(parts[1:])),
    _ZONED: _Mark(lambda parts: parts[1].replace(tzinfo=parts[2])),
    _FOLDED: _Mark(lambda parts: parts[1].replace(fold=1)),
    _DATACLASS: _Mark(lambda parts: stored_shape(parts[1]).build(parts[2:])),
}

_LIFT: dict[int, Callable[[bytes], Any]] = {
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
    _DATE: lambda data: date(*_DATE_FORMAT.unpack(data)),
    _TIMEDELTA: lambda data: timedelta(*_TIMEDELTA_FORMAT.unpack(data)),
    _PICKLED: _unpickled,
    _NAIVE_DATETIME: lambda data: datetime(*_DATETIME_FORMAT.unpack(data)),
    _UTC_DATETIME: _lift_utc,
    _NAIVE_TIME: lambda data: time(*_TIME_FORMAT.unpack(data)),
    _OFFSET: lambda data: timezone(timedelta(*_TIMEDELTA_FORMAT.unpack(data))),
    _ZONE: _lift_zone,
}

_unpack: Callable[[bytes], Any] = partial(
    msgpack.unpackb,
    ext_hook=_lift_extension,
    list_hook=_lift,
    strict_map_key=False,
)

_BUFFERS = frozenset({bytearray, memoryview})
_LEAVES = frozenset({type(None), bool, int, float, str, bytes})


def _holds_buffer(value: Any) -> bool:
    """Tell whether a value that msgpack took holds a buffer, which it silently makes `bytes`."""
    parts: list[Collection[Any]] = [(value,)]
    while parts:
        part = parts.pop()
        kinds = set(map(type, part))
        if not kinds.isdisjoint(_BUFFERS):
            return True
        if not kinds <= _LEAVES:
            parts.extend(chain.from_iterable(map(_parts_of, part)))
    return False


def _parts_of(value: Any) -> tuple[Collection[Any], ...]:
    kind = type(value)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return (value,)
    if kind is dict:
        return value.keys(), value.values()
    shape = shape_of(kind)
    return () if shape is None else (shape.take(value) or (),)
