"""Which states of a snapshot a step reads."""

import pytest

from bytewax_state.errors import IncompatibleError
from bytewax_state.registry import WINDOWS, agree, logic_state, window_state


@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_are_read_from_rows_of_logics(kind: str) -> None:
    """As they were written before windows had rows of their own; a logic does not read those."""
    agree("s", window_state(kind, "msgpack"), logic_state("pickle"), "a snapshot")
    with pytest.raises(IncompatibleError, match="step of another kind"):
        agree("s", logic_state("msgpack"), window_state(kind, "msgpack"), "a snapshot")


def test_sessions_are_no_other_windows() -> None:
    """Nor are these sessions: a step that has become the one is refused what it was as the other."""
    one, other = (window_state(kind, "msgpack") for kind in WINDOWS)
    for ours, theirs in ((one, other), (other, one)):
        with pytest.raises(IncompatibleError, match="has become a step of another kind"):
            agree("s", ours, theirs, "a snapshot")
