"""The registry: the states that a step has, by name, as its row keys and its manifests tell them.

Owns what a state is said to be, and that a step reads only rows of states that it has itself. It does not own the rows.
Made by whoever chooses what runs a step; agreed with every manifest that a restore takes rows from.
"""

from collections.abc import Mapping
from typing import TypedDict

from bytewax_state.errors import IncompatibleError


class State(TypedDict):
    """A state of a step."""

    id: int
    """Its number in row keys, up to 65,535."""
    kind: str
    """What a row of it holds."""
    codec: str
    """Of the values that are written. Those of any codec are read."""
    ttl: float | None
    """Seconds."""


LOGIC = "logic"
"""Name, and kind, of the state that holds for each key what a logic of Bytewax's is built from."""

LOGIC_ID = 0

WINDOWS = ("window", "session")
"""Kinds of the state that holds the windows of each key: rows of its own, and those that a logic was built from."""


def logic_state(codec: str) -> dict[str, State]:
    """Make the registry of a step whose keys have what a logic is built from.

    :arg codec: Of the values that are written.

    :returns: Name to state.

    """
    return {LOGIC: State(id=LOGIC_ID, kind=LOGIC, codec=codec, ttl=None)}


def window_state(kind: str, codec: str) -> dict[str, State]:
    """Make the registry of a step whose keys have windows.

    :arg kind: One of `WINDOWS`.

    :arg codec: Of the values that are written.

    :returns: Name to state.

    """
    return {LOGIC: State(id=LOGIC_ID, kind=kind, codec=codec, ttl=None)}


def agree(step_id: str, ours: Mapping[str, State], theirs: Mapping[str, State], source: str) -> None:
    """See that a step has all states of a snapshot, and means the same by them.

    :arg step_id: Full id of the core step.

    :arg ours: Name to state, of the step.

    :arg theirs: Name to state, of the snapshot.

    :arg source: Names the snapshot.

    :raises IncompatibleError: If it has not.

    """
    for name, state in theirs.items():
        known = ours.get(name)
        if known is None or known["id"] != state["id"] or state["kind"] not in _read_as(known["kind"]):
            has = ", ".join(f"{one!r} of kind {other['kind']!r}" for one, other in sorted(ours.items())) or "none"
            msg = (
                f"{source} has a state {name!r} of kind {state['kind']!r}, and step {step_id!r} has {has}: it has "
                "become a step of another kind, or this version of bytewax_state does not know that state; bring the "
                "step back as it was, give the new one another step id, or run the version that wrote the snapshot"
            )
            raise IncompatibleError(msg)


def _read_as(kind: str) -> tuple[str, ...]:
    """Return the kinds of states whose rows are read as those of a kind."""
    return (kind, LOGIC) if kind in WINDOWS else (kind,)
