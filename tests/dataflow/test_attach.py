"""What an attached flow gives: the same as before, in one run, across resumes, and for any number of workers."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from bytewax.visualize import to_json

from bytewax_state import Settings, attach
from bytewax_state.dataflow.attach import stateful_steps
from bytewax_state.errors import UsageError
from bytewax_state.recovery.preflight import read
from tests.dataflow.flows import ITEMS, OPERATORS, BatchSum, RunningSum, aborted_at, flow_of, per_key
from tests.dataflow.runs import causes

ZERO = timedelta(0)
BATCH = 25
"""Items in a batch, where each is an epoch."""


@pytest.fixture(params=["heap", "rocksdb", "spilling"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Both stores; the RocksDB one also with a cache of nothing, so that every logic is rebuilt for every batch."""
    backend = "heap" if request.param == "heap" else "rocksdb"
    cache = 0 if request.param == "spilling" else 10_000
    return Settings(
        backend=backend, uri=str(tmp_path / "snapshots"), dir=tmp_path / "work", cache_entries=cache, memory="8MiB"
    )


@pytest.fixture
def recovery(tmp_path: Path) -> RecoveryConfig:
    return _recovery(tmp_path / "recovery")


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_gives_what_it_gave(operator: str, settings: Settings) -> None:
    """Per key, and in the same order per key."""
    theirs: list[Any] = []
    ours: list[Any] = []
    run_main(flow_of(operator, ITEMS, theirs))
    run_main(attach(flow_of(operator, ITEMS, ours), settings))
    assert per_key(ours) == per_key(theirs)
    assert theirs


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_resumes(operator: str, settings: Settings, recovery: RecoveryConfig) -> None:
    """What plain Bytewax gives in one go, we give in three executions that each lose an epoch."""
    theirs: list[Any] = []
    ours: list[Any] = []
    run_main(flow_of(operator, ITEMS, theirs, BATCH))
    items: list[Any] = []
    flow = attach(flow_of(operator, items, ours, BATCH), settings)
    for place in (200, 400, 600):
        items[:] = aborted_at(place)
        run_main(flow, epoch_interval=ZERO, recovery_config=recovery)
    assert per_key(ours) == per_key(theirs)


@pytest.mark.parametrize("operator", ["stateful", "fold_window", "stateful_batch", "collect"])
def test_the_number_of_workers_may_change(
    operator: str, settings: Settings, recovery: RecoveryConfig, tmp_path: Path
) -> None:
    """Key groups move to their new workers, with their state."""
    items: list[Any] = list(ITEMS)
    for place in (150, 300, 450):
        items.insert(place, TestingSource.EOF())
    theirs: list[Any] = []
    ours: list[Any] = []
    for workers in (1, 3, 2, 4):
        flow = attach(flow_of(operator, items, ours, BATCH), settings)
        cluster_main(flow, [], 0, epoch_interval=ZERO, recovery_config=recovery, worker_count_per_proc=workers)
    plain = _recovery(tmp_path / "plain")
    for _ in range(4):
        run_main(flow_of(operator, items, theirs, BATCH), epoch_interval=ZERO, recovery_config=plain)
    assert per_key(ours) == per_key(theirs)


def test_the_store_may_change(tmp_path: Path, recovery: RecoveryConfig) -> None:
    """Heap to RocksDB to heap, between two executions; and all of the local disk may be lost."""
    theirs: list[Any] = []
    ours: list[Any] = []
    run_main(flow_of("stateful", ITEMS, theirs))
    for number, backend in enumerate(["heap", "rocksdb", "heap"]):
        settings = Settings(
            backend=backend, uri=str(tmp_path / "snapshots"), dir=tmp_path / f"work-{number}", cache_entries=2
        )
        flow = attach(flow_of("stateful", aborted_at(200 * (number + 1)), ours), settings)
        run_main(flow, epoch_interval=ZERO, recovery_config=recovery)
    assert per_key(ours) == per_key(theirs)


def test_attaching_twice_is_attaching_once(settings: Settings) -> None:
    """The second call, with whatever settings, changes nothing."""
    out: list[Any] = []
    flow = attach(attach(flow_of("stateful", ITEMS, out), settings), settings)
    assert len(flow.substeps[1].substeps) == 7
    assert stateful_steps(flow) == ["flow.s.stateful_batch"]


