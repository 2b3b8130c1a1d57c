"""Which key group a key belongs to, and the names that groups are routed by.

Owns what must never change while there are snapshots: the hash, and the table of names. It does not own how rows are
sorted by group (`rowkeys`), nor which worker has a group (Bytewax). Called by the group step, and by snapshot verbs.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import TypeVar

from bytewax_state.errors import ConfigError

T = TypeVar("T")

HASH = "crc32-utf8"
"""The hash behind `group_of`, as manifests record it.

CRC-32 costs 50 ns with the encoding. It puts digits, addresses, UUIDs and prefixed ids into 100, 128 and 4,096 groups
at least as evenly as BLAKE2b does.
"""

MAX_KEY_GROUPS = 4096
"""The most key groups that a step can have: one for every name in the table."""


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
