"""Attach: rewrites the stateful steps of a flow in place, so that Bytewax sees key groups where it saw keys.

    up ── pack ──┬─ merge ── epoch ── spread ── stateful_batch(GroupLogic) ── unpack ── down
    hello ───────┘

Owns the rewriting, and the private names of Bytewax that it needs. It does not own what runs inside (`lanes`, `group`).
Called by users, at the end of a flow's module, and by `run`.
"""

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow, DataflowId, MultiPort, Operator, SinglePort, _CoreOperator
from bytewax.inputs import DynamicSource, StatelessSourcePartition

from bytewax_state.dataflow.execution import Step
from bytewax_state.dataflow.group import GroupLogic
from bytewax_state.dataflow.lanes import Lanes, Parcel, pack, spread, unpack
from bytewax_state.dataflow.swap import choose, class_of
from bytewax_state.dataflow.workers import Workers
from bytewax_state.errors import UsageError
from bytewax_state.recovery.preflight import check, read
from bytewax_state.settings import Settings, keys_of
from bytewax_state.snapshot.layout import StepId
from bytewax_state.storage.uri import check_uri, shared_url

logger = logging.getLogger("bytewax_state")

RECOVERY_DIRECTORY = "BYTEWAX_RECOVERY_DIRECTORY"
"""Bytewax's variable; what is given to it by a flag or in code is out of sight here."""

_warned: set[str] = set()


def attach(flow: Dataflow, settings: Settings | None = None, steps: Mapping[str, Settings] | None = None) -> Dataflow:
    """Keep the state of every stateful step of a flow in a store of bytewax_state.

    Call it once all steps are there; a run of a flow with stateful steps that came later is refused, as it begins. What
    is attached already stays as it is.

    :arg flow: Changed in place. May be run several times.

    :arg settings: For all steps; read from the environment if not given.

    :arg steps: Step id to settings, for single steps: of an operator of the flow, such as `flow.win`, or of one of the
        core steps in it.

    :returns: The same flow.

    :raises ConfigError: If a setting is wrong.

    :raises UsageError: If `flow` is no `Dataflow`, or a step is named that is not there.

    :raises ConfigError: If the URI of the snapshots means no storage, or its driver is not installed.

    """
    if not isinstance(flow, Dataflow):
        msg = f"attach takes a Dataflow; got a {type(flow).__name__}"
        raise UsageError(msg)
    attach_steps(flow, settings, steps)
    if not stateful_steps(flow):
        logger.warning(
            "attach found no stateful step in the flow %r, so it does nothing; if there are to be some, call it at the "
            "end of the module, once all steps are there",
            flow.flow_id,
        )
    if not any(isinstance(step, _Guard) for step in flow.substeps):
        flow.substeps.append(_Guard(flow))
    _warn_of_unclaimed(flow)
    return flow


def attach_steps(flow: Dataflow, settings: Settings | None, steps: Mapping[str, Settings] | None = None) -> None:
    """Attach the stateful steps that there are, and expect no more; see `attach`.

    :arg flow: Changed in place.

    :arg settings: For all steps.

    :arg steps: Step id to settings, for single steps.

    """
    chosen = dict(steps or {})
    default = Settings() if settings is None else settings
    found = list(_stateful(flow.substeps))
    _check_steps(flow, chosen, [step.step_id for _, step, _ in found])
    for siblings, step, outer in found:
        if not isinstance(step.builder, _Builder):
            its = _settings_of(step.step_id, chosen, default)
            if its.uri is not None:
                check_uri(its.uri, its.storage_options)
            _warn_of_pickle(its)
            _rewrite(flow, siblings, step, its, outer)


def attached(flow: Dataflow) -> list[Workers]:
    """Return what stands for the attached steps of a flow, with the settings of each.

    :returns: One for each attached core step, whoever attached it.

    """
    return [step.builder.workers for _, step, _ in _stateful(flow.substeps) if isinstance(step.builder, _Builder)]


