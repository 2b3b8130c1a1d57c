"""Refs: what Bytewax keeps for a key group comes back as it was, or not at all."""

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError, SnapshotError, UsageError
from bytewax_state.snapshot.layout import StepId
from bytewax_state.snapshot.ref import FORMAT, MAGIC, Ref, decode_ref, is_ref

STEP = StepId("flow", "flow.sum")
REF = Ref("20261124T081500123456Z-w000-ab12cd34", 7, 42, 128)
DATA = REF.encode(STEP)
HEX = (
    "42575352010000000000000007002a0080"  # magic, format, version, group, key groups
    "3230323631313234543038313530303132333435365a2d773030302d6162313263643334"
    "c3c1f34a5ba1be73"
)
"""What format 1 is, for ever."""


@st.composite
def refs(draw: st.DrawFn) -> Ref:
    key_groups = draw(st.integers(1, 4096))
    index, token = draw(st.integers(0, 10**9 - 1)), draw(st.binary(min_size=4, max_size=32))
    store_id = f"20261124T081500123456Z-w{index:03}-{token.hex()}"
    return Ref(store_id, draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, key_groups - 1)), key_groups)


@given(refs(), st.builds(StepId, st.text(), st.text()))
@example(REF, StepId("", ""))
def test_a_ref_comes_back(ref: Ref, step: StepId) -> None:
    """Whatever the ids."""
    assert decode_ref(ref.encode(step), step) == ref


def test_a_ref_of_format_1_is_still_read() -> None:
    """Recovery stores live longer than versions of this package."""
    assert decode_ref(bytes.fromhex(HEX), STEP) == REF


def test_a_ref_is_short() -> None:
    """There is one for every key group and epoch."""
    assert len(DATA) < 64


@pytest.mark.parametrize("at", range(len(MAGIC), len(DATA)))
@pytest.mark.parametrize("bit", [1, 128])
def test_a_flipped_bit_is_found(at: int, bit: int) -> None:
    """Wherever it is; in the format number it may look like a newer one."""
    bad = bytearray(DATA)
    bad[at] ^= bit
    with pytest.raises(IncompatibleError if at == len(MAGIC) and bad[at] > FORMAT else SnapshotCorruptError):
        decode_ref(bytes(bad), STEP)


@pytest.mark.parametrize("length", range(len(MAGIC), len(DATA)))
def test_a_ref_that_was_cut_is_found(length: int) -> None:
    """However much of it is left."""
    with pytest.raises(SnapshotCorruptError):
        decode_ref(DATA[:length], STEP)


@pytest.mark.parametrize("step", [StepId("flow", "flow.max"), StepId("other", "flow.sum"), StepId("flowf", "low.sum")])
def test_a_ref_of_another_step_is_refused(step: StepId) -> None:
    """It would bring another step's state, without a word."""
    with pytest.raises(SnapshotCorruptError, match=f"{step.step_id!r} of flow {step.flow_id!r}.*another flow or step"):
        decode_ref(DATA, step)


@pytest.mark.parametrize("ref", [Ref("../../etc", 7, 42, 128), Ref(REF.store_id, 7, 128, 128), Ref("", 7, 0, 4097)])
def test_a_ref_that_breaks_a_rule_is_refused(ref: Ref) -> None:
    """Even with a digest that matches: the store's id becomes part of a path."""
    with pytest.raises(SnapshotError):
        decode_ref(ref.encode(STEP), STEP)


def test_a_newer_format_is_named() -> None:
    """Rather than called damaged."""
    newer = DATA[: len(MAGIC)] + bytes((FORMAT + 1,)) + DATA[len(MAGIC) + 1 :]
    with pytest.raises(IncompatibleError, match=f"'flow.sum' has format {FORMAT + 1}.*up to {FORMAT}; upgrade"):
        decode_ref(newer, STEP)


@pytest.mark.parametrize("value", [None, 7, "BWSR", [DATA], b"", b"BWS", pickle.dumps(DATA), bytearray(DATA)])
def test_a_row_of_plain_bytewax_is_no_ref(value: object) -> None:
    """What the user kept is not shown; the step and the ways out are."""
    assert not is_ref(value)
    with pytest.raises(UsageError, match=r"'flow\.sum'.*plain Bytewax.*empty recovery directory"):
        decode_ref(value, STEP)


@pytest.mark.parametrize("value", [DATA, MAGIC, DATA[:-1], MAGIC + b"\xff"])
def test_a_ref_is_known_by_its_beginning(value: bytes) -> None:
    """Sound or not, ours or newer."""
    assert is_ref(value)
