"""Random flows through random executions: what plain Bytewax gives, whatever is killed, moved, lost or changed between.

Owns how such a flow comes about. It does not own its operators (`flows`) nor its executions (`runs`).
How many are tried is up to the active profile of hypothesis.
"""

import shutil
import zlib
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import pytest
from bytewax.dataflow import Stream, operator
from bytewax.operators import KeyedStream
from hypothesis import given, settings
from hypothesis import strategies as st

from bytewax_state import Settings
from bytewax_state.store import rows
from tests.dataflow.flows import MINUTE, OPERATORS, SESSION, STOPPED, joined, tagged
from tests.dataflow.runs import LONG, ZERO, Job, Run, Step

STEPS: dict[str, Step] = {
    **OPERATORS,
    # By default it gives each pair that it sees, and which ones those are depends on how input is batched.
    **{
        f"join{end}": lambda up, mode=mode: joined("s", up, partial(op.join, insert_mode=mode, emit_mode="final"))
        for end, mode in (("", "last"), ("_first", "first"), ("_product", "product"))
    },
    "collect_few": lambda up: op.collect("s", up, timedelta(days=1), 2),
    "folding_to_none": lambda up: op.fold_final("s", up, lambda: None, _add_or_none),
    "forgetting": lambda up: op.stateful_map("s", up, _add_or_forget),
    "closing_fold": lambda up: tagged(win.fold_window("s", up, STOPPED, MINUTE, list, _append, list.__add__)),
    "closing_session": lambda up: tagged(win.fold_window("s", up, STOPPED, SESSION, list, _append, list.__add__)),
    "closing_max": lambda up: tagged(win.max_window("s", up, STOPPED, MINUTE)),
}

LIVELY = ["forgetting", "closing_session", "collect", "stateful"]
"""Whose state comes and goes in the midst of a flow: every other step is one of them."""


def _add_or_forget(total: int | None, value: int) -> tuple[int | None, int]:
    total = (total or 0) + value
    return None if value % 2 == 0 else total, total


def _add_or_none(total: int | None, value: int) -> int | None:
    return None if value % 3 == 0 else (total or 0) + value


def _append(acc: list[int], value: int) -> list[int]:
    return [*acc, value]


@operator
def numbered(step_id: str, up: KeyedStream[Any], name: str) -> KeyedStream[Any]:
    """One of `STEPS`, whose results are input for the next: numbers, with a key for each stream of results.

    The order within a stream is certain, that between two of them is not.
    """

    def number(item: tuple[str, Any]) -> tuple[str, int]:
        key, value = item
        if isinstance(value, tuple) and value[0] in ("late", "meta"):
            key = f"{key} {value[0]} of {step_id}"
        return key, zlib.crc32(repr(value).encode()) % 200

    return op.map("number", STEPS[name](up), number)


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution, and with what it is begun."""

    run: Run
    backend: str
    cache: int
    loses_disk: bool
    small: int
    """Up to how many bytes of changes are part of a manifest."""


@dataclass(frozen=True, slots=True)
class Case:
    """Steps in a chain, their input, and the executions: one for each end of input, after some that are killed."""

    steps: list[str]
    batches: list[Any]
    key_groups: int
    parts: list[list[Execution]]

    def chain(self, up: Stream[Any]) -> Stream[Any]:
        for number, name in enumerate(self.steps[:-1]):
            up = numbered(f"step{number}", up, name)
        return STEPS[self.steps[-1]](up)


def _executions(run: st.SearchStrategy[Run], is_spilled: bool) -> st.SearchStrategy[Execution]:
    return st.builds(
        Execution,
        run=run,
        backend=st.sampled_from(["rocksdb"] if is_spilled else ["heap", "rocksdb"]),
        cache=st.integers(0, 0 if is_spilled else 4),
        loses_disk=st.booleans(),
        small=st.sampled_from([0, 200, rows.SMALL]),
    )


def _runs(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Run]:
    return st.builds(Run, workers=st.integers(1, 3), interval=st.sampled_from([ZERO, LONG]), **fields)


@st.composite
def cases(draw: st.DrawFn, step: str | None = None) -> Case:
    """Make a case.

    :arg step: The only step, of which all is spilled, and which is killed before each end of input; `None`: any steps.

    """
    is_hard = step is not None
    keys = draw(st.lists(st.text(max_size=4), min_size=1, max_size=6, unique=True))
    items = st.tuples(st.sampled_from(keys), st.integers(0, 199))
    batches = draw(st.lists(st.lists(items, max_size=12), min_size=1, max_size=6))
    stops = sorted(draw(st.sets(st.integers(1, len(batches)), max_size=1)) | {len(batches)})
    parts = []
    for begin, stop in zip([0, *stops], stops, strict=False):
        at = st.integers(begin, stop - 1)
        kills = st.one_of(_runs(stop=st.just(stop), abort=at), _runs(stop=st.just(stop), crash=at))
        parts.append(
            [
                *draw(st.lists(_executions(kills, is_hard), min_size=is_hard, max_size=1)),
                draw(_executions(_runs(stop=st.just(stop)), is_hard)),
            ]
        )
    any_step = st.one_of(st.sampled_from(LIVELY), st.sampled_from(sorted(STEPS)))
    steps = [step] if step else draw(st.lists(any_step, min_size=1, max_size=3))
    return Case(steps, batches, draw(st.sampled_from([1, 4])), parts)


@given(case=cases())
def test_a_random_flow_gives_what_it_gave(case: Case) -> None:
    """Per key, and in the same order per key."""
    _check(case)


@pytest.mark.parametrize("step", sorted(STEPS))
def test_each_operator_gives_what_it_gave(step: str) -> None:
    """Each stateful one of Bytewax's by itself, spilled, killed, and on other workers."""
    check = given(case=cases(step))(_check)
    settings(max_examples=max(2, settings.default.max_examples // 10))(check)()


def _check(case: Case) -> None:
    with TemporaryDirectory() as ours, TemporaryDirectory() as theirs:
        job = Job(case.chain, case.batches, Path(ours))
        plain = Job(case.chain, case.batches, Path(theirs))
        for executions in case.parts:
            plain.run(Run(stop=executions[-1].run.stop), None)
            for execution in executions:
                if execution.loses_disk:
                    shutil.rmtree(Path(ours) / "work", ignore_errors=True)
                chosen = Settings(
                    backend=execution.backend,
                    cache_entries=execution.cache,
                    uri=f"{ours}/snapshots",
                    dir=Path(ours) / "work",
                    key_groups=case.key_groups,
                    memory="8MiB",
                )
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(rows, "SMALL", execution.small)
                    if job.run(execution.run, chosen):
                        break
        assert job.results() == plain.results()
