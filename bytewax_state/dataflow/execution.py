"""One execution of one step on one worker: when its store opens and closes, and the refs that Bytewax keeps for it.

Owns the order of things: refs are noted while Bytewax loads, the first chunk opens the store with all of them known,
the first snapshot of an epoch publishes; and who of the key groups is awake. It does not own what is done with items (a
processor does), nor Bytewax's calls (`group`). Called by the logics of the key groups, in the worker's own thread.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from hashlib import blake2b
from pathlib import Path

from bytewax_state import metrics
from bytewax_state.dataflow.swap import Runner
from bytewax_state.errors import BytewaxStateError, ConfigError, IncompatibleError, SnapshotMissingError
from bytewax_state.keyed.processor import Item, Processor
from bytewax_state.keygroups import groups_of_workers
from bytewax_state.settings import Settings, keys_of
from bytewax_state.snapshot.layout import StepId, StoreId, new_store_id
from bytewax_state.snapshot.opening import Opened, OpenStorage, check_free, open_step, storage_of
from bytewax_state.snapshot.ref import Ref, decode_ref
from bytewax_state.snapshot.versions import Versions
from bytewax_state.store.store import Backend, Store, heap, rocksdb
from bytewax_state.store.values import MARK_BYTES

logger = logging.getLogger("bytewax_state")

TICK = timedelta(milliseconds=100)
"""How long something that is due may have to wait, as Bytewax was not told of it or its key group is not awake."""

_TASKS = Path("/proc/self/task")
"""Where Linux shows the threads of this process."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stateful core step, as all workers of a process share it."""

    id: StepId
    settings: Settings
    run: Runner
    """What runs it on each worker."""
    failures: list[BytewaxStateError] = field(default_factory=list, compare=False)
    """What ended executions in this process. Bytewax may show another error, where there are several processes."""


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(timezone.utc)


