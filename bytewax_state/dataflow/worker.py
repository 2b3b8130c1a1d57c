"""One execution of one step on one worker: when its store opens and closes, and the refs that Bytewax keeps for it.

Owns the order of things: refs are noted while Bytewax loads, the first chunk opens the store with all of them known,
the first snapshot of an epoch publishes. It does not own the calls on the user's logics (`group`).
Called by the logics of the key groups, in the worker's own thread.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bytewax_state import metrics
from bytewax_state.codecs import codec
from bytewax_state.dataflow.logics import Logic, LogicRows
from bytewax_state.errors import BytewaxStateError, ConfigError, IncompatibleError, SnapshotMissingError
from bytewax_state.settings import Settings, keys_of
from bytewax_state.snapshot.layout import StepId, StoreId, new_store_id
from bytewax_state.snapshot.manifest import State
from bytewax_state.snapshot.opening import Opened, OpenStorage, check_free, open_step, storage_of, tell_places
from bytewax_state.snapshot.ref import Ref, decode_ref
from bytewax_state.snapshot.versions import Versions
from bytewax_state.store.base import STATE, Slice, Store
from bytewax_state.store.heap import HeapStore
from bytewax_state.store.rocksdb import RocksDBStore
from bytewax_state.store.values import MARK_BYTES

logger = logging.getLogger("bytewax_state")

_TASKS = Path("/proc/self/task")
"""Where Linux shows the threads of this process."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stateful core step, as all workers of a process share it."""

    id: StepId
    settings: Settings
    builder: Callable[[Any], Logic]
    wakes: bool = True
    """Whether a logic of the step may ever want to be notified."""
    ends: bool = True
    """Whether the end of input may mean anything to a logic of the step."""
    failures: list[BytewaxStateError] = field(default_factory=list, compare=False)
    """What ended executions in this process. Bytewax may show another error, where there are several processes."""


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(timezone.utc)


