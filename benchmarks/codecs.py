"""`python -m benchmarks.codecs [--turns N]`: the default codec beside pickle, which is what plain Bytewax stores.

Owns the states that are measured. Prints a line of JSON for each state and direction: CPU seconds of both, in turns, as
the ratio of their medians, and the ratio of the sizes. Exit code 1 if a size is above 1.3 times pickle's.
"""

import argparse
import json
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from statistics import median
from typing import Any

from bytewax.operators.windowing import (
    WindowMetadata,
    _EventClockState,
    _SessionWindowerState,
    _SlidingWindowerState,
    _WindowSnapshot,
)

from bytewax_state.codecs import codec, decode

CALLS = 2_000
LARGEST = 1.3
"""The most bytes that a state may take, as a multiple of pickle's."""

_NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)


def _states() -> Mapping[str, Any]:
    """Make what keyed states of Bytewax's operators hold."""
    clock = _EventClockState(_NOW, _NOW)
    meta = {number: WindowMetadata(_NOW, _NOW + timedelta(minutes=number)) for number in range(6)}
    events = [{"user": "anna", "at": _NOW + timedelta(seconds=second), "value": 1.5} for second in range(30)]
    queue = [(event, event["at"]) for event in events]
    return {
        "count": 7,
        "small_dict": {"count": 7, "sum": 3.5, "last": "anna"},
        "tumbling_fold": _WindowSnapshot(clock, _SlidingWindowerState({0: meta[0]}), {0: (7, 3.5)}, []),
        "sliding_collect": _WindowSnapshot(clock, _SlidingWindowerState(meta), dict.fromkeys(meta, events), []),
        "session_queue": _WindowSnapshot(clock, _SessionWindowerState(5, meta, []), dict.fromkeys(meta, 1), queue),
    }


def _seconds(call: Callable[[], object]) -> float:
    before = time.process_time()
    for _ in range(CALLS):
        call()
    return time.process_time() - before


def _ratio(theirs: Callable[[], object], ours: Callable[[], object], turns: int) -> dict[str, float]:
    pairs = [(_seconds(theirs), _seconds(ours)) for _ in range(turns)]
    them, us = (median(side) / CALLS for side in zip(*pairs, strict=True))
    return {"theirs_us": round(them * 1e6, 2), "ours_us": round(us * 1e6, 2), "ratio": round(us / them, 2)}


def main(argv: list[str]) -> int:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codecs", description="The default codec, and pickle.")
    parser.add_argument("--turns", type=int, default=7, metavar="N", help="times that each side runs (default: 7)")
    turns = parser.parse_args(argv).turns
    encode, fits = codec("msgpack").encode, True
    for name, state in _states().items():
        pickled, encoded = pickle.dumps(state), encode(state)
        size = round(len(encoded) / len(pickled), 2)
        fits = fits and size <= LARGEST
        pairs = {
            "encode": (lambda state=state: pickle.dumps(state), lambda state=state: encode(state)),
            "decode": (lambda data=pickled: pickle.loads(data), lambda data=encoded: decode(data)),
        }
        for direction, (theirs, ours) in pairs.items():
            line = {"case": f"codec_{name}", "direction": direction, "size": size, **_ratio(theirs, ours, turns)}
            print(json.dumps(line), flush=True)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
