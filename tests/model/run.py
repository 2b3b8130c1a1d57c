"""Runs of the machine: how many examples, of how many steps, for how long; and the table of what they took.

Called by `python -m tests.model` and, once, by the tests.
"""

import argparse
import logging
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine
from tests.model.tally import TALLY

PHASES = (Phase.generate, Phase.shrink)

COMMON = settings(
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=PHASES,
)

PROFILES = {
    "quick": settings(COMMON, max_examples=8, stateful_step_count=30),
    "test": settings(COMMON, max_examples=20, stateful_step_count=30),
    "full": settings(COMMON, max_examples=100, stateful_step_count=40),
    "nightly": settings(COMMON, max_examples=100, stateful_step_count=50),
}
"""By name, the first three as those of all tests; `nightly` begins again, with another seed, until its time is over."""

MINUTES = {"quick": 0.0, "test": 0.0, "full": 0.0, "nightly": 65.0}


def run(profile: settings, seed: int) -> None:
    """Run the machine once; raises what it finds, with the shortest story that leads there.

    :arg profile: How many examples, of how many steps.

    :arg seed: All choices follow from it.

    """
    logging.getLogger("bytewax_state").setLevel(logging.CRITICAL)  # each fault would be told
    machine = type("Machine", (Machine,), {})  # the seed stays with the class
    run_state_machine_as_test(with_seed(seed)(machine), settings=profile)


def main() -> int:
    """Run as the command line says; return what the process ends with."""
    given = _parse()
    profile = settings(PROFILES[given.profile], phases=PHASES[: 1 if given.no_shrink else 2])
    seed = time.time_ns() % 10**9 if given.seed is None else given.seed
    minutes = MINUTES[given.profile] if given.minutes is None else given.minutes
    began, found = time.monotonic(), False
    while not found:
        found = not _passes(profile, seed, began)
        if time.monotonic() - began >= minutes * 60:
            break
        seed += 1
    for point in TALLY.counts.get("points passed", ()):
        TALLY.add("crashes", point, 0)  # so that the table shows where none was
    _say(TALLY.table())
    _say(f"\n{'FAILED' if found else 'passed'}, after {time.monotonic() - began:.0f} s")
    return int(found)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="test")
    parser.add_argument("--minutes", type=float, help="begin again until they are over; nightly: 65")
    parser.add_argument("--seed", type=int, help="of the first run; the next one's is one higher")
    parser.add_argument("--no-shrink", action="store_true", help="show a failure as it was found")
    return parser.parse_args()


def _passes(profile: settings, seed: int, began: float) -> bool:
    try:
        run(profile, seed)
    except Exception as ex:
        _say("".join(traceback.format_exception(ex)))
        return False
    finally:
        examples, steps = (TALLY.of("totals", name) for name in ("examples", "steps"))
        spent = time.monotonic() - began
        _say(f"seed {seed}: until now {examples} examples, {steps} steps, {spent:.0f} s")
    return True


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