def stateful_steps(flow: Dataflow) -> list[str]:
    """Name the stateful core steps of a flow.

    :arg flow: Flow; attached or not.

    :returns: Full step ids.

    """
    return [step.step_id for _, step, _ in _stateful(flow.substeps)]


def _stateful(siblings: list[Any], outer: tuple[Any, ...] = ()) -> Iterator[tuple[list[Any], Any, tuple[Any, ...]]]:
    """Find the stateful core steps, each with the list that it stands in, and the steps around it, innermost last."""
    for step in list(siblings):
        if isinstance(step, _STATEFUL):
            yield siblings, step, outer
        elif not isinstance(step, _Guard):
            yield from _stateful(step.substeps, (*outer, step))


def _check_steps(flow: Dataflow, chosen: Mapping[str, Settings], found: list[str]) -> None:
    for name in chosen:
        if not any(_is_within(step_id, name) for step_id in found):
            msg = f"steps names {name!r}, and the stateful steps of the flow {flow.flow_id!r} are {found}"
            raise UsageError(msg)


def _warn_of_unclaimed(flow: Dataflow) -> None:
    folder = os.environ.get(RECOVERY_DIRECTORY)
    if folder is None:
        return
    try:
        check(read(Path(folder)), flow.flow_id, stateful_steps(flow))
    except UsageError as ex:
        logger.warning("%s", ex)


def _warn_of_pickle(settings: Settings) -> None:
    """Warn, once for a URI, where somebody else may write what is unpickled here. Either codec may fall back to it."""
    url = None if settings.uri is None else shared_url(settings.uri, settings.storage_options)
    if url is None or not keys_of(settings).accepts_unsigned or url in _warned:
        return
    _warned.add(url)
    logger.warning(
        "snapshots in %s are read unsigned, and values in them may be pickles, which run code when they are read: "
        "whoever can write there can take this job over. %s",
        url,
        "Set BYTEWAX_STATE_SIGNING_KEY to a secret key"
        if settings.signing_key is None
        else "Take `none` out of BYTEWAX_STATE_SIGNING_KEY once all that this job keeps is signed",
    )


def _settings_of(step_id: str, chosen: Mapping[str, Settings], default: Settings) -> Settings:
    """Return the settings of the innermost step that is named."""
    names_it = [name for name in chosen if _is_within(step_id, name)]
    return chosen[max(names_it, key=len)] if names_it else default


def _is_within(step_id: str, name: str) -> bool:
    return step_id == name or step_id.startswith(f"{name}.")


def _rewrite(flow: Dataflow, siblings: list[Any], step: Any, settings: Settings, outer: tuple[Any, ...]) -> None:
    """Put six core steps around a stateful one, and a builder of ours into it. Its id stays: recovery goes by it."""
    step_id = step.step_id
    runner = choose(step, outer, settings)
    workers = Workers(Step(StepId(flow.flow_id, step_id), settings, runner))
    lanes = Lanes(settings.key_groups, runner.is_timed)
    make = partial(_step, step_id)
    hello = make("hello", op.input, flow=DataflowId(flow.flow_id), source=_Hello(workers, lanes))
    packed = make("pack", op.flat_map_batch, up=step.up.stream_id, mapper=pack)
    merge = make("merge", op.merge, ups={"0": hello.down.stream_id, "1": packed.down.stream_id})
    noted = make("epoch", op.inspect_debug, up=merge.down.stream_id, inspector=lanes.note_epoch)
    apart = make("spread", op.flat_map_batch, up=noted.down.stream_id, mapper=spread)
    chunks = SinglePort(step.up.port_id, apart.down.stream_id)
    lists = SinglePort(step.down.port_id, f"{step_id}:lists.down")
    core = dataclasses.replace(step, up=chunks, builder=_Builder(workers), down=lists)
    unpacked = make("unpack", op.flat_map_batch, up=lists.stream_id, mapper=unpack)
    unpacked = dataclasses.replace(unpacked, down=SinglePort(unpacked.down.port_id, step.down.stream_id))
    at = next(index for index, sibling in enumerate(siblings) if sibling is step)
    siblings[at : at + 1] = [hello, packed, merge, noted, apart, core, unpacked]


