"""The local folder of one store: its lock, its live table, its frozen images.

Owns that two runs never share a folder, and what is left behind: frozen images for a fast restart, nothing of dead
executions. It does not own what lies in the files. All of it may be lost at any time. Called by the dataflow.
"""

import fcntl
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO

from bytewax_state.errors import ConflictError, StorageError
from bytewax_state.snapshot.failing import local_disk
from bytewax_state.snapshot.layout import frozen_dir, live_dir, local_stores, local_workers, lock_path, store_dir

logger = logging.getLogger("bytewax_state")

FROZEN = 2
"""How many frozen images stay, for a fast restart."""


class Workspace:
    """The local folder of one store, locked for one step and worker index."""

    def __init__(
        self, root: Path, flow_id: str, step_id: str, store_id: str, worker_index: int, worker_count: int
    ) -> None:
        """Lock it, and throw away what a dead execution of this worker index left, but for its frozen images.

        :arg root: Local folder of all stores.

        :arg flow_id: Flow.

        :arg step_id: Full id of the core step.

        :arg store_id: The store.

        :arg worker_index: Index of the worker; one run at a time may use it.

        :arg worker_count: How many workers the execution has.

        :raises ConflictError: If another run holds it.

        :raises StorageError: If it cannot be written.

        """
        self.root = root
        self.live = live_dir(root, flow_id, step_id, store_id)
        self._names = (flow_id, step_id)
        self._store_id = store_id
        self._index = worker_index
        self._count = worker_count
        self._lock: IO[str] | None = _lock(lock_path(root, flow_id, step_id, worker_index))
        with local_disk(root):
            for other in self._others(worker_index):
                _keep_frozen(other)

    def frozen(self, version: int) -> Path:
        """Name the folder of a frozen image.

        :arg version: Of the store.

        :returns: Path; its parent exists.

        :raises StorageError: If that cannot be made.

        """
        path = frozen_dir(self.root, *self._names, self._store_id, version)
        with local_disk(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def tidy(self, version: int) -> None:
        """Remove what a fast restart no longer needs, once a version is published.

        :arg version: The version. What dead executions of this worker index left goes too, and what those of indices
            left that there are no workers for any more.

        """
        shutil.rmtree(self.frozen(version - FROZEN), ignore_errors=True)
        for other in self._others(self._index):
            shutil.rmtree(other, ignore_errors=True)
        if version == 1:
            for index in local_workers(self.root, *self._names):
                if index >= self._count and index % self._count == self._index:
                    self._abandon(index)

    def close(self) -> None:
        """Throw the live table away, which nothing reads again, and unlock the folder."""
        if self._lock is not None:
            shutil.rmtree(self.live, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def _others(self, worker_index: int) -> list[Path]:
        """Name the folders of other stores that a worker index made."""
        stores = local_stores(self.root, *self._names, worker_index)
        return [store_dir(self.root, *self._names, one) for one in stores if one != self._store_id]

    def _abandon(self, worker_index: int) -> None:
        """Remove what a worker index left, unless a run with more workers is still there."""
        path = lock_path(self.root, *self._names, worker_index)
        with suppress(ConflictError, StorageError), _lock(path):
            for other in self._others(worker_index):
                shutil.rmtree(other, ignore_errors=True)


def check_free(root: Path, flow_id: str, step_id: str, worker_index: int) -> None:
    """Refuse to begin beside another run, before Bytewax notes the new execution in the recovery directory.

    :arg root: Local folder of all stores.

    :arg flow_id: Flow.

    :arg step_id: Full id of the core step.

    :arg worker_index: Index of the worker.

    :raises ConflictError: If another run holds it.

    :raises StorageError: If that cannot be told.

    """
    path = lock_path(root, flow_id, step_id, worker_index)
    if path.exists():
        _lock(path).close()


def _keep_frozen(folder: Path) -> None:
    """Remove all of a dead store but its frozen images."""
    for path in folder.iterdir():
        if path.name != "frozen":
            shutil.rmtree(path, ignore_errors=True)


def _lock(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as ex:
        msg = f"the local folder {path.parent} cannot be written: {ex.strerror}; set BYTEWAX_STATE_DIR to one that can"
        raise StorageError(msg) from ex
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as ex:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        msg = (
            f"another run holds {path} (process {holder}): the same flow with the same worker index is running on this "
            "BYTEWAX_STATE_DIR; end it, or give this run a folder of its own"
        )
        raise ConflictError(msg) from ex
    except OSError as ex:
        file.close()
        msg = f"{path} cannot be locked: {ex.strerror}; set BYTEWAX_STATE_DIR to a folder of a local disk"
        raise StorageError(msg) from ex
    with local_disk(path):
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    return file
