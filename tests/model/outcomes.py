"""What has to come of a fault: whether trying again helps, and how an execution ends that it does not help."""

from bytewax_state.errors import BytewaxStateError, ConflictError, SnapshotCorruptError, StorageError
from tests.faults import Fault

ATTEMPTS = 3
"""How often the storage's verbs are tried."""


def survivable(fault: Fault) -> bool:
    """Tell whether trying again has to help."""
    if fault.how == "slow":
        return True
    if fault.how == "corrupt":
        return fault.times == 1
    if fault.how == "torn":
        return fault.verb == "get_file" and fault.transient and fault.times < ATTEMPTS
    return fault.how != "full" and (fault.transient or fault.how == "throttled") and fault.times < ATTEMPTS


def expected(fault: Fault) -> tuple[type[BytewaxStateError], ...]:
    """Say which branch of the tree an execution that ends by a fault has to end with."""
    if fault.how == "corrupt":
        return (SnapshotCorruptError,)
    if fault.how == "torn" and fault.verb == "put_file":
        return (ConflictError, StorageError)
    return (StorageError,)
