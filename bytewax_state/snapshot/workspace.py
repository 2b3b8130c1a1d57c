"""The local folder of one store: its lock, its live table, its frozen images.

Owns that two runs never share a folder, and what is left behind: frozen images for a fast restart, nothing of dead
executions. It does not own what lies in the files. All of it may be lost at any time. Called by `opening` and
`versions`.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bytewax_state.errors import ConflictError, StorageError
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.lock import FileLock
from bytewax_state.storage.local import link, local_disk

KEPT_IMAGES = 2
"""How many frozen images stay, for a fast restart."""

LINKS_NEEDED = (
    "a frozen image of a table consists of them; set BYTEWAX_STATE_DIR to a folder of a file system that has them, "
    "such as ext4, xfs, btrfs or tmpfs"
)
"""What to do about a file system without hard links."""


class Workspace:
    """The local folder of one store, locked for one step and worker index."""

    def __init__(self, root: Path, store: StoreId, worker_index: int, worker_count: int) -> None:
        """Lock it, and throw away what dead executions left, but for their frozen images: those of this worker index,
        and of indices that there are no workers for any more.

        :arg root: Local folder of all flows.

        :arg worker_index: Index of the worker; one run at a time may use it.

        :arg worker_count: How many workers the execution has.

        :raises ConflictError: If another run holds it.

        :raises StorageError: If it cannot be written.

        """
        self.root = root
        self.live = store.live(root)
        self._store = store
        self._index = worker_index
        self._count = worker_count
        self._lock = FileLock(store.step.lock(root, worker_index))
        try:
            with local_disk(root):
                for other in self._others(worker_index):
                    _keep_frozen(other)
                self._abandon(_keep_frozen)
        except BaseException:
            self._lock.release()
            raise

    def check_links(self) -> None:
        """See that images can be frozen here, before there is one to freeze.

        :raises StorageError: If they cannot.

        """
        probe = self.live.parent / "link"
        with local_disk(probe):
            probe.parent.mkdir(parents=True, exist_ok=True)
            link(self._lock.path, probe, LINKS_NEEDED)
            probe.unlink()

    def frozen(self, version: int) -> Path:
        """Name the folder of a frozen image.

        :arg version: Of the store.

        :returns: Path; its parent exists.

        :raises StorageError: If that cannot be made.

        """
        path = self._store.frozen(self.root, version)
        with local_disk(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def tidy(self, version: int) -> None:
        """Remove what a fast restart no longer needs, once a version with an image is published; nothing once closed.

        :arg version: The version. What dead executions of this worker index left goes too, and what those of indices
            left that there are no workers for any more.

        :raises StorageError: If the local disk fails.

        """
        if not self._lock.is_held:
            # Garbage collection may close an execution in the very thread that tidies up. The next run may have begun,
            # and would lose its live table.
            return
        with local_disk(self.root):
            for image in self._store.images(self.root)[:-KEPT_IMAGES]:
                _remove(image)
            for other in self._others(self._index):
                _remove(other)
            if version == 1:
                self._abandon(_remove)

    def close(self) -> None:
        """Throw the live table away, which nothing reads again, and unlock the folder.

        Does nothing the next time, nor in a forked child: the folder is its parent's.
        """
        if self._lock.is_held:
            shutil.rmtree(self.live, ignore_errors=True)
            self._lock.release()

    def _others(self, worker_index: int) -> list[Path]:
        """Name the folders of other stores that a worker index made."""
        stores = self._store.step.local_stores(self.root, worker_index)
        return [store.folder(self.root) for store in stores if store != self._store]

    def _abandon(self, clear: Callable[[Path], None]) -> None:
        """Clear what indices left that there are no workers for any more; each is the business of one worker."""
        for index in self._store.step.local_workers(self.root):
            if index >= self._count and index % self._count == self._index:
                # If a run with more workers is still there, it holds the lock of that index. It keeps what it has.
                with suppress(ConflictError, StorageError):
                    self._clear(index, clear)

    def _clear(self, worker_index: int, clear: Callable[[Path], None]) -> None:
        lock = FileLock(self._store.step.lock(self.root, worker_index))
        try:
            for other in self._others(worker_index):
                clear(other)
            if not self._others(worker_index):
                lock.remove()
        finally:
            lock.release()


def check_free(root: Path, step: StepId, worker_index: int) -> None:
    """Refuse to begin beside another run, before Bytewax notes the new execution in the recovery directory.

    :arg root: Local folder of all flows.

    :arg worker_index: Index of the worker.

    :raises ConflictError: If another run holds it.

    :raises StorageError: If that cannot be told.

    """
    path = step.lock(root, worker_index)
    if path.exists():
        FileLock(path).release()


def _keep_frozen(folder: Path) -> None:
    """Remove all of a dead store but its frozen images."""
    for path in folder.iterdir():
        if path.name != "frozen":
            _remove(path)
    # A folder with frozen images in it is not empty, so it stays.
    with suppress(OSError):
        folder.rmdir()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