def test_a_flow_may_run_again_in_the_same_process(settings: Settings) -> None:
    """Without recovery each run begins anew."""
    out: list[Any] = []
    flow = attach(flow_of("stateful", ITEMS, out), settings)
    run_main(flow)
    once = list(out)
    out.clear()
    run_main(flow)
    assert out == once
    assert once


@pytest.mark.parametrize("run", [run_main, lambda flow: cluster_main(flow, [], 0)])
def test_an_empty_flow_stays_empty(run: Callable[[Dataflow], None], settings: Settings) -> None:
    """Bytewax says what it lacks, as it would have."""
    with pytest.raises(Exception, match="building production dataflow") as caught:
        run(attach(Dataflow("flow"), settings))
    assert "at least one input" in str(caught.value.__cause__)


def late(place: str, settings: Settings, again: bool = False) -> Dataflow:
    """Make a flow of two stateful steps, and attach it at a place in its module."""
    flow = Dataflow("flow")
    calls = {"top", "end"} if again else {place}

    def at(here: str) -> None:
        if here in calls:
            attach(flow, settings)

    at("top")
    up = op.input("inp", flow, TestingSource(ITEMS, 10))
    at("above both")
    up = op.stateful("one", up, RunningSum)
    at("between")
    down = op.stateful_batch("two", op.map_value("value", up, lambda value: value[1]), BatchSum)
    op.output("out", down, TestingSink([]))
    at("end")
    return flow


