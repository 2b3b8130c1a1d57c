"""The names of key groups, against SipHash-1-3 and against Bytewax itself, which routes by them."""

import runpy
from collections import Counter
from math import lcm
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main

from bytewax_state.errors import ConfigError
from bytewax_state.keygroups import MAX_KEY_GROUPS, NAMES_ID, names, splitter

MASK = (1 << 64) - 1
MODULUS = lcm(*range(1, 17)) * 4
WORKER_COUNTS = (*range(1, 17), 32, 64)
SCRIPT = Path(__file__).parents[1] / "scripts" / "make_keygroup_names.py"


def rotate(word: int, bits: int) -> int:
    """Rotate 64 bits to the left."""
    return ((word << bits) | (word >> (64 - bits))) & MASK


def sip_round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    """One SipRound."""
    v0 = (v0 + v1) & MASK
    v1 = rotate(v1, 13) ^ v0
    v0 = rotate(v0, 32)
    v2 = (v2 + v3) & MASK
    v3 = rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = rotate(v1, 17) ^ v2
    return v0, v1, rotate(v2, 32), v3


def bytewax_hash(key: str) -> int:
    """Hash a key the way that Bytewax does: SipHash-1-3 of its UTF-8 bytes and 0xFF, with the zero key."""
    message = key.encode() + b"\xff"
    last = message[len(message) // 8 * 8 :].ljust(7, b"\0") + bytes([len(message) % 256])
    padded = message[: len(message) // 8 * 8] + last
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    for at in range(0, len(padded), 8):
        block = int.from_bytes(padded[at : at + 8], "little")
        v0, v1, v2, v3 = sip_round(*state[:3], state[3] ^ block)
        state = (v0 ^ block, v1, v2, v3)
    state = (state[0], state[1], state[2] ^ 0xFF, state[3])
    for _ in range(3):
        state = sip_round(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def workers_seen(keys: list[str], workers: int) -> dict[str, int]:
    """Run plain Bytewax with a stateful step on some keys, and note which worker had each."""
    seen: dict[str, int] = {}
    flow = Dataflow("routing")
    stream = op.input("in", flow, TestingSource([(key, 1) for key in keys], batch_size=512))
    stream = op.stateful_map("count", stream, lambda count, value: ((count or 0) + value, value))
    noted = op.inspect_debug("note", stream, lambda _step, item, _epoch, worker: seen.update({item[0]: worker}))
    op.output("out", noted, TestingSink([]))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    return seen


def test_hash_of_the_ith_name_is_congruent_to_i() -> None:
    """The committed table has the residues that it is for."""
    residues = [bytewax_hash(name) % MODULUS for name in names(MAX_KEY_GROUPS)]
    assert residues == list(range(MAX_KEY_GROUPS))


def test_names_are_unique_and_short() -> None:
    """No two groups are one to Bytewax, and refs have small keys."""
    table = names(MAX_KEY_GROUPS)
    assert len(set(table)) == MAX_KEY_GROUPS
    assert all(name.isascii() and name.isalnum() and len(name) <= 5 for name in table)


def test_table_is_the_one_that_snapshots_were_written_with() -> None:
    """Another table would make every older snapshot unreadable."""
    assert NAMES_ID == "a525e32758d353b6"


def test_script_makes_the_committed_table() -> None:
    """The table can be made again."""
    pytest.importorskip("numpy")
    assert runpy.run_path(str(SCRIPT))["find_names"]() == list(names(MAX_KEY_GROUPS))


def test_fewer_groups_have_the_first_names() -> None:
    """So residues go up from 0 for any number of groups."""
    assert names(128) == names(MAX_KEY_GROUPS)[:128]


@pytest.mark.parametrize("key_groups", [1, 7, 100, 128, MAX_KEY_GROUPS])
@pytest.mark.parametrize("workers", WORKER_COUNTS)
def test_workers_get_equal_shares(key_groups: int, workers: int) -> None:
    """No worker has more than one group above another."""
    shares = Counter(bytewax_hash(name) % workers for name in names(key_groups))
    assert max(shares.values()) == -(-key_groups // workers)
    assert len(shares) == min(key_groups, workers)
    assert min(shares.values()) >= key_groups // workers


@pytest.mark.parametrize("key_groups", [0, -1, MAX_KEY_GROUPS + 1])
def test_a_number_of_groups_without_names_is_refused(key_groups: int) -> None:
    """The setting is named."""
    with pytest.raises(ConfigError, match="BYTEWAX_STATE_KEY_GROUPS"):
        names(key_groups)
    with pytest.raises(ConfigError, match="BYTEWAX_STATE_KEY_GROUPS"):
        splitter(key_groups)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 8])
def test_bytewax_routes_names_to_workers_in_turn(workers: int) -> None:
    """Group g goes to worker g % workers, in plain Bytewax."""
    table = names(MAX_KEY_GROUPS)
    assert workers_seen(list(table), workers) == {name: at % workers for at, name in enumerate(table)}


def test_bytewax_routes_other_keys_by_the_same_hash() -> None:
    """The hash that the table rests on is right for keys of any length, beyond the names."""
    keys = ["", "a", "1234567", "12345678", "ünï", "a" * 100, *(f"user-{number}" for number in range(200))]
    assert workers_seen(keys, 5) == {key: bytewax_hash(key) % 5 for key in keys}
