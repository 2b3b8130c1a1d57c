"""Which key group a key belongs to, the names that groups are routed by, and which worker Bytewax sends each to.

Owns what must never change while there are snapshots: the hash, and the table of names. It does not own how rows are
sorted by group (`rowkeys`), nor the choice of a worker, which is Bytewax's. Called by the lanes, the stores, and by
snapshot verbs.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable
from functools import cache
from importlib import resources

from bytewax_state.errors import ConfigError

HASH = "crc32-utf8"
"""The hash behind `group_of`, as manifests record it.

CRC-32 costs 50 ns with the encoding. It puts digits, addresses, UUIDs and prefixed ids into 100, 128 and 4,096 groups
at least as evenly as BLAKE2b does.
"""

MAX_KEY_GROUPS = 4096
"""The most key groups that a step can have: one for every name in the table."""

_WORD = (1 << 64) - 1
_SIPHASH = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


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

    :arg key_groups: Number of key groups.

    :returns: Group, from 0 on.

    :raises TypeError: If the key is no string.

    :raises UnicodeEncodeError: If the key has a lone surrogate. Bytewax takes no such key either: it says that its step
        requires `str` keys.

    """
    return zlib.crc32(str.encode(key)) % key_groups


def groups_of(keys: Iterable[str], key_groups: int) -> list[int]:
    """Return the key group of each of some keys; see `group_of`."""
    return [number % key_groups for number in map(zlib.crc32, map(str.encode, keys))]


@cache
def groups_of_workers(key_groups: int, workers: int) -> tuple[tuple[int, ...], ...]:
    """Tell where Bytewax sends the key groups.

    :arg key_groups: Number of key groups.

    :arg workers: How many workers an execution has.

    :returns: For each worker its groups, in the order in which Bytewax calls them: that of their names. More workers
        than groups leave some without.

    :raises ConfigError: If there are not as many names.

    """
    found: list[list[int]] = [[] for _ in range(workers)]
    routes = names(key_groups)
    for group in sorted(range(key_groups), key=routes.__getitem__):
        found[route_of(routes[group]) % workers].append(group)
    return tuple(map(tuple, found))


@cache
def route_of(name: str) -> int:
    """Hash a name as Bytewax does, which sends it to the worker of this number modulo the number of workers.

    It is SipHash-1-3 (Aumasson and Bernstein 2012), with the zero key, of the UTF-8 bytes and 0xFF.

    :arg name: Any key of Bytewax's.

    :returns: 64 bits.

    """
    message = name.encode() + b"\xff"
    whole = len(message) // 8 * 8
    padded = message[:whole] + message[whole:].ljust(7, b"\0") + bytes([len(message) % 256])
    v0, v1, v2, v3 = _SIPHASH
    for (word,) in struct.iter_unpack("<Q", padded):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _WORD
    v1 = _rotated(v1, 13) ^ v0
    v0 = _rotated(v0, 32)
    v2 = (v2 + v3) & _WORD
    v3 = _rotated(v3, 16) ^ v2
    v0 = (v0 + v3) & _WORD
    v3 = _rotated(v3, 21) ^ v0
    v2 = (v2 + v1) & _WORD
    v1 = _rotated(v1, 17) ^ v2
    return v0, v1, _rotated(v2, 32), v3


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (64 - bits))) & _WORD


def _check(key_groups: int) -> None:
    if not 1 <= key_groups <= MAX_KEY_GROUPS:
        msg = f"the number of key groups is {key_groups}, expected 1 to {MAX_KEY_GROUPS}; set BYTEWAX_STATE_KEY_GROUPS"
        raise ConfigError(msg)