EARLY = ["top", "above both", "between"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("place", EARLY)
def test_a_run_with_steps_that_came_after_attach_is_refused(
    place: str, workers: int, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before Bytewax, which would keep their state, has written anything of it; moved to the end, attach takes them."""
    folder = tmp_path / "recovery"
    recovery = _recovery(folder)
    run = run_main if workers == 1 else partial(cluster_main, addresses=[], proc_id=0, worker_count_per_proc=workers)
    loose = ["flow.two"] if place == "between" else ["flow.one.stateful_batch", "flow.two"]
    for _ in range(2):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            run(late(place, settings), recovery_config=recovery)
        (ours,) = [one for one in causes(caught.value) if isinstance(one, UsageError)]
        assert f"the stateful steps {loose} of the flow 'flow' came after attach" in str(ours)
        assert f"flow 'flow' ends the run: usage: {ours}" in caplog.messages
    assert (read(folder).steps, read(folder).resume_epochs) == ((), ())
    run_main(late("end", settings), recovery_config=recovery)


@pytest.mark.parametrize("place", [*EARLY, "end"])
def test_attach_tells_that_it_found_nothing(place: str, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """With the name of the flow, and where to call it."""
    late(place, settings)
    told = ["attach found no stateful step in the flow 'flow'" in message for message in caplog.messages]
    assert told == ([True] if place in {"top", "above both"} else [])


def test_a_second_attach_makes_up_for_an_early_one(settings: Settings) -> None:
    """What counts is what is attached when the run begins."""
    run_main(late("end", settings, again=True))


def test_an_attached_flow_can_be_drawn_and_shown(settings: Settings) -> None:
    """As Bytewax's web server does it; one that would be refused is refused there too, but can be printed."""
    drawn = to_json(late("end", settings))
    assert "flow.two" in drawn
    with pytest.raises(UsageError):
        to_json(late("between", settings))
    assert "flow.two" in repr(late("between", settings))


def test_input_without_items_ends(settings: Settings, recovery: RecoveryConfig) -> None:
    """And can be resumed."""
    out: list[Any] = []
    flow = attach(flow_of("stateful", [], out), settings)
    run_main(flow, recovery_config=recovery)
    run_main(flow, recovery_config=recovery)
    assert out == []


def test_a_single_step_may_have_settings_of_its_own(settings: Settings, tmp_path: Path) -> None:
    """Named by the id of the operator."""
    own = settings.model_copy(update={"uri": str(tmp_path / "own")})
    flow = Dataflow("flow")
    up = op.input("inp", flow, TestingSource(ITEMS, 10))
    one = op.stateful("one", up, RunningSum)
    two = op.stateful_batch("two", op.map_value("value", one, lambda value: value[1]), BatchSum)
    op.output("out", two, TestingSink([]))
    run_main(attach(flow, settings, steps={"flow.one": own}))
    assert [path.name for path in (tmp_path / "own/flow/steps").iterdir()] == ["flow.one.stateful_batch"]
    assert [path.name for path in (tmp_path / "snapshots/flow/steps").iterdir()] == ["flow.two"]


def test_settings_for_a_step_that_is_not_there_are_refused(settings: Settings) -> None:
    """A renamed step would silently get the default."""
    with pytest.raises(UsageError, match=r"'flow\.nope'.*flow\.s\.stateful_batch"):
        attach(flow_of("stateful", [], []), settings, steps={"flow.nope": settings})


class Wakes(StatefulBatchLogic[Any, str, Any]):
    """Asks to be woken at a time that is past, as soon as it has something."""

    def __init__(self, state: Any) -> None:
        self.pending = state or []

    def on_batch(self, values: list[Any]) -> tuple[list[str], bool]:
        self.pending += values
        return [], False

    def on_notify(self) -> tuple[list[str], bool]:
        out, self.pending = [f"woken {self.pending}"], []
        return out, True

    def notify_at(self) -> datetime | None:
        return datetime(2020, 1, 1, tzinfo=timezone.utc) if self.pending else None

    def snapshot(self) -> Any:
        return list(self.pending)


def _failing(method: str) -> type[StatefulBatchLogic[Any, Any, Any]]:
    def fail(*args: object) -> Any:
        msg = "boom"
        raise ValueError(msg)

    methods = {"on_batch": lambda self, values: ([], False), "snapshot": lambda self: 1, method: fail}
    return type("Failing", (StatefulBatchLogic,), methods)


def test_a_notification_comes_soon(settings: Settings) -> None:
    """One that is due already, in the next activation."""
    out: list[Any] = []
    flow = Dataflow("flow")
    items = [
        ("a", 1),
        TestingSource.PAUSE(timedelta(seconds=0.3)),
        ("b", 2),
        TestingSource.PAUSE(timedelta(seconds=0.3)),
    ]
    up = op.input("inp", flow, TestingSource(items))
    op.output("out", op.stateful_batch("s", up, Wakes), TestingSink(out))
    run_main(attach(flow, settings))
    assert sorted(out) == [("a", "woken [1]"), ("b", "woken [2]")]


@pytest.mark.parametrize("method", ["on_batch", "on_eof", "notify_at", "snapshot"])
def test_an_exception_of_the_user_keeps_its_chain(method: str, settings: Settings) -> None:
    """The original is there, and the step and the key are named."""
    flow = Dataflow("flow")
    up = op.input("inp", flow, TestingSource([("some key", 1)]))
    logic = _failing(method)
    op.output("out", op.stateful_batch("s", up, lambda state: logic()), TestingSink([]))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        run_main(attach(flow, settings))
    chain = list(causes(caught.value))
    assert isinstance(chain[-1], ValueError)
    assert any("'flow.s'" in str(one) and "'some key'" in str(one) for one in chain)


@pytest.mark.parametrize("due", [datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=5))), 5.0])
def test_a_notification_at_no_time_in_utc_is_refused(due: Any, settings: Settings) -> None:
    """As plain Bytewax refuses it; with the user's key named, and on either store."""
    logic = type("Wrong", (Wakes,), {"notify_at": lambda self: due})
    chains = []
    for attached in (False, True):
        flow = Dataflow("flow")
        up = op.input("inp", flow, TestingSource([("some key", 1)]))
        op.output("out", op.stateful_batch("s", up, logic), TestingSink([]))
        with pytest.raises(Exception) as caught:  # noqa: PT011
            run_main(attach(flow, settings) if attached else flow)
        chains.append(list(causes(caught.value)))
    assert isinstance(chains[1][-1], TypeError)
    assert any("notify_at" in str(one) and "'some key'" in str(one) for one in chains[1])


@pytest.mark.parametrize("item", [5, ("a", 1, 2), ["a", 1], (5, 1), (b"a", 1), ("\ud800", 1)])
def test_what_is_no_item_gives_the_error_that_bytewax_gives(item: Any, settings: Settings) -> None:
    """In the same words."""
    errors = []
    for attached in (False, True):
        flow = Dataflow("flow")
        up = op.input("inp", flow, TestingSource([item]))
        op.output("out", op.stateful_batch("s", up, BatchSum), TestingSink([]))
        with pytest.raises(TypeError) as caught:
            run_main(attach(flow, settings) if attached else flow)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def _recovery(folder: Path) -> RecoveryConfig:
    folder.mkdir()
    init_db_dir(folder, 2)
    return RecoveryConfig(str(folder), ZERO)
