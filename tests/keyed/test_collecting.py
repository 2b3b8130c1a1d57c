"""`collect` at times that a test says: against a dict of lists and a dict of times."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bytewax.operators as op
from hypothesis import given, settings
from hypothesis import strategies as st

from bytewax_state.keygroups import group_of
from tests.dataflow.flows import START
from tests.keyed.running import BACKENDS, FREEZING, GROUPS, Running

SIZE = 5
TIMEOUT = timedelta(seconds=10)
KEYS = st.sampled_from(["a", "ö"])
ITEMS = st.lists(st.tuples(KEYS, st.integers(0, 9)), min_size=1, max_size=3)
GROUPS_DUE = st.one_of(st.just(set(range(GROUPS))), st.sets(st.sampled_from(range(GROUPS))))
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("on_items"), ITEMS),
        st.tuples(st.just("wait"), st.sampled_from([TIMEOUT / 2, TIMEOUT])),
        st.tuples(st.just("on_due"), GROUPS_DUE),
        st.tuples(st.sampled_from(["on_end", "restart"]), st.sampled_from(FREEZING)),
    ),
    min_size=10,
    max_size=40,
)


@dataclass
class Model:
    """What has to come of each call."""

    now: datetime = START
    lists: dict[str, list[int]] = field(default_factory=dict)
    last: dict[str, datetime] = field(default_factory=dict)
    """Key to when its last value came."""
    due: dict[str, datetime] = field(default_factory=dict)

    def on_items(self, items: list[tuple[str, int]]) -> list[Any]:
        out = []
        for key in sorted({key for key, _ in items}):
            for value in [value for other, value in items if other == key]:
                self.lists.setdefault(key, []).append(value)
                if len(self.lists[key]) >= SIZE:
                    out.append((key, self.lists.pop(key)))
            self.last[key] = self.now
            if key not in self.lists:
                self.due.pop(key, None)
            elif self.due.get(key, self.now + TIMEOUT) > self.now:
                self.due[key] = self.now + TIMEOUT
        return out

    def on_due(self, groups: set[int]) -> list[Any]:
        due = sorted(key for key, at in self.due.items() if at <= self.now and group_of(key, GROUPS) in groups)
        return [(key, self._pop(key)) for key in due]

    def on_end(self) -> list[Any]:
        return self.on_due(set(range(GROUPS))) + [(key, self._pop(key)) for key in sorted(self.lists)]

    def restart(self) -> None:
        """What is stored tells when a key is due: a timeout after its last value."""
        self.due = {key: self.last[key] + TIMEOUT for key in self.lists}

    def _pop(self, key: str) -> list[int]:
        del self.due[key]
        return self.lists.pop(key)


@settings(deadline=None, max_examples=150)
@given(calls=CALLS, backend=st.sampled_from(FREEZING))
def test_values_are_collected_up_to_a_size_or_a_timeout(calls: list[Any], backend: str) -> None:
    """Each list once, in the order of the keys, over restarts on either kind of store, with all of it spilled."""
    model = Model()
    with TemporaryDirectory() as name:
        running = _running(model, backend, Path(name) / "0", restored=False)
        for number, (call, given) in enumerate(calls):
            if call == "wait":
                model.now += given
            elif call == "restart":
                folder = Path(name) / str(number + 1)
                running.store.freeze(folder)
                running.store.close()
                running, backend = _running(model, given, folder, restored=True), given
                model.restart()
                # As an execution begins.
                _check(running, model, "on_due", set(range(GROUPS)), is_sorted=True)
            else:
                _check(running, model, call, given, call != "on_end" or backend in ("heap", "rocksdb-100"))
            _check_schedule(running, model)
        running.store.close()


def _running(model: Model, backend: str, folder: Path, restored: bool) -> Running:
    step = lambda up: op.collect("s", up, TIMEOUT, SIZE)  # noqa: E731
    return Running(step, True, BACKENDS[backend], folder, restored, now=lambda: model.now)


def _check(running: Running, model: Model, call: str, given: Any, is_sorted: bool) -> None:
    found, expected = (_call(one, call, given) for one in (running.processor, model))
    assert found == expected if is_sorted else sorted(found) == sorted(expected)


def _call(one: Any, call: str, given: Any) -> list[Any]:
    found: list[Any] = one.on_end() if call == "on_end" else getattr(one, call)(given)
    return found


def _check_schedule(running: Running, model: Model) -> None:
    """The worker is woken no later than for the first key that is due."""
    at = running.processor.next(0, range(GROUPS), lambda group: model.now)
    assert not model.due or (at is not None and at <= max(model.now, min(model.due.values())))
