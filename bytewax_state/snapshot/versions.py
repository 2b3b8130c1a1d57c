"""The versions of one store: each frozen, published, and in time deleted.

Owns what waits to be published, what the next version can build on, and the order: freeze, publish, and in the
background retain and tidy. It does not own the store, nor when a version is due. Called by the dataflow at the end of
an epoch in which the state changed: it freezes, and waits until that version is durable.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bytewax_state.errors import ConflictError
from bytewax_state.settings import Settings
from bytewax_state.snapshot.ahead import Ahead
from bytewax_state.snapshot.background import Background
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.lineage import Lineage
from bytewax_state.snapshot.manifest import CLAIM, FileEntry, Manifest, name_of
from bytewax_state.snapshot.origin import Origin
from bytewax_state.snapshot.publish import Durable, Sent, plan, publish, send
from bytewax_state.snapshot.retention import Collector, Policy
from bytewax_state.snapshot.workspace import Workspace
from bytewax_state.store.store import Frozen, Store


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A version that is to be published."""

    frozen: Frozen
    epoch: int
    """Newest epoch whose items it has seen."""
    at: datetime
    """When it was frozen."""


class Versions:
    """The versions of one store."""

    def __init__(
        self,
        catalog: Catalog,
        workspace: Workspace,
        origin: Origin,
        lineage: Lineage,
        inherited: Mapping[str, FileEntry],
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        """Init.

        :arg catalog: Where versions are published.

        :arg workspace: Where they are frozen.

        :arg origin: The store.

        :arg lineage: What it was restored from.

        :arg inherited: Local name to entry, of the files that it was restored from.

        :arg settings: Retention and threads.

        :arg now: Tells the time.

        """
        self._catalog = catalog
        self._workspace = workspace
        self._origin = origin
        self._durable = Durable(inherited)
        self._threads = settings.upload_threads
        self._now = now
        self._waiting: deque[_Waiting] = deque()
        policy = Policy(settings.retain_snapshots, settings.retain_for)
        self._collector = Collector(catalog, origin.store, policy, now, lineage)
        self._ancestors = origin.ancestors  # those that there still are; any of before are more, and do no harm
        self._images: deque[int] = deque()  # versions that were published, and have not been tidied up behind
        self._background = Background(self._retain)
        self._ahead = Ahead(workspace.live, self._send)

    def freeze(self, store: Store, epoch: int) -> int:
        """Freeze the next version, which is to be published then.

        :arg epoch: Newest epoch whose items it has seen.

        :raises StorageError: If the local disk fails.

        """
        frozen = store.freeze(self._workspace.frozen(store.version + 1), whole=False)
        now = self._now()
        self._collector.note_freeze(frozen.version, now)
        self._waiting.append(_Waiting(frozen, epoch, now))
        return frozen.version

    def wait(self, version: int) -> None:
        """Return once a version is durable.

        :arg version: One that was frozen.

        :raises StorageError: If it cannot be made durable, or the local disk failed since the last time.

        :raises ConflictError: If another execution took this one for dead before it published anything.

        """
        self._background.check()
        while self._waiting and self._waiting[0].frozen.version <= version:
            one = self._waiting[0]
            self._publish(one)
            self._waiting.popleft()
            if one.frozen.path is not None:
                self._images.append(one.frozen.version)
                self._ahead.begin()
            if self._images or self._collector.is_due():
                self._background.ask()

    def settle(self) -> None:
        """Return once all that is due by now is deleted; otherwise see `wait`."""
        self._background.settle()

    def close(self) -> None:
        """Return once nothing is being uploaded or deleted any more. May be called more than once."""
        self._ahead.close()
        self._background.close()

    def _publish(self, one: _Waiting) -> None:
        todo = plan(one.frozen.path, self._durable)
        ahead = self._ahead.end() if todo.new else {}
        self._collector.note_upload(self._origin.store.file(path.name) for path in todo.new)
        origin = replace(self._origin, ancestors=self._ancestors)
        early = self._ahead.tell() if todo.new else []
        manifest = publish(self._catalog, origin, one.frozen, todo, ahead, early, one.epoch, one.at, self._threads)
        if manifest.version == 1:
            self._check_claim(manifest)
        self._durable = Durable({entry.local: entry for entry in manifest.files}, manifest.inline)
        left = None
        if todo.new:
            # Nothing is uploaded ahead just now, so nothing can be noted in between.
            left = map(self._origin.store.file, self._ahead.note_published(self._durable.files))
        self._collector.note_published(manifest, left)

    def _send(self, path: Path) -> Sent:
        self._collector.note_upload([self._origin.store.file(path.name)])
        return send(self._catalog.storage, self._origin.store, path)

    def _retain(self) -> None:
        self._ancestors = self._collector.collect()
        while self._images:
            self._workspace.tidy(self._images.popleft())

    def _check_claim(self, manifest: Manifest) -> None:
        """See that nobody has deleted what the first version was built on; see `sweep`."""
        storage = self._catalog.storage
        if storage.size(manifest.store.manifest(CLAIM)) is None:
            storage.delete([name_of(manifest)])
            msg = (
                f"the claim of store {manifest.store_id!r} of step {manifest.step_id!r} is gone from {storage.url}: "
                "another run took this one for dead, and may have deleted what it was restored from; end the other "
                "run, or this one, and start again"
            )
            raise ConflictError(msg)
