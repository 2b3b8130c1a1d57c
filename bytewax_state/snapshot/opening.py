"""Opening: settings and refs → what a store begins with.

Owns which parts of the snapshots a step needs, what each of them is given, and in which order they are let go: what is
done in the background comes to its end, then the table is closed, and then the folder that it lies in is unlocked. It
does not own what a part does, nor the store. Called by the dataflow, when the first item of an execution comes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from bytewax_state.registry import State
from bytewax_state.settings import Settings, keys_of
from bytewax_state.snapshot import workspace
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.lineage import Lineage
from bytewax_state.snapshot.origin import Origin
from bytewax_state.snapshot.publish import claim
from bytewax_state.snapshot.ref import Ref
from bytewax_state.snapshot.restore import Restored, restore
from bytewax_state.snapshot.versions import Versions
from bytewax_state.snapshot.workspace import Workspace
from bytewax_state.storage.storage import Storage
from bytewax_state.storage.uri import open_storage, shared_url
from bytewax_state.store.table import Memory, Table

logger = logging.getLogger("bytewax_state")

_logged: set[tuple[str, str | None, Path]] = set()

OpenStorage: TypeAlias = Callable[[Settings], Storage]
"""Opens the storage that settings name."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a store begins with."""

    table: Table | None = None
    """Open, and the store's from now on; `None`: there is none, and nothing is ever frozen."""
    rows: Mapping[int, int | None] = field(default_factory=dict)
    """Restored key group to the number of its keys that have a state; `None`: nobody counted them."""
    versions: Versions | None = None
    """`None`: no snapshots are taken."""
    resources: ExitStack = field(default_factory=ExitStack, repr=False)
    """The versions, the table and the folder, to be let go of in this order."""

    def close(self) -> None:
        """Wait for what is done in the background, close the table, if the store has not, and unlock the folder."""
        self.resources.close()


def storage_of(settings: Settings) -> Storage:
    """Open the storage that settings name.

    :arg settings: With a URI.

    :raises ConfigError: If they name none that can be used.

    """
    assert settings.uri is not None
    return open_storage(settings.uri, settings.storage_options, settings.upload_threads)


def open_step(
    settings: Settings,
    store: StoreId,
    worker_index: int,
    worker_count: int,
    refs: Sequence[Ref],
    states: Mapping[str, State],
    now: Callable[[], datetime],
    storage: OpenStorage,
) -> Opened:
    """Open what a store begins with, restored from the snapshots that refs name.

    :arg settings: Of the step.

    :arg store: Id of the new store.

    :arg worker_count: How many workers the execution has.

    :arg refs: One for every key group of this worker; none: the step begins with nothing.

    :arg states: Name to state, as manifests tell them.

    :arg now: Tells the time.

    :arg storage: Opens the storage of the snapshots.

    :returns: What was opened; to be closed, after the store.

    :raises BytewaxStateError: If something cannot be opened or restored. Nothing is left open then.

    """
    if not _needs_folder(settings):
        return Opened()
    with ExitStack() as resources:
        space = Workspace(settings.dir, store, worker_index, worker_count)
        resources.callback(space.close)
        if settings.uri is None:
            table = _new_table(settings, space)
            resources.callback(table.close)
            return Opened(table, resources=resources.pop_all())
        space.check_links()
        catalog = Catalog(storage(settings), keys_of(settings), settings.upload_threads)
        origin = Origin(store, settings.key_groups, states, settings.backend, worker_index, worker_count, _writer())
        begun = _begin(settings, catalog, space, origin, refs, now())
        resources.callback(begun.table.close)
        versions = Versions(catalog, space, begun.origin, begun.lineage, begun.durable, settings, now)
        resources.callback(versions.close)
        return Opened(begun.table, begun.rows, versions, resources.pop_all())


def _begin(
    settings: Settings, catalog: Catalog, space: Workspace, origin: Origin, refs: Sequence[Ref], at: datetime
) -> Restored:
    if refs:
        memory = Memory.of(settings.memory)
        return restore(catalog, settings.dir, space.live, origin, refs, memory, at, settings.upload_threads)
    claim(catalog, origin, (), at)
    return Restored(_new_table(settings, space), {}, {}, origin, Lineage())


def _new_table(settings: Settings, space: Workspace) -> Table:
    return Table.open(space.live, Memory.of(settings.memory), create=True)


@cache
def _writer() -> dict[str, str]:
    """Tell which packages write, as manifests do."""
    return {package: _version(package) for package in ("bytewax-state", "bytewax", "rocksdict")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # A package that is imported from a source tree has no metadata.
        return "not installed"


def check_free(settings: Settings, step: StepId, worker_index: int) -> None:
    """Refuse to begin beside another run, before Bytewax notes the new execution in the recovery directory.

    :arg settings: Of the step.

    :arg worker_index: Index of the worker.

    :raises ConflictError: If another run holds it.

    :raises StorageError: If that cannot be told.

    """
    if _needs_folder(settings):
        workspace.check_free(settings.dir, step, worker_index)


def log_places(flow_id: str, settings: Settings) -> None:
    """Log, once, where an execution writes: the first of its steps and workers speaks for all that write there.

    :arg settings: Of the step.

    """
    places = flow_id, settings.uri, settings.dir
    if not _needs_folder(settings) or places in _logged:
        return
    _logged.add(places)
    shown = "none" if settings.uri is None else shared_url(settings.uri, settings.storage_options) or settings.uri
    logger.info("started flow=%s snapshots=%s dir=%s", flow_id, shown, settings.dir)


def _needs_folder(settings: Settings) -> bool:
    """Tell whether workers need a local folder."""
    return settings.uri is not None or settings.backend != "heap"