def _step(core_id: str, name: str, operator: Any, **fields: Any) -> Any:
    """Make a core step, as Bytewax's own operator functions do inside."""
    step_id = f"{core_id}:{name}"
    for port, stream in fields.items():
        if port == "up":
            fields[port] = SinglePort(f"{step_id}.{port}", stream)
        elif port == "ups":
            fields[port] = MultiPort(f"{step_id}.{port}", stream)
    down = SinglePort(f"{step_id}.down", f"{step_id}.down")
    return operator._op_cls(step_name=step_id.rpartition(".")[2], step_id=step_id, substeps=[], down=down, **fields)


class _Builder:
    """Builds the logic of a key group; all workers of a process share it."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers

    def __call__(self, resume: object) -> GroupLogic:
        run = self.workers.here()
        try:
            group = None if resume is None else run.note(resume)
        except BaseException as ex:
            run.fail(ex)
            raise
        return GroupLogic(run, group)


class _Guard(Operator):
    """Refuses a run of an attached flow with stateful steps that are not attached.

    Bytewax would keep their state itself, and later refuse it to a flow that is attached as a whole. When a run begins,
    and before anything is written to the recovery directory, Bytewax asks every step on every worker for its substeps.
    This step has none, and takes that as its cue.
    """

    ups_names: ClassVar[list[str]] = []
    dwn_names: ClassVar[list[str]] = []

    def __init__(self, flow: Dataflow) -> None:
        vars(self).update(flow=flow, step_name="attach", step_id=f"{flow.flow_id}:attach")

    def __repr__(self) -> str:
        return "attach()"

    @property
    def substeps(self) -> list[Any]:
        flow: Dataflow = vars(self)["flow"]
        loose = [step.step_id for _, step, _ in _stateful(flow.substeps) if not isinstance(step.builder, _Builder)]
        if loose:
            msg = (
                f"the stateful steps {loose} of the flow {flow.flow_id!r} came after attach was called, so they are "
                "not attached; call attach(flow) at the end of the module, once all steps are there"
            )
            # Where there are several processes, Bytewax may show another error.
            logger.error("flow %r ends the run: %s: %s", flow.flow_id, UsageError.kind, msg)
            raise UsageError(msg)
        return []


class _Hello(DynamicSource[Parcel]):
    """Begins each execution on each worker, and wakes every key group in the resume epoch, from worker 0.

    Bytewax asks a source for items of the resume epoch only after everything is loaded, so these open the stores.
    """

    def __init__(self, workers: Workers, lanes: Lanes) -> None:
        self._workers = workers
        self._lanes = lanes

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_HelloPartition":
        self._workers.begin(worker_index, worker_count)
        sender = self._lanes.begin(worker_count)
        return _HelloPartition([sender.hello()] if worker_index == 0 else [])


class _HelloPartition(StatelessSourcePartition[Parcel]):
    def __init__(self, parcels: list[Parcel]) -> None:
        self._parcels = parcels

    def next_batch(self) -> list[Parcel]:
        if not self._parcels:
            raise StopIteration
        parcels, self._parcels = self._parcels, []
        return parcels


def _check_seam() -> None:
    """Fail at import, and clearly, on a Bytewax that lacks a private name that is needed here."""
    wanted = {
        "stateful_batch": {"step_id", "up", "builder", "down"},
        "flat_map_batch": {"step_id", "up", "mapper", "down"},
        "inspect_debug": {"step_id", "up", "inspector", "down"},
        "merge": {"step_id", "ups", "down"},
        "input": {"step_id", "flow", "source", "down"},
    }
    for name, fields in wanted.items():
        cls = class_of(name)
        there = {field.name for field in dataclasses.fields(cls)} if cls is not None else set()
        if cls is None or not issubclass(cls, _CoreOperator) or not fields <= there:
            msg = f"this Bytewax has an unknown core operator {name!r}; install bytewax>=0.21.1,<0.22"
            raise ImportError(msg)


_check_seam()
_STATEFUL = op.stateful_batch._op_cls  # type: ignore[attr-defined]
