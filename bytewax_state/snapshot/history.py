"""The history of one store: each version frozen, published, and in time deleted.

Owns what the next version can build on, and the order: freeze, publish, retain, tidy. It does not own the store, nor
when a version is due. Called by the dataflow at the end of an epoch in which the state changed.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from bytewax_state.errors import StorageError
from bytewax_state.settings import Settings
from bytewax_state.snapshot import retention
from bytewax_state.snapshot.manifest import FileEntry
from bytewax_state.snapshot.publish import Origin, publish
from bytewax_state.snapshot.storage import Storage
from bytewax_state.snapshot.workspace import Workspace
from bytewax_state.store.base import Store

logger = logging.getLogger("bytewax_state")


class History:
    """The versions of one store."""

    def __init__(
        self,
        storage: Storage,
        workspace: Workspace,
        origin: Origin,
        inherited: Mapping[str, FileEntry],
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        """Init.

        :arg storage: Where versions are published.

        :arg workspace: Where they are frozen.

        :arg origin: The store.

        :arg inherited: Local name to entry, of the files that it was restored from.

        :arg settings: Retention and threads.

        :arg now: Tells the time.

        """
        self._storage = storage
        self._workspace = workspace
        self._origin = origin
        self._durable = dict(inherited)
        self._settings = settings
        self._now = now
        self._past: list[retention.Published] = []

    def add(self, store: Store[Any], epoch: int) -> None:
        """Freeze and publish a version; when this returns, it is durable.

        :arg store: The store.

        :arg epoch: Newest epoch whose items it has seen.

        :raises StorageError: If it cannot be made durable.

        """
        frozen = store.freeze(self._workspace.frozen(store.version + 1))
        now = self._now()
        self._past = retention.note_freeze(self._past, frozen.version, now)
        threads = self._settings.upload_threads
        manifest = publish(self._storage, self._origin, frozen, self._durable, epoch, now, threads)
        self._durable = {entry.local: entry for entry in manifest.files}
        self._past.append(retention.published(manifest))
        self._retain(now)
        self._workspace.tidy(frozen.version)

    def _retain(self, now: datetime) -> None:
        todo = retention.plan(self._past, self._settings.retain_snapshots, self._settings.retain_for, now)
        if not todo.versions:
            return
        origin = self._origin
        try:
            retention.execute(self._storage, origin.flow_id, origin.step_id, origin.store_id, todo)
        except StorageError as ex:
            # What is left over costs space and nothing else; the next version tries again.
            logger.warning("old snapshots of step %r could not be deleted: %s", origin.step_id, ex)
            return
        self._past = [one for one in self._past if one.version not in todo.versions]