class Execution:
    """A step on one worker, from Bytewax's first call to the end of the execution."""

    def __init__(
        self,
        step: Step,
        worker_index: int,
        worker_count: int,
        now: Callable[[], datetime] = utc_now,
        token: Callable[[int], bytes] = os.urandom,
        storage: OpenStorage = storage_of,
    ) -> None:
        """Init.

        :arg worker_index: Of this worker.

        :arg worker_count: How many workers the execution has.

        :arg now: Tells the time.

        :arg token: Makes random bytes, for the store's id.

        :arg storage: Opens the storage of the snapshots.

        """
        self.step = step
        self.now = now
        self.epoch = 0
        """Newest epoch whose chunks were seen."""
        self.groups = groups_of_workers(step.settings.key_groups, worker_count)[worker_index]
        """The key groups of this worker, in the order in which Bytewax calls them."""
        self.awake: set[int] = set()
        """Those that Bytewax will ask for a ref when the epoch closes. Only their rows may change."""
        self._anchor = self.groups[-1] if self.groups else None
        """Does the work of all: Bytewax calls it after all others, and all items come under its name."""
        self._has_begun = False  # whether the anchor was called when all were awake
        self._untold: set[int] = set()  # those for whose keys more items may come in this epoch without another wake
        self._calls: dict[int, datetime] = {}  # key group to when Bytewax notifies it next
        self._thread = threading.get_native_id()
        self._keys = keys_of(step.settings)
        self._index = worker_index
        self._count = worker_count
        self._storage = storage
        self._id = StoreId(step.id, new_store_id(now(), worker_index, token(4)))
        self._given: dict[int, tuple[Ref, bytes]] = {}
        self._refs: dict[int, tuple[int, bytes]] = {}  # key group to its newest ref, with the version that it names
        self._store: Store | None = None
        self._processor: Processor
        self._versions: Versions | None = None
        self._resources = ExitStack()
        weakref.finalize(self, self._resources.close)

    # -- before the first chunk

    @property
    def is_over(self) -> bool:
        """Whether the thread that ran this execution has ended, as far as the system tells."""
        return _TASKS.is_dir() and not (_TASKS / str(self._thread)).exists()

    def check_free(self) -> None:
        """Refuse to begin beside another run of this worker.

        :raises ConflictError: If there is one.

        :raises StorageError: If that cannot be told.

        """
        check_free(self.step.settings, self.step.id, self._index)

    def note(self, resume: object) -> int:
        """Note what Bytewax kept for a key group; nothing is read yet.

        :arg resume: What `snapshot` returned in an execution before.

        :returns: The key group.

        :raises UsageError: If it is no ref.

        :raises ConfigError: If there is nothing to restore from.

        :raises IncompatibleError: If it was made with another number of key groups.

        """
        step, settings = self.step, self.step.settings
        ref = decode_ref(resume, step.id, self._keys)
        if ref.key_groups != settings.key_groups:
            msg = (
                f"the state of step {step.id.step_id!r} has {ref.key_groups} key groups, and BYTEWAX_STATE_KEY_GROUPS "
                f"is {settings.key_groups}; set it back to {ref.key_groups}"
            )
            raise IncompatibleError(msg)
        if settings.uri is None:
            msg = (
                f"step {step.id.step_id!r} resumes from a snapshot, and BYTEWAX_STATE_URI is none; set it to where the "
                "snapshots are, or start with an empty recovery directory"
            )
            raise ConfigError(msg)
        assert isinstance(resume, bytes)
        self._given[ref.group] = (ref, resume)
        return ref.group

    def given(self, group: int) -> bytes:
        """Return the ref that was noted for a key group."""
        return self._given[group][1]

    def open(self) -> Processor:
        """Open the store, with all refs known, unless it is open.

        :returns: What runs the step.

        :raises BytewaxStateError: If it cannot be opened or restored.

        """
        if self._store is None:
            self._check_given()
            self._store = self._open()
            mark = blake2b(self._id.store_id.encode(), digest_size=MARK_BYTES).digest()
            self._processor = self.step.run.make(self._store, mark, self.now)
            self._processor.restore()
        return self._processor

    def _check_given(self) -> None:
        missing = sorted(set(self.groups) - self._given.keys())
        if self._given and missing:
            msg = (
                f"the recovery directory has no row for key group {missing[0]} of step {self.step.id.step_id!r}, "
                f"though it has rows for {len(self._given)} others of this worker; give Bytewax all recovery "
                "partitions of the flow"
            )
            raise SnapshotMissingError(msg)

    # -- while it runs

    def on_chunk(self, group: int, epoch: int, items: list[Item], more: bool) -> list[Item]:
        """Take a chunk in.

        :arg group: Key group under whose name it came.

        :arg epoch: Its epoch.

        :arg items: Its items; none: it is a wake.

        :arg more: Whether more items may come for keys of the group in this epoch without another wake.

        :returns: Items to emit.

        """
        self.epoch = epoch
        self.awake.add(group)
        if more:
            self._untold.add(group)
        if group != self._anchor:
            return []
        if self._has_begun:
            return self._processor.on_items(items) if items else []
        # As in Bytewax, what is due when a run resumes comes before the first item. The wakes of many key groups come
        # in several activations, of which the anchor's need not be the last.
        self._has_begun = len(self.awake) == len(self.groups)
        out = self._processor.on_due(self.awake)
        return out + self._processor.on_items(items) if items else out

    def on_notify(self, group: int) -> list[Item]:
        """Do what is due, if the anchor does not come in this same activation, and does it for all who are awake.

        :arg group: Key group that is notified.

        :returns: Items to emit.

        """
        self.awake.add(group)
        self._calls.pop(group, None)
        self._processor.visit(group)
        if group == self._anchor:
            return self._processor.on_due(self.awake)
        return self._processor.on_due((group,)) if self._call_of(self._anchor) > self.now() else []

    def on_eof(self, group: int) -> list[Item]:
        """Take note that the input has ended; Bytewax tells all key groups, and the anchor last.

        :arg group: Key group that is told.

        :returns: Items to emit.

        """
        self.awake.add(group)
        return self._processor.on_end() if group == self._anchor else []

    def notify_at(self, group: int | None) -> datetime | None:
        """Say when a key group is to be notified next.

        :arg group: Key group of a step that may have timers.

        :returns: Time; `None`: never.

        """
        assert group is not None
        if group == self._anchor:
            due = self._processor.next(group, self.awake, self._call_of)
        else:
            due = self._processor.next_of(group)
            if group in self._untold:
                # Bytewax is not told of the timers that later chunks will set.
                tick = self.now() + TICK
                due = tick if due is None else min(due, tick)
        if due is not None:
            # `None` leaves Bytewax's schedule as it is.
            self._calls[group] = due
        return due

    def _call_of(self, group: int | None) -> datetime:
        """Say when Bytewax notifies a key group next; if it does not, as the group is still to be woken, in a tick."""
        return self._calls[group] if group in self._calls else self.now() + TICK

    def snapshot(self, group: int) -> bytes:
        """Make the state durable, if it changed since the last call, and name it.

        :returns: Ref of the group.

        :raises BytewaxStateError: If it cannot be made durable; the epoch then never happened.

        """
        store = self._store
        assert store is not None
        if self._versions is not None and (store.version == 0 or store.is_changed):
            self._publish(store, self._versions)
        self.awake.discard(group)
        self._untold.discard(group)
        version, ref = self._refs.get(group, (-1, b""))
        if version != store.version:
            ref = Ref(self._id.store_id, store.version, group, self.step.settings.key_groups).encode(
                self.step.id, self._keys
            )
            self._refs[group] = store.version, ref
        return ref

    def _publish(self, store: Store, versions: Versions) -> None:
        changed = store.flush()
        # Bytewax asks only groups that are awake for a ref. A group that changed while it was not awake would keep its
        # old ref, and a resume would go on without the change.
        assert changed <= self.awake, f"key groups {sorted(changed - self.awake)} changed and are not awake"
        if changed or store.version == 0:
            versions.wait(versions.freeze(store, self.epoch))

    # -- at its end

    def fail(self, ex: BaseException) -> None:
        """Let go of everything, and say why, if the reason is ours: where there are several processes, Bytewax may
        come to its end over the broken connection to another one, and hide it.

        :arg ex: What is about to be raised.

        """
        self.close()
        if isinstance(ex, BytewaxStateError):
            # A copy, as the frames in the traceback of the original would keep the store alive, and its folder locked.
            self.step.failures.append(type(ex)(str(ex)))
            logger.error("step %r ends the run: %s: %s", self.step.id.step_id, ex.kind, ex)

    def close(self) -> None:
        """Let go of the store and its folder; what was not published is lost. May be called more than once."""
        self._resources.close()

    def _open(self) -> Store:
        refs = [ref for ref, _ in self._given.values()]
        opened = open_step(
            self.step.settings, self._id, self._index, self._count, refs, self.step.run.states, self.now, self._storage
        )
        self._resources.callback(opened.close)
        self._versions = opened.versions
        store = self._new_store(opened)
        self._resources.callback(store.close)
        return store

    def _new_store(self, opened: Opened) -> Store:
        return Store(opened.table, self._backend(), self.step.settings.key_groups, self.groups, opened.rows)

    def _backend(self) -> Backend:
        settings, step_id = self.step.settings, self.step.id.step_id
        if settings.backend == "heap":
            return heap
        return rocksdb(settings.cache_entries, partial(metrics.missed, step_id), partial(metrics.spilled, step_id))
