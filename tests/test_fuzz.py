"""The fuzzer, for a short while: each kind of object, damaged in each way, in each region of its bytes."""

import io

from tests.fuzz.__main__ import main
from tests.fuzz.damage import KINDS, TURNS


def test_every_damage_is_found_and_named() -> None:
    """Never a wrong answer, an error that is none of ours, or a process that died; `python -m tests.fuzz` does more."""
    out = io.StringIO()
    code = main(["--inputs", str(len(TURNS)), "--seed", "11"], out)
    assert code == 0, out.getvalue()
    assert all(kind in out.getvalue() for kind in KINDS)
