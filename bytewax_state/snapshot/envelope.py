"""The bytes of a manifest: what surrounds its fields, in every format that was ever released.

Owns the magic, the format number, the compression and the digest, and that what somebody else wrote can neither pass
for sound nor take much memory. It does not own the fields (`manifest`). Called by `manifest` only.

    8 bytes BWSTATE1 | format number, 2 bytes | body | digest of all before it

| format | body |
|---|---|
| 1 | msgpack |
| 2, 3 | the same, compressed by zlib |

The digest is SHA-256, or HMAC-SHA-256 where a signing key is set (`signing`). It is checked before the body is read.
"""

import struct
import zlib
from collections.abc import Collection
from typing import TypeVar

import msgpack

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError
from bytewax_state.signing import DIGEST, UNSIGNED, Keys

__all__ = ["ADVICE", "FORMAT", "MAGIC", "seal", "unpack", "unseal"]

T = TypeVar("T", bound=Collection[object])

MAGIC = b"BWSTATE1"

FORMAT = 3
"""The newest format of a manifest; every one that was ever released is read."""

MAX_BODY_BYTES = 64 << 20
"""How long a body may be. One of 64 MiB names hundreds of thousands of files, so some 10 TB on one worker."""

MAX_VALUES = 1_000_000
"""How many values the lists and maps of a body may hold together; each may take a hundred times its byte in memory."""

ADVICE = "bring back a sound copy, or resume from an older copy of the recovery directory"

_HEAD = struct.Struct(">8sH")


def seal(body: object, keys: Keys) -> bytes:
    """Make the bytes of a manifest.

    :arg body: What msgpack can pack.

    :arg keys: The first one signs it.

    :returns: Bytes that `unseal` reads.

    """
    data: bytes = _HEAD.pack(MAGIC, FORMAT) + zlib.compress(msgpack.packb(body))
    return data + keys.digest(data)


def unseal(data: bytes, name: str, keys: Keys) -> tuple[int, bytes]:
    """Check what surrounds the body of a manifest.

    :arg data: What lies under its name.

    :arg name: Name of the object.

    :arg keys: One of them signed it.

    :returns: Number of its format, and the body.

    :raises IncompatibleError: If its format is newer than this version of the package.

    :raises SnapshotCorruptError: If it is damaged, or is not signed as it has to be.

    """
    if len(data) < _HEAD.size + DIGEST or not data.startswith(MAGIC):
        msg = f"the manifest {name} is damaged: found {len(data)} bytes that are no manifest; {ADVICE}"
        raise SnapshotCorruptError(msg)
    _, number = _HEAD.unpack_from(data)
    if number > FORMAT:
        msg = (
            f"the manifest {name} has format {number}, and this version of bytewax_state reads formats up to {FORMAT}; "
            "run the version that wrote it, or a later one, unless the object is damaged"
        )
        raise IncompatibleError(msg)
    if not keys.accept(data[:-DIGEST], data[-DIGEST:]):
        raise SnapshotCorruptError(_unaccepted(data, name, keys))
    if number == 0:
        msg = f"the manifest {name} has format {number}, which never was; {ADVICE}"
        raise SnapshotCorruptError(msg)
    return number, data[_HEAD.size : -DIGEST]


def _unaccepted(data: bytes, name: str, keys: Keys) -> str:
    """Say what may be wrong with a manifest whose digest is not what it should be."""
    if UNSIGNED.accept(data[:-DIGEST], data[-DIGEST:]):
        return (
            f"the manifest {name} is not signed, and BYTEWAX_STATE_SIGNING_KEY asks for a signature: somebody else "
            "wrote it, or this job did before it had a key; to go on from the latter, set BYTEWAX_STATE_SIGNING_KEY to "
            "KEY,none until the next snapshots are there"
        )
    signed = "was signed with another key" if keys.sign else "is signed, and BYTEWAX_STATE_SIGNING_KEY is not set"
    change = "; where the key was changed, set BYTEWAX_STATE_SIGNING_KEY to NEW,OLD" if keys.sign else ""
    damaged = f"the manifest {name} is damaged, or {signed}: its digest is not that of its {len(data)} bytes"
    return f"{damaged}{change}; {ADVICE}"


def unpack(number: int, body: bytes) -> object:
    """Read the body of a manifest, whoever wrote it.

    :arg number: Of its format.

    :returns: What was packed.

    :raises ValueError: If it cannot be read, or is too large.

    """
    packed = body if number == 1 else _decompress(body)
    most, take = MAX_VALUES, _ValueLimit(MAX_VALUES).take
    limits = {"max_array_len": most, "max_map_len": most, "list_hook": take, "object_hook": take}
    try:
        value: object = msgpack.unpackb(packed, strict_map_key=False, **limits)
    except Exception as ex:  # msgpack raises errors of many classes
        msg = f"its body cannot be read: {type(ex).__name__}: {ex}"  # its repr may hold all of the body
        raise ValueError(msg) from ex
    return value


def _decompress(body: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        packed = stream.decompress(body, MAX_BODY_BYTES)
    except zlib.error as ex:
        msg = f"its body cannot be read: {ex}"
        raise ValueError(msg) from ex
    if not stream.eof and len(packed) == MAX_BODY_BYTES:
        msg = f"its body is longer than {MAX_BODY_BYTES} bytes"
        raise ValueError(msg)
    if not stream.eof or stream.unused_data:
        msg = "its body cannot be read: it is cut, or something follows it"
        raise ValueError(msg)
    return packed


class _ValueLimit:
    """How many more values fit."""

    __slots__ = ("_left",)

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, part: T) -> T:
        """Take room for a list or a map."""
        self._left -= 1 + len(part)
        if self._left < 0:
            msg = f"there are more than {MAX_VALUES} values in it"
            raise ValueError(msg)
        return part
