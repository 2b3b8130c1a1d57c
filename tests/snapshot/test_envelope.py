"""What surrounds a manifest: that a small object which unfolds to a huge one is refused before it takes memory."""

import struct
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest

from bytewax_state.errors import SnapshotCorruptError
from bytewax_state.signing import UNSIGNED
from bytewax_state.snapshot.envelope import FORMAT, MAGIC, MAX_BODY_BYTES
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.manifest import decode

NAME = StoreId(StepId("flow", "flow.s"), "20261124T081500123456Z-w001-ab12cd34").manifest(7)
MIB = 1 << 20
AT_MOST = 3 * MAX_BODY_BYTES
"""Bytes of memory: the body, the same while it grows, and as much for the values in it."""


def array(length: int) -> bytes:
    """Begin a list of msgpack's."""
    return b"\xdd" + struct.pack(">I", length)


BOMBS = {
    "longer than a body may be": [b"\x00" * MIB] * 256,
    "a list of nothing": [array(63 * MIB), *([b"\xc0" * MIB] * 63)],
    "a list of maps": [array(63 * MIB), *([b"\x80" * MIB] * 63)],
    "lists of lists": [array(63), *([array(MIB - 5) + b"\x90" * (MIB - 5)] * 63)],
    "lists that are as long as they may be": [array(64), *([array(900_000) + b"\xc0" * 900_000] * 64)],
    "lists in lists": [b"\x91" * MIB] * 63,
    "lists that claim to be long": [array(MAX_BODY_BYTES)] * 1_000,
}


def compressed(parts: list[bytes]) -> bytes:
    def pieces() -> Iterator[bytes]:
        stream = zlib.compressobj()
        yield from (stream.compress(part) for part in parts)
        yield stream.flush()

    return b"".join(pieces())


@pytest.mark.parametrize("what", BOMBS)
def test_a_manifest_that_unfolds_is_refused(what: str) -> None:
    """Anybody who can write to a storage without a key can put one there, with a digest that matches."""
    data = struct.pack(">8sH", MAGIC, FORMAT) + compressed(BOMBS[what])
    data += UNSIGNED.digest(data)
    assert len(data) < 2 * MIB
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotCorruptError, match=r"0007\.manifest breaks a rule of its format") as caught:
            decode(data, NAME)
        assert tracemalloc.get_traced_memory()[1] < AT_MOST
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1_000
