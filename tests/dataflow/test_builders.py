"""What is known of a builder: that nothing which it makes asks to be notified, or else nothing."""

from abc import ABC, ABCMeta
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.operators import StatefulBatchLogic, StatefulLogic

from bytewax_state import Settings
from bytewax_state.dataflow.builders import may_notify
from tests.dataflow.runs import Batch, Job, Run, results

PAST = datetime(2020, 1, 1, tzinfo=timezone.utc)
SOON = timedelta(seconds=0.5)


class Plain(StatefulLogic[Any, Any, Any]):
    """Says `notified` in its docs, and has nothing of the kind."""

    limit = 3

    def __init__(self, state: Any) -> None:
        self.state = state

    @property
    def name(self) -> str:
        return str(self.state)

    @staticmethod
    def make() -> int:
        return 1

    def on_item(self, value: Any) -> Any:
        return [value], False

    def snapshot(self) -> Any:
        return self.state


@dataclass
class Batched(StatefulBatchLogic[Any, Any, Any]):
    state: Any

    def on_batch(self, values: list[Any]) -> Any:
        return values, self.__class__ is None

    def snapshot(self) -> Any:
        return self.state


class Slotted(Plain, ABC):
    __slots__ = ("more",)


class Defines(Plain):
    def notify_at(self) -> None:
        return None


class Inherits(Defines):
    pass


class Assigns(Plain):
    def on_item(self, value: Any) -> Any:
        self.notify_at = lambda: None  # type: ignore[method-assign]
        return [], False


class Sets(Plain):
    def on_item(self, value: Any) -> Any:
        setattr(self, "notify_at", lambda: None)  # noqa: B010
        return [], False


class Nested(Plain):
    def on_item(self, value: Any) -> Any:
        return [later(self) for later in (lambda one: setattr(one, "notify_at", None),)], False


class Updates(Plain):
    def __init__(self, state: Any) -> None:
        self.__dict__.update(state)


class Makes(Plain):
    def __new__(cls, state: Any) -> Any:
        return Defines(state)


class Becomes(Plain):
    def on_item(self, value: Any) -> Any:
        self.__class__ = Defines  # type: ignore[assignment]
        return [], False


class Calls(Plain):
    on_item = partial(Sets.on_item)  # type: ignore[assignment]


class Answers(Plain):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)


class Meta(ABCMeta):
    pass


class Made(Plain, metaclass=Meta):
    pass


def function(state: Any) -> Plain:
    return Plain(state)


@pytest.mark.parametrize("builder", [Plain, Batched, Slotted])
def test_a_class_without_a_notify_at_is_known(builder: Any) -> None:
    """It is its own builder, and makes nothing else."""
    assert not may_notify(builder)


@pytest.mark.parametrize(
    "builder",
    [
        Defines,
        Inherits,
        Assigns,
        Sets,
        Nested,
        Updates,
        Makes,
        Becomes,
        Calls,
        Answers,
        Made,
        function,
    ],
    ids=lambda builder: builder.__name__,
)
def test_nothing_is_known_of_others(builder: Any) -> None:
    """Be it a function, a class that has the method, or one whose objects may get it."""
    assert may_notify(builder)


def _lend(logic: Any) -> None:
    """Give an object what its class does not have, nor names."""
    logic.notify_at = lambda: None if logic.state > 9 else PAST
    logic.on_notify = lambda: (logic.ring(), False)


class Lent(Plain):
    """Rings once, at once, though its class does not know of it."""

    def __init__(self, state: Any) -> None:
        super().__init__(state or 0)
        _lend(self)

    def ring(self) -> list[Any]:
        self.state += 10
        return ["rang"]


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_a_timer_that_was_not_expected_comes(backend: str, tmp_path: Path) -> None:
    """With the next items, or at the end: it is never lost."""
    assert not may_notify(Lent)
    step = lambda up: op.stateful("s", up, Lent)  # noqa: E731
    batches: list[Batch] = [[(f"k{number % 50}", number)] for number in range(100)]
    settings = Settings(backend=backend, uri=None, dir=tmp_path / "work", memory="8MiB", cache_entries=3)
    found, expected = results(step, batches, settings), results(step, batches)
    assert {key: sorted(map(str, values)) for key, values in found.items()} == {
        key: sorted(map(str, values)) for key, values in expected.items()
    }
    assert all("rang" in values for values in found.values())


class Rings(Plain):
    """Wants to be notified soon, whenever it is asked."""

    def notify_at(self) -> datetime:
        return datetime.now(timezone.utc) + SOON

    def on_notify(self) -> Any:
        return ["rang"], False


class Silent(Plain):
    """The same step in a later version of the flow, which asks for nothing any more."""

    def on_notify(self) -> Any:
        return ["rang"], False


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
def test_a_class_that_has_no_timers_any_more_is_not_notified(backend: str, tmp_path: Path) -> None:
    """The times in its rows are what other code has asked for."""
    assert not may_notify(Silent)
    batches: list[Batch] = [[(f"k{number}", number) for number in range(20)], 2 * SOON, [("k1", 7)]]
    settings = Settings(backend=backend, uri=str(tmp_path / "s"), dir=tmp_path / "w", memory="8MiB", key_groups=4)
    job = Job(lambda up: op.stateful("s", up, Rings), batches, tmp_path)
    job.run(Run(abort=1), settings)
    job.step = lambda up: op.stateful("s", up, Silent)
    job.run(Run(), settings)
    assert "rang" not in [value for values in job.results().values() for value in values]
