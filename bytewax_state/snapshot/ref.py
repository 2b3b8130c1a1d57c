"""A ref: the few bytes that Bytewax keeps for a key group, which say where the group's state is.

Owns their format. It does not own what they point to (`manifest`), nor whether that is still there (`restore`).
Called by the dataflow, at every snapshot and resume, and by what looks into Bytewax's recovery partitions.

    magic BWSR | format | version | group | key groups | store id … | 8 bytes of digest
"""

import struct
from dataclasses import dataclass, field

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError, UsageError
from bytewax_state.keygroups import MAX_KEY_GROUPS
from bytewax_state.signing import UNSIGNED, Keys
from bytewax_state.snapshot.layout import StepId, is_store_id

__all__ = ["FORMAT", "MAGIC", "Ref", "decode_ref", "is_ref"]

MAGIC = b"BWSR"

FORMAT = 1
"""The newest format of a ref; all up to it are read."""

_HEAD = struct.Struct(">4sBQHH")
_DIGEST = 8

_UNSIGNED = (
    "is not signed, and BYTEWAX_STATE_SIGNING_KEY asks for a signature: to go on from what this job wrote before it "
    "had a key, set BYTEWAX_STATE_SIGNING_KEY to KEY,none until the next snapshots are there"
)
_UNKNOWN = (
    "is damaged, or belongs to another flow or step, or was signed with another key: its digest does not match. Check "
    "that the recovery directory is that of this flow, and BYTEWAX_STATE_SIGNING_KEY that of this job, with the key of "
    "before behind it (NEW,OLD) if it was changed, or resume from an older copy of the directory"
)
_SIGNED = (
    "is damaged, or belongs to another flow or step, or is signed: its digest does not match. Check that the recovery "
    "directory is that of this flow, and set BYTEWAX_STATE_SIGNING_KEY if this job has a key, or resume from an older "
    "copy of the directory"
)


@dataclass(frozen=True, slots=True)
class Ref:
    """Where the state of a key group is."""

    store_id: str
    version: int
    """Version of the store that holds it."""
    group: int
    key_groups: int
    """How many key groups the step has."""
    signed: bool = field(default=False, compare=False)
    """Whether it was signed with a key; then so was all that its store wrote, and nothing else will do."""

    def encode(self, step: StepId, keys: Keys = UNSIGNED) -> bytes:
        """Make the bytes that Bytewax keeps.

        :arg step: Step; for another one the bytes are no good.

        :arg keys: The first one signs it.

        :returns: About 60 bytes.

        """
        head = _HEAD.pack(MAGIC, FORMAT, self.version, self.group, self.key_groups)
        data = head + self.store_id.encode("ascii")
        return data + keys.digest(_signed(data, step))[:_DIGEST]


def is_ref(value: object) -> bool:
    """Tell whether a value that Bytewax kept is a ref, in any format, sound or not.

    :arg value: Any value.

    :returns: Whether it is; a row of plain Bytewax is not.

    """
    return isinstance(value, bytes) and value.startswith(MAGIC)


def decode_ref(value: object, step: StepId, keys: Keys = UNSIGNED) -> Ref:
    """Read what Bytewax kept for a key group.

    :arg value: What Bytewax gives a logic to resume from.

    :arg keys: One of them signed it.

    :raises UsageError: If it is not a ref at all, such as a row of plain Bytewax.

    :raises IncompatibleError: If it is a ref of a newer format.

    :raises SnapshotCorruptError: If it is damaged, is not signed as it has to be, or is another flow's or step's.

    """
    if not isinstance(value, bytes) or not is_ref(value):
        msg = (
            f"step {step.step_id!r} is to resume from a value of type {type(value).__qualname__}, expected a ref: "
            "this looks like a row of plain Bytewax. Start with an empty recovery directory, or run this flow without "
            "bytewax_state"
        )
        raise UsageError(msg)
    found = value[len(MAGIC)] if len(value) > len(MAGIC) else 0
    if found > FORMAT:
        msg = (
            f"a ref of step {step.step_id!r} has format {found}, and this version of bytewax_state reads formats up to "
            f"{FORMAT}; upgrade bytewax_state, or resume from an older copy of the recovery directory"
        )
        raise IncompatibleError(msg)
    ref = _parse(value, step, keys)
    if ref is None:
        unsigned = keys.sign and _parse(value, step, UNSIGNED) is not None
        why = _UNSIGNED if unsigned else _UNKNOWN if keys.sign else _SIGNED
        msg = f"a ref of {len(value)} bytes that step {step.step_id!r} of flow {step.flow_id!r} is to resume from {why}"
        raise SnapshotCorruptError(msg)
    return ref


def _parse(value: bytes, step: StepId, keys: Keys) -> Ref | None:
    data, signature = value[:-_DIGEST], value[-_DIGEST:]
    if len(data) < _HEAD.size or not keys.accept(_signed(data, step), signature):
        return None
    _, found, version, group, key_groups = _HEAD.unpack_from(data)
    store_id = data[_HEAD.size :].decode("ascii", "replace")
    sound = found == FORMAT and group < key_groups <= MAX_KEY_GROUPS and is_store_id(store_id)
    signed = keys.sign and keys.strict.accept(_signed(data, step), signature)
    return Ref(store_id, version, group, key_groups, signed) if sound else None


def _signed(data: bytes, step: StepId) -> bytes:
    """Put a ref together with its flow and step, each with its length in front, so that they cannot be shifted."""
    names = (name.encode("utf-8", "surrogatepass") for name in (step.flow_id, step.step_id))
    context = b"".join(struct.pack(">I", len(name)) + name for name in names)
    return b"ref" + context + data