class StepWorker:
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

        :arg step: Step.

        :arg worker_index: Of this worker.

        :arg worker_count: How many workers the execution has.

        :arg now: Tells the time.

        :arg token: Makes random bytes, for the store's id.

        :arg storage: Opens the storage of the snapshots.

        """
        self.step = step
        self.now = now
        self._thread = threading.get_native_id()
        self.epoch = 0
        """Newest epoch whose chunks were seen."""
        self.changed = True
        """Whether there is something to publish. A store that was just opened has refs of its own to give."""
        self.rows = LogicRows(step.id.step_id, step.builder, codec(step.settings.codec), step.wakes)
        self._keys = keys_of(step.settings)
        self._index = worker_index
        self._count = worker_count
        self._storage = storage
        self._id = StoreId(step.id, new_store_id(now(), worker_index, token(4)))
        self._given: dict[int, tuple[Ref, bytes]] = {}
        self._rows: Mapping[int, int | None] = {}  # restored key group to its number of keys, if known
        self._groups: set[int] = set()
        self._store: Store[Logic] | None = None
        self._versions: Versions | None = None
        self._resources = ExitStack()
        weakref.finalize(self, self._resources.close)

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

    def wake(self, group: int) -> Slice[Logic]:
        """Take a key group in, opening the store at the first one.

        :arg group: Key group.

        :returns: Its slice.

        :raises BytewaxStateError: If the store cannot be opened or restored.

        """
        if self._store is None:
            self._store = self._open()
        if self._given and group not in self._given:
            msg = (
                f"the recovery directory has no row for key group {group} of step {self.step.id.step_id!r}, though it "
                f"has rows for {len(self._given)} others of this worker; give Bytewax all recovery partitions of the "
                "flow"
            )
            raise SnapshotMissingError(msg)
        self._groups.add(group)
        self.changed = True
        return self._store.add(group, group in self._given, self._rows.get(group))

    def snapshot(self, group: int | None) -> bytes:
        """Make the state durable, if it changed since the last call, and name it.

        :arg group: Key group.

        :returns: Ref of the group.

        :raises BytewaxStateError: If it cannot be made durable; the epoch then never happened.

        """
        assert group is not None
        store = self._store
        if store is None or group not in self._groups:
            return self._given[group][1]  # Bytewax is still loading
        if self.changed and self._versions is not None:
            self._versions.wait(self._versions.freeze(store, self.epoch))
        self.changed = False
        ref = Ref(self._id.store_id, store.version, group, self.step.settings.key_groups)
        return ref.encode(self.step.id, self._keys)

    def fail(self, ex: BaseException) -> None:
        """Let go of everything, and say why, if the reason is ours: where there are several processes, Bytewax may
        come to its end over the broken connection to another one, and hide it.

        :arg ex: What is about to be raised.

        """
        self.close()
        if isinstance(ex, BytewaxStateError):
            # Without its traceback, whose frames would keep the store.
            self.step.failures.append(type(ex)(str(ex)))
            logger.error("step %r ends the run: %s: %s", self.step.id.step_id, ex.kind, ex)

    def close(self) -> None:
        """Let go of the store and its folder; what was not published is lost. May be called more than once."""
        self._resources.close()

    def _open(self) -> Store[Logic]:
        refs = [ref for ref, _ in self._given.values()]
        opened = open_step(
            self.step.settings, self._id, self._index, self._count, refs, self._states(), self.now, self._storage
        )
        self._resources.callback(opened.close)
        self._rows, self._versions = opened.rows, opened.versions
        store = self._new_store(opened)
        self._resources.callback(store.close)
        return store

    def _states(self) -> dict[str, State]:
        return {"logic": State(id=STATE, kind="logic", codec=self.step.settings.codec, ttl=None)}

    def _new_store(self, opened: Opened) -> Store[Logic]:
        settings, table = self.step.settings, opened.table
        if table is None:
            return HeapStore(self.rows, None)
        if settings.backend == "heap":
            return HeapStore(self.rows, lambda: table)
        return RocksDBStore(
            self.rows,
            lambda: table,
            capacity=settings.cache_entries,
            groups=settings.key_groups // self._count,
            missed=partial(metrics.missed, self.step.id.step_id),
            spilled=partial(metrics.spilled, self.step.id.step_id),
            mark=blake2b(self._id.store_id.encode(), digest_size=MARK_BYTES).digest(),
        )


_newest: weakref.WeakValueDictionary[tuple[Path, StepId, int], "StepWorker"] = weakref.WeakValueDictionary()
"""The newest execution of each step and worker index in this process, by the local folder that it locks."""


class Workers:
    """The workers of one step in this process, found by the thread that runs them.

    Not by `threading.local`: a thread of Bytewax's loses its Python locals between two calls. A worker is held here
    from the build of its lifecycle source until the first logic of a key group is built, and by its logics from then
    on; when Bytewax drops them, at the end of an execution, it closes.
    """

    def __init__(self, step: Step) -> None:
        """Init.

        :arg step: Step.

        """
        self.step = step
        self._begun: dict[int, StepWorker] = {}
        self._running: weakref.WeakValueDictionary[int, StepWorker] = weakref.WeakValueDictionary()

    def begin(self, worker_index: int, worker_count: int) -> None:
        """Begin an execution on the worker of this thread.

        :arg worker_index: Of the worker.

        :arg worker_count: How many workers the execution has.

        :raises ConflictError: If another run has that index. Bytewax has written nothing of this one yet; once it has,
            it may not resume the other one any more.

        """
        worker = StepWorker(self.step, worker_index, worker_count)
        place = self.step.settings.dir, self.step.id, worker_index
        before = _newest.get(place)
        if before is not None and before.is_over:
            # Bytewax now and then keeps a logic of a thread that has ended, and with it the lock of its store.
            before.close()
        try:
            worker.check_free()
        except BaseException as ex:
            worker.fail(ex)
            raise
        tell_places(self.step.id.flow_id, self.step.settings)
        _newest[place] = worker
        self._begun[threading.get_ident()] = worker

    def here(self) -> StepWorker:
        """Return the worker of this thread."""
        ident = threading.get_ident()
        begun = self._begun.pop(ident, None)
        if begun is None:
            return self._running[ident]
        self._running[ident] = begun
        return begun
