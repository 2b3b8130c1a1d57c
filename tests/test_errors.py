"""The error tree: its shape, and that kinds are stable and tell errors apart."""

import inspect

import pytest

from bytewax_state import errors
from bytewax_state.errors import BytewaxStateError, SnapshotError

ALL = [getattr(errors, name) for name in errors.__all__]

KINDS = {
    "BytewaxStateError": "error",
    "ConfigError": "config",
    "ConflictError": "conflict",
    "IncompatibleError": "incompatible",
    "SnapshotCorruptError": "snapshot-corrupt",
    "SnapshotError": "snapshot",
    "SnapshotMissingError": "snapshot-missing",
    "StorageError": "storage",
    "UsageError": "usage",
}


def test_kinds_are_what_scripts_rely_on() -> None:
    """A kind is never changed, and no two errors share one."""
    assert {error.__name__: error.kind for error in ALL} == KINDS
    assert len(set(KINDS.values())) == len(KINDS)


def test_exit_codes_are_what_scripts_rely_on() -> None:
    """Of both programs."""
    codes = {error.kind: error.exit_code for error in ALL if error.exit_code != 1}
    assert codes == {"config": 2, "usage": 2, "storage": 3}
    assert BytewaxStateError.exit_code == 1


def test_all_names_every_error() -> None:
    """An error that is added is also exported."""
    defined = {name for name, _ in inspect.getmembers(errors, inspect.isclass) if name.endswith("Error")}
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("error", ALL)
def test_one_root_catches_all(error: type[BytewaxStateError]) -> None:
    """Whoever catches the root misses none, and the message is what was said."""
    msg = "it is 1; expected 2"
    with pytest.raises(BytewaxStateError, match=f"^{msg}$"):
        raise error(msg)


def test_the_docstring_draws_the_tree() -> None:
    """Each error is drawn below its base, with its kind."""
    drawn = (errors.__doc__ or "").splitlines()
    for error in ALL:
        if error is not BytewaxStateError:
            line = next(line for line in drawn if f"─ {error.__name__} " in line)
            assert f" {error.kind} " in f"{line} "
            assert ("│   " in line) == (error.__base__ is SnapshotError)
