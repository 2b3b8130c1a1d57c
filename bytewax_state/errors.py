"""The errors of bytewax_state, by what the handler does next.

    BytewaxStateError
    ├── ConfigError               config            fix the setting
    ├── UsageError                usage             fix the flow
    ├── StorageError              storage           retry: the storage or the disk is out of reach
    ├── SnapshotError             snapshot
    │   ├── SnapshotMissingError  snapshot-missing  restore an older copy
    │   ├── SnapshotCorruptError  snapshot-corrupt  an object is not what it should be
    │   └── IncompatibleError     incompatible      migrate, or run the version that wrote it
    └── ConflictError             conflict          another run holds it

Owns the tree, the stable `kind` of each error and the exit code of a program that it ends, and no message: those are
written where it happens, and name the thing, what was found and expected, and what to do. Raised by every module, and
caught by users by branch.
"""

from typing import ClassVar

__all__ = [
    "BytewaxStateError",
    "ConfigError",
    "ConflictError",
    "IncompatibleError",
    "SnapshotCorruptError",
    "SnapshotError",
    "SnapshotMissingError",
    "StorageError",
    "UsageError",
]


class BytewaxStateError(Exception):
    """Root of every error that bytewax_state raises by intent."""

    kind: ClassVar[str] = "error"
    """Stable name, for logs, alerts and scripts; the message may change."""

    exit_code: ClassVar[int] = 1
    """Of `bytewax-state`, and of `python -m bytewax_state.run`: 1 something is wrong with the data, or another run has
    it; 2 with the command, a setting or the flow; 3 with the storage, or the local disk."""


class ConfigError(BytewaxStateError):
    """A setting is wrong. Fix the setting."""

    kind = "config"
    exit_code = 2


class UsageError(BytewaxStateError):
    """The flow, or the way it is started, is wrong. Fix the flow."""

    kind = "usage"
    exit_code = 2


class StorageError(BytewaxStateError):
    """The storage of snapshots or the local disk is out of reach, full or read-only. Retry once it is back."""

    kind = "storage"
    exit_code = 3


class SnapshotError(BytewaxStateError):
    """A snapshot cannot be used. Root of the next three."""

    kind = "snapshot"


class SnapshotMissingError(SnapshotError):
    """A snapshot that is needed is not there. Restore an older copy."""

    kind = "snapshot-missing"


class SnapshotCorruptError(SnapshotError):
    """An object of a snapshot is not what it should be: cut short, altered, or another one's."""

    kind = "snapshot-corrupt"


class IncompatibleError(SnapshotError):
    """A snapshot is sound, but not for this run: a newer format, or other key groups. Migrate."""

    kind = "incompatible"


class ConflictError(BytewaxStateError):
    """Another run holds it, or wrote it first. End the other run."""

    kind = "conflict"
