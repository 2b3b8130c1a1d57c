"""Values as bytes and back, as pickle keeps them: a tag that names the codec, the version of its format, the value.

Owns the formats, those that were written before included. It does not own what is stored or when, nor the bytes that
rows are found by (`rowkeys`). Called by the dataflow for every row of state that is written or read.
"""

import io
import pickle
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgpack

from bytewax_state.errors import BytewaxStateError, ConfigError, IncompatibleError, SnapshotCorruptError, UsageError
from bytewax_state.shapes import missing_class, stored_shape

MSGPACK = 1
"""Tag of the msgpack codec."""

PICKLE = 2
"""Tag of the pickle codec."""

_VERSIONS = {MSGPACK: 1, PICKLE: 1}
_MSGPACK_HEAD = bytes((MSGPACK, _VERSIONS[MSGPACK]))
_PICKLE_HEAD = bytes((PICKLE, _VERSIONS[PICKLE]))
_PICKLE_PROTOCOL = 5


class Codec(Protocol):
    """Turns values into bytes that `decode` turns back."""

    def encode(self, value: Any) -> bytes:
        """Serialise a value.

        :returns: Tag, version and encoded value.

        :raises UsageError: If it cannot be serialised.

        """
        ...


class PickleCodec:
    """Python's pickle, protocol 5."""

    __slots__ = ()

    def encode(self, value: Any) -> bytes:
        """See `Codec.encode`."""
        return _pickled(value)


class MsgpackCodec:
    """MessagePack for a value without parts (`None`, bool, int, float, str, bytes), and pickle for any other.

    Pickle keeps which parts of a value are one and the same object, and writes such an object once. MessagePack does
    neither, and searching a value for shared parts costs more than pickling it. A value without parts has nothing to
    share, and any program can read it. For one thread at a time.
    """

    __slots__ = ("_pack",)

    def __init__(self) -> None:
        """Init."""
        self._pack: Callable[[Any], bytes] = msgpack.Packer(strict_types=True).pack

    def encode(self, value: Any) -> bytes:
        """See `Codec.encode`."""
        if type(value) in _WITHOUT_PARTS:
            try:
                return _MSGPACK_HEAD + self._pack(value)
            except (OverflowError, ValueError):
                pass  # an int of more than 64 bits, a lone surrogate, or more than 4 GiB: pickle takes all of them
        return _pickled(value)


def codec(name: str) -> Codec:
    """Make a codec.

    :arg name: `"msgpack"` or `"pickle"`.

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

    :raises IncompatibleError: If the codec or its version is not known here, or a time zone or a class is not there, or
        the class has changed.

    :raises SnapshotCorruptError: If the data are damaged, or a class fails while it is unpickled.

    """
    read = _READ.get(data[:2])
    if read is None:
        _refuse(data)
    try:
        return read(data[2:])
    except BytewaxStateError:
        raise
    except ZoneInfoNotFoundError as ex:
        msg = f"a stored value needs a time zone that this system does not have: {ex.args[0]}; install tzdata"
        raise IncompatibleError(msg) from ex
    except Exception as ex:
        # Not the `repr` of the error: that of some, such as a UnicodeDecodeError, holds all of the data.
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


_WITHOUT_PARTS = frozenset({type(None), bool, int, float, str, bytes})


def _pickled(value: Any) -> bytes:
    try:
        return _PICKLE_HEAD + pickle.dumps(value, _PICKLE_PROTOCOL)
    except Exception as ex:  # a `__reduce__` may raise anything
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        msg = f"a value of type {kind} cannot be serialised: {ex!r}; keep only what can be pickled in the state"
        raise UsageError(msg) from ex


class _Unpickler(pickle.Unpickler):
    """Tells a class that is not there from anything else that goes wrong."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as ex:
            raise missing_class(module, name) from ex


def _unpickled(data: bytes) -> Any:
    try:
        return pickle.loads(data)
    except (ImportError, AttributeError):
        return _Unpickler(io.BytesIO(data)).load()


# Version 1 of the msgpack codec also held values with parts, and types that MessagePack does not know: an extension
# type of MessagePack, with the value in it, or a mark at the head of a list, with the parts behind it. Rows that were
# written so are read for ever. A list of the user's cannot begin with a mark: the codes are negative, which msgpack
# keeps for itself and lets nobody else construct.

_BIG_INT, _DECIMAL, _UUID, _DATE, _TIMEDELTA, _PICKLED = range(-2, -8, -1)
_NAIVE_DATETIME, _UTC_DATETIME, _NAIVE_TIME, _OFFSET, _ZONE = range(-16, -21, -1)
_TUPLE, _SET, _FROZENSET, _ZONED, _FOLDED, _DATACLASS = range(-32, -38, -1)

_DATE_FORMAT = struct.Struct(">HBB")
_TIMEDELTA_FORMAT = struct.Struct(">iII")
_TIME_FORMAT = struct.Struct(">BBBI")
_DATETIME_FORMAT = struct.Struct(">HBBBBBI")


class _Mark:
    """What a mark is read as: the function that builds a value of the list which the mark is in."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[Any]], Any]) -> None:
        self.build = build


def _rebuild_list(parts: list[Any]) -> Any:
    """Make what a list stands for. Its parts were made before it."""
    if parts:
        head = parts[0]
        if type(head) is _Mark:
            return head.build(parts)
    return parts


def _rebuild_extension(code: int, data: bytes) -> Any:
    mark = _MARKS.get(code)
    if mark is not None:
        return mark
    if code >= 0:
        return msgpack.ExtType(code, data)
    return _REBUILD[code](data)


def _rebuild_utc(data: bytes) -> datetime:
    year, month, day, hour, minute, second, microsecond = _DATETIME_FORMAT.unpack(data)
    return datetime(year, month, day, hour, minute, second, microsecond, timezone.utc)


_MARKS = {
    _TUPLE: _Mark(lambda parts: tuple(parts[1:])),
    _SET: _Mark(lambda parts: set(parts[1:])),
    _FROZENSET: _Mark(lambda parts: frozenset(parts[1:])),
    _ZONED: _Mark(lambda parts: parts[1].replace(tzinfo=parts[2])),
    _FOLDED: _Mark(lambda parts: parts[1].replace(fold=1)),
    _DATACLASS: _Mark(lambda parts: stored_shape(parts[1]).build(parts[2:])),
}

_REBUILD: dict[int, Callable[[bytes], Any]] = {
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _DECIMAL: lambda data: Decimal(data.decode()),
    _UUID: lambda data: UUID(bytes=data),
    _DATE: lambda data: date(*_DATE_FORMAT.unpack(data)),
    _TIMEDELTA: lambda data: timedelta(*_TIMEDELTA_FORMAT.unpack(data)),
    _PICKLED: _unpickled,
    _NAIVE_DATETIME: lambda data: datetime(*_DATETIME_FORMAT.unpack(data)),
    _UTC_DATETIME: _rebuild_utc,
    _NAIVE_TIME: lambda data: time(*_TIME_FORMAT.unpack(data)),
    _OFFSET: lambda data: timezone(timedelta(*_TIMEDELTA_FORMAT.unpack(data))),
    _ZONE: lambda data: ZoneInfo(data.decode()),
}

_unpack: Callable[[bytes], Any] = partial(
    msgpack.unpackb,
    ext_hook=_rebuild_extension,
    list_hook=_rebuild_list,
    strict_map_key=False,
)

_READ: dict[bytes, Callable[[bytes], Any]] = {_MSGPACK_HEAD: _unpack, _PICKLE_HEAD: _unpickled}
