"""Makes `bytewax_state/keygroup_names.txt`, the table of names that key groups are routed by.

Owns the search for names whose hashes have the residues that the table needs. It does not own what they are used for
(`bytewax_state.keygroups`). Run by hand, once: `python scripts/make_keygroup_names.py FILE`; needs numpy and seconds.

Another table would route the groups of every existing recovery directory elsewhere, so its digest is in each manifest.
"""

import math
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint64]

NAMES = 4096
MODULUS = math.lcm(*range(1, 17)) * 4
LETTERS = (string.digits + string.ascii_lowercase).encode()
LONGEST = 5
"""Longest name. There are 62 million candidates up to it; about 50 million suffice for every residue."""


def rotate(words: Words, bits: int) -> Words:
    """Rotate to the left."""
    rotated: Words = (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))
    return rotated


def sip_round(v0: Words, v1: Words, v2: Words, v3: Words) -> tuple[Words, Words, Words, Words]:
    """One SipRound (Aumasson and Bernstein, SipHash, 2012)."""
    v0 = v0 + v1
    v1 = rotate(v1, 13) ^ v0
    v0 = rotate(v0, 32)
    v2 = v2 + v3
    v3 = rotate(v3, 16) ^ v2
    v0 = v0 + v3
    v3 = rotate(v3, 21) ^ v0
    v2 = v2 + v1
    v1 = rotate(v1, 17) ^ v2
    v2 = rotate(v2, 32)
    return v0, v1, v2, v3


def sip_hash_13(blocks: Words) -> Words:
    """Hash messages of fewer than 8 bytes with SipHash-1-3 and the zero key.

    :arg blocks: The one block of each message: its bytes, little-endian, with its length in the highest byte.

    :returns: Hashes.

    """
    initial = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    v0, v1, v2, v3 = (np.full_like(blocks, word) for word in initial)
    v3 ^= blocks
    v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    v0 ^= blocks
    v2 ^= np.uint64(0xFF)
    for _ in range(3):
        v0, v1, v2, v3 = sip_round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def candidates() -> Iterator[tuple[int, Words]]:
    """Yield names as little-endian numbers, the shorter first, in chunks of one length with it."""
    letters = np.frombuffer(LETTERS, dtype=np.uint8).astype(np.uint64)
    tails = np.zeros(1, dtype=np.uint64)
    for length in range(1, LONGEST + 1):
        for letter in letters:
            yield length, letter | (tails << np.uint64(8))
        if length < LONGEST:
            tails = np.concatenate([letter | (tails << np.uint64(8)) for letter in letters])


def hashes(length: int, words: Words) -> Words:
    """Hash names the way that Bytewax does, Rust's `str` hash: their UTF-8 bytes and 0xFF."""
    return sip_hash_13(words | np.uint64(0xFF << 8 * length) | np.uint64((length + 1) << 56))


def find_names() -> list[str]:
    """Find the first name for every residue.

    :returns: Names; the hash of the i-th is congruent to i.

    :raises RuntimeError: If a residue has none.

    """
    found: dict[int, str] = {}
    for length, words in candidates():
        residues = hashes(length, words) % np.uint64(MODULUS)
        for at in np.flatnonzero(residues < NAMES):
            name = int(words[at]).to_bytes(length, "little").decode()
            found.setdefault(int(residues[at]), name)
        if len(found) == NAMES:
            return [found[residue] for residue in range(NAMES)]
    msg = f"found names for {len(found)} residues, expected {NAMES}; raise LONGEST"
    raise RuntimeError(msg)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(find_names()) + "\n", encoding="ascii")
