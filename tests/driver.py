"""Bytewax's side of an execution: it calls what `attach` puts into a flow as Bytewax would, on any number of workers.

Owns the order of the calls, what Bytewax remembers from one to the next (schedule, who is awake, refs), and all that
tests have to know of how the dataflow's rooms are built. It does not own clocks, ids and storages, which are passed in,
nor what has to come of a call. Called by the tests that run a step without Bytewax, each in its own story.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from bytewax_state.dataflow import execution
from bytewax_state.dataflow.execution import Step, utc_now
from bytewax_state.dataflow.group import GroupLogic
from bytewax_state.dataflow.lanes import Chunk, Sender, pack, spread
from bytewax_state.dataflow.logic_processor import LogicProcessor
from bytewax_state.dataflow.logics import Logic
from bytewax_state.dataflow.swap import by_logics
from bytewax_state.keyed.states import States
from bytewax_state.keygroups import group_of, groups_of_workers, names
from bytewax_state.settings import Settings
from bytewax_state.snapshot.background import Background
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.opening import Opened, storage_of
from bytewax_state.snapshot.versions import Versions
from bytewax_state.storage.storage import Storage
from bytewax_state.store.store import Store
from bytewax_state.store.table import Table

Items = list[tuple[str, Any]]
Refs = dict[int, bytes]
"""Key group to what Bytewax keeps for it."""
Look = dict[str, tuple[Any, datetime | None]]
"""Key to what its logic would be rebuilt from, and when it is to be notified."""
Answer = tuple[list[Items], bool]


class Execution:
    """One execution of one step. To be opened first; then batches, notifications and snapshots come as a test likes."""

    def __init__(
        self,
        step: StepId,
        settings: Settings,
        builder: Callable[[Any], Logic],
        workers: int = 1,
        refs: Mapping[int, Any] | None = None,
        epoch: int = 1,
        now: Callable[[], datetime] = utc_now,
        token: Callable[[int], bytes] = os.urandom,
        storage: Callable[[int], Storage] | None = None,
        watch: Callable[[Table], Table] = lambda table: table,
        around: Callable[[str], AbstractContextManager[None]] = lambda point: nullcontext(),
        small: int | None = None,
        background: Callable[[Callable[[], None]], Background] = Background,
    ) -> None:
        """Begin, as Bytewax does while it builds: nothing is read yet.

        :arg refs: Key group to what Bytewax loads for it.

        :arg epoch: Where it resumes.

        :arg token: Makes the random part of store ids.

        :arg storage: Gives a worker, by its index, that of the snapshots; else the settings name it.

        :arg watch: Told that a store opens; gets its table, and may give another one in its place.

        :arg around: Entered for each `open` of a worker, and for each `ref` that is asked for.

        :arg small: Up to how many bytes of changes are part of a manifest, if not as ever.

        :arg background: Does what need not be waited for.

        """
        self.epoch = epoch
        self.refs: Refs = {}
        """The newest of this execution."""
        self.settings = settings
        self._id = step
        self._given = dict(refs or {})
        self._now = now
        self._around = around
        self._route = {name: group for group, name in enumerate(names(settings.key_groups))}
        self._routes = groups_of_workers(settings.key_groups, workers)
        run_by, opens = by_logics(step.step_id, builder, settings), storage or (lambda index: storage_of(settings))
        self._sender = Sender(settings.key_groups, workers, run_by.is_timed)
        self._workers = [
            _Worker(Step(step, settings, run_by), index, workers, now, token, lambda _, index=index: opens(index))
            for index in range(workers)
        ]
        for worker in self._workers:
            worker.watch, worker.small, worker.background = watch, small, background
        self._logics: dict[int, GroupLogic] = {}
        self.schedule: dict[int, datetime] = {}
        """Key group to when it is to be notified."""
        self._awake: set[int] = set()

    # -- what Bytewax does

    def open(self) -> Items:
        """Load on all workers, and then say hello; return what was emitted."""
        workers = range(len(self._workers))
        for index in workers:
            self.load(index)
        return [item for index in workers for item in self.hello(index)]

    def load(self, index: int) -> None:
        """Give a worker its refs, and ask at once when the logics want to be notified."""
        worker = self._workers[index]
        for group in self._routes[index]:
            if group in self._given:
                self._logics[group] = GroupLogic(worker, worker.note(self._given[group]))
                self._ask(group)

    def hello(self, index: int, groups: Collection[int] | None = None) -> Items:
        """Wake all groups of a worker in the epoch where it resumes; the first one opens the store.

        :arg groups: Only these: wakes may come in several activations.

        """
        self._sender.note_epoch(self._sender.hello(), self.epoch)
        woken = [group for group in self._routes[index] if groups is None or group in groups]
        with self._around("open"):
            return self._take([(group, (group, self.epoch, [], not self._sender._is_timed)) for group in woken])

    def batch(self, items: Items) -> Items:
        """Hand a batch over, from the first worker."""
        parcels = pack(items)
        for parcel in parcels:
            self._sender.note_epoch(parcel, self.epoch)
        return self._take([(self._route[name], chunk) for name, chunk in spread(parcels)])

    def notify(self) -> Items:
        """Notify every group that is due."""
        now, out = self._now(), Items()
        for groups in self._routes:
            due = [group for group in groups if group in self.schedule and self.schedule[group] <= now]
            for group in due:
                del self.schedule[group]
            out += self._activate(due, lambda group: self._logics[group].on_notify())
        return out

    def end(self) -> Items:
        """Tell every group that the input ended."""
        out = Items()
        for groups in self._routes:
            there = [group for group in groups if group in self._logics]
            out += self._activate(there, lambda group: self._logics[group].on_eof())
        return out

    def snapshot(self, index: int) -> Refs:
        """Close the epoch on a worker: ask all that are awake for their refs, with nothing in between."""
        refs: Refs = {}
        for group in self._routes[index]:
            if group in self._awake:
                with self._around("ref"):
                    refs[group] = self._logics[group].snapshot()
                    self._settle(index)
        self.refs |= refs
        return refs

    def _settle(self, index: int) -> None:
        """Wait for what is deleted in the background, so that what happens does not depend on how long that takes."""
        versions = self._workers[index]._versions
        if versions is not None:
            versions.settle()

    def next_epoch(self) -> None:
        """Begin the next epoch, once all workers have closed this one."""
        self.epoch += 1
        self._awake.clear()

    def end_epoch(self) -> Refs:
        """Close the epoch on all workers, begin the next, and return the newest ref of each group."""
        for index in range(len(self._workers)):
            self.snapshot(index)
        self.next_epoch()
        return dict(self.refs)

    def close(self) -> None:
        """Drop everything, as at the end of a run, whether it ends well or not."""
        for worker in self._workers:
            worker.close()

    def kill(self) -> None:
        """End as by `kill -9`: what it had open is still there, half written."""
        self.close()
        for store_id in self.stores():
            folder = StoreId(self._id, store_id).folder(self.settings.dir)
            for part in ("live", "from-0/table"):
                (folder / part).mkdir(parents=True, exist_ok=True)
                (folder / part / "000007.sst").write_bytes(b"half a fi")

    def _take(self, chunks: list[tuple[int, Chunk]]) -> Items:
        """Hand chunks over: worker by worker, and group by group in the order of their names."""
        by_group: dict[int, list[Chunk]] = {}
        for group, chunk in chunks:
            by_group.setdefault(group, []).append(chunk)
        out = Items()
        for index, groups in enumerate(self._routes):
            for group in [group for group in groups if group in by_group and group not in self._logics]:
                self._logics[group] = GroupLogic(self._workers[index], None)
            out += self._activate(
                [group for group in groups if group in by_group],
                lambda group: self._logics[group].on_batch(by_group[group]),
            )
        return out

    def _activate(self, groups: Iterable[int], call: Callable[[int], Answer]) -> Items:
        """Call some groups, and then ask all of them when they want to be notified."""
        out = Items()
        for group in groups:
            emitted, complete = call(group)
            assert not complete, "a key group never goes"
            self._awake.add(group)
            out += [item for items in emitted for item in items]
        for group in groups:
            self._ask(group)
        return out

    def _ask(self, group: int) -> None:
        due = self._logics[group].notify_at()
        # `None` leaves the schedule as it was.
        if due is not None:
            self.schedule[group] = due

    # -- what is inside

    def stores(self) -> list[str]:
        """Name the stores of all workers."""
        return [worker._id.store_id for worker in self._workers]

    def versions(self) -> dict[str, int]:
        """Give the version of each store's last freeze; 0: none yet."""
        return {one._id.store_id: one._store.version if one._store is not None else 0 for one in self._workers}

    def ancestors(self) -> set[str]:
        """Name the stores that those of all workers go on from."""
        return {one for versions in self._all_versions() for one in versions._origin.ancestors}

    def durable(self) -> set[str]:
        """Name the files that the next versions will not upload, as paths below the step."""
        return {entry.path for versions in self._all_versions() for entry in versions._durable.files.values()}

    def contents(self) -> Look:
        """Read everything."""
        found = Look()
        for states in self._states():
            for keys in states.column.walk(lambda item: True):
                found |= {key: (states.column.live[key].snapshot(), states.timers.get(key)) for key in keys}
                states.settle()
        return found

    def look(self, group: int) -> Look:
        """Read all that a group has."""
        groups = self.settings.key_groups
        return {key: found for key, found in self.contents().items() if group_of(key, groups) == group}

    def pop_due(self, now: datetime) -> list[str]:
        """Take all keys off the schedules that are due by some time."""
        return sorted(key for states in self._states() for keys in states.pop_due(now, states.groups) for key in keys)

    def change(self, key: str, what: Callable[[Any], object]) -> None:
        """Change a logic and take its timer away, as a step of ours may, and Bytewax's core step cannot."""
        group = group_of(key, self.settings.key_groups)
        worker = self._workers[next(index for index, groups in enumerate(self._routes) if group in groups)]
        states = _states(worker)
        logic = states.column.fetch({key: None}).get(key)
        if logic is not None:
            what(logic)
            states.timers.drop(key)
            states.column.change([key])
            self._awake.add(group)
            worker.awake.add(group)
        states.settle()

    def _all_versions(self) -> list[Versions]:
        return [worker._versions for worker in self._workers if worker._versions is not None]

    def _states(self) -> list[States[Logic]]:
        return [_states(worker) for worker in self._workers if worker._store is not None]


class _Worker(execution.Execution):
    """A worker whose table is watched."""

    watch: Callable[[Table], Table]
    small: int | None
    background: Callable[[Callable[[], None]], Background]

    def _open(self) -> Store:
        store = super()._open()
        if self._versions is not None:
            self._versions._background = self.background(self._versions._retain)
        return store

    def _new_store(self, opened: Opened) -> Store:
        table = None if opened.table is None else self.watch(opened.table)
        store = super()._new_store(replace(opened, table=table))
        if store._rows is not None and self.small is not None:
            store._rows.small = self.small
        return store


def _states(worker: execution.Execution) -> States[Logic]:
    processor = worker._processor
    assert isinstance(processor, LogicProcessor)
    return processor.states
