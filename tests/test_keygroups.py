"""Keys to key groups."""

import uuid
from collections import Counter
from collections.abc import Callable
from random import Random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.keygroups import HASH, MAX_KEY_GROUPS, group_of

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


MANY = range(50_000)


def uuids(random: Random) -> list[str]:
    return [str(uuid.UUID(int=random.getrandbits(128), version=4)) for _ in MANY]


STRUCTURED: dict[str, Callable[[], list[str]]] = {
    "digits": lambda: [str(number) for number in MANY],
    "tens": lambda: [str(number * 10) for number in MANY],
    "padded": lambda: [f"{number:08d}" for number in MANY],
    "hex": lambda: [f"{number:x}" for number in MANY],
    "addresses": lambda: [f"10.0.{number >> 8}.{number & 255}" for number in MANY],
    "uuids": lambda: uuids(Random(1)),
    "prefixed": lambda: [f"user-{number}" for number in MANY],
    "nested": lambda: [
        f"site-{a:02d}/line-{b:02d}/sensor-{c:03d}" for a in range(10) for b in range(10) for c in range(500)
    ],
    "pairs": lambda: [f"{a}:{b}" for a in range(200) for b in range(250)],
}
"""Keys as people choose them."""


def test_groups_of_keys_never_change() -> None:
    """Snapshots hold rows by group; the number is CRC-32's known check value."""
    assert HASH == "crc32-utf8"
    assert group_of("123456789", 4096) == 0xCBF43926 % 4096
    assert [group_of(key, 128) for key in ("", "a", "user-1", "ключ", "鍵")] == [0, 67, 20, 26, 56]


@given(KEYS, st.integers(1, MAX_KEY_GROUPS))
def test_a_group_is_one_of_them(key: str, key_groups: int) -> None:
    """Whatever the key, and however many there are."""
    assert group_of(key, key_groups) in range(key_groups)


@pytest.mark.parametrize("key_groups", [100, 128, MAX_KEY_GROUPS])
@pytest.mark.parametrize("kind", STRUCTURED)
def test_structured_keys_spread_evenly(kind: str, key_groups: int) -> None:
    """The fullest group is what chance would make of it, at the most."""
    keys = STRUCTURED[kind]()
    sizes = Counter(group_of(key, key_groups) for key in keys)
    expected = len(keys) / key_groups
    assert max(sizes.values()) <= expected + 5 * expected**0.5
    assert mean(sizes.values()) <= expected * 1.02


@pytest.mark.parametrize("key", [5, b"key", None, ("key",)])
def test_a_key_that_is_no_string_raises_type_error(key: object) -> None:
    """Even one that has an `encode` or hashes well; what calls this lets Bytewax complain."""
    with pytest.raises(TypeError):
        group_of(key, 128)  # type: ignore[arg-type]


def test_a_key_with_a_lone_surrogate_raises_value_error() -> None:
    """Bytewax refuses it as well, with a `TypeError` that names the step."""
    with pytest.raises(UnicodeEncodeError):
        group_of("\ud800", 128)
