"""Digests of what is written, and the keys that sign them.

Owns how a manifest and a ref are digested (SHA-256, or HMAC-SHA-256 (RFC 2104) with a key), which keys a run signs and
accepts, and how they are written in `BYTEWAX_STATE_SIGNING_KEY`. It does not own what is digested.
Called by `envelope` and `ref`, with the keys that the settings give.
"""

import hashlib
import hmac
from collections.abc import Iterable

__all__ = ["DIGEST", "UNSIGNED", "Keys", "read_keys"]

DIGEST = hashlib.sha256().digest_size
"""Bytes of a digest."""

NONE = "none"
"""In place of a key: what is not signed is accepted too."""

_MIN_KEY = 16
_MIN_DIGEST = 8


class Keys:
    """The keys of a run: the first signs, and all of them are accepted."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[bytes | None] = (None,)) -> None:
        """Init.

        :arg keys: At least one; `None` stands for no key.

        """
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        """Say how many there are, and never which."""
        return f"Keys({len(self._keys)})"

    @property
    def sign(self) -> bool:
        """Whether what is written is signed."""
        return self._keys[0] is not None

    @property
    def accepts_unsigned(self) -> bool:
        """Whether what is not signed is accepted."""
        return None in self._keys

    @property
    def strict(self) -> "Keys":
        """The same, without accepting what is not signed; as they are, if there is no key at all."""
        return Keys(key for key in self._keys if key is not None) if self.sign else self

    def digest(self, data: bytes) -> bytes:
        """Digest what is written.

        :arg data: What is to be protected.

        :returns: `DIGEST` bytes.

        """
        return _digest(self._keys[0], data)

    def accept(self, data: bytes, digest: bytes) -> bool:
        """Tell whether a digest is that of some data, by any of the keys.

        :arg data: What was read.

        :arg digest: What was read with it; a shorter one, of at least 8 bytes, is compared with the beginning.

        :returns: Whether it is.

        """
        # An empty digest is the beginning of every other, so without a least length it would be accepted.
        long_enough = len(digest) >= _MIN_DIGEST
        return long_enough and any(hmac.compare_digest(_digest(key, data)[: len(digest)], digest) for key in self._keys)


UNSIGNED = Keys()
"""No key: digests find damage, and anybody can make them."""


def read_keys(text: str) -> Keys:
    """Read keys as they are written in a setting: `NEW`, or `NEW,OLD`, or `NEW,none`.

    :arg text: Keys of at least 16 characters, with commas in between; the first one signs. `none`, which cannot be the
        first, accepts what is not signed.

    :raises ValueError: If it is none of that.

    """
    words = [word.strip() for word in text.split(",")]
    first, *others = words
    if first == NONE or any(len(word) < _MIN_KEY for word in (first, *(word for word in others if word != NONE))):
        msg = "no keys"
        raise ValueError(msg)
    return Keys(None if word == NONE else word.encode() for word in words)


def _digest(key: bytes | None, data: bytes) -> bytes:
    return hashlib.sha256(data).digest() if key is None else hmac.digest(key, data, hashlib.sha256)
