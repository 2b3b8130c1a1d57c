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
from bytewax_state.keygroups import MAX_KEY_GROUPS, NAMES_ID, groups_of_workers, names, route_of

MODULUS = lcm(*range(1, 17)) * 4
WORKER_COUNTS = (*range(1, 17), 32, 64)
SCRIPT = Path(__file__).parents[1] / "scripts" / "make_keygroup_names.py"


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
    residues = [route_of(name) % MODULUS for name in names(MAX_KEY_GROUPS)]
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
    shares = Counter(route_of(name) % workers for name in names(key_groups))
    assert max(shares.values()) == -(-key_groups // workers)
    assert len(shares) == min(key_groups, workers)
    assert min(shares.values()) >= key_groups // workers


@pytest.mark.parametrize("key_groups", [0, -1, MAX_KEY_GROUPS + 1])
def test_a_number_of_groups_without_names_is_refused(key_groups: int) -> None:
    """The setting is named."""
    with pytest.raises(ConfigError, match="BYTEWAX_STATE_KEY_GROUPS"):
        names(key_groups)
    with pytest.raises(ConfigError, match="BYTEWAX_STATE_KEY_GROUPS"):
        groups_of_workers(key_groups, 1)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 8])
def test_bytewax_routes_names_to_workers_in_turn(workers: int) -> None:
    """Group g goes to worker g % workers, in plain Bytewax."""
    table = names(MAX_KEY_GROUPS)
    assert workers_seen(list(table), workers) == {name: at % workers for at, name in enumerate(table)}


@pytest.mark.parametrize(("key_groups", "workers"), [(128, 1), (128, 2), (128, 5), (128, 17), (3, 5), (1, 2)])
def test_the_groups_of_a_worker_are_those_that_bytewax_sends_to_it(key_groups: int, workers: int) -> None:
    """In the order in which Bytewax calls them; also where there are more workers than groups, or odd shares."""
    seen = workers_seen(list(names(key_groups)), workers)
    expected = [
        [
            group
            for name, group in sorted((name, group) for group, name in enumerate(names(key_groups)))
            if seen[name] == at
        ]
        for at in range(workers)
    ]
    assert [*map(list, groups_of_workers(key_groups, workers))] == expected


def test_bytewax_routes_other_keys_by_the_same_hash() -> None:
    """The hash that the table rests on is right for keys of any length, beyond the names."""
    keys = ["", "a", "1234567", "12345678", "ünï", "a" * 100, *(f"user-{number}" for number in range(200))]
    assert workers_seen(keys, 5) == {key: route_of(key) % 5 for key in keys}
