"""The origin of manifests: what all versions of one store have in common.

Owns which fields of a manifest these are. It does not own what one version adds (`publish`), nor where a manifest goes.
Made when a store opens; called by `publish`, for every version and for the claim.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bytewax_state.keygroups import HASH, NAMES_ID
from bytewax_state.registry import State
from bytewax_state.snapshot.layout import StoreId
from bytewax_state.snapshot.manifest import FileEntry, Manifest, Stats


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes."""

    store: StoreId
    key_groups: int
    states: Mapping[str, State]
    """Name to state."""
    backend: Literal["heap", "rocksdb"]
    worker_index: int
    worker_count: int
    writer: Mapping[str, str]
    """Package name to version."""
    ancestors: tuple[str, ...] = ()
    """Every store of which files may still be inherited, transitively."""

    def manifest(
        self,
        version: int,
        at: datetime,
        *,
        epoch: int,
        groups: Mapping[int, int],
        rows: Mapping[int, int],
        files: tuple[FileEntry, ...],
        inline: Mapping[str, bytes],
        changes: Mapping[bytes, bytes | None],
        stats: Stats,
    ) -> Manifest:
        """Make the manifest of a version, whose fields these are; see `Manifest`."""
        return Manifest(
            flow_id=self.store.step.flow_id,
            step_id=self.store.step.step_id,
            store_id=self.store.store_id,
            version=version,
            created_at=at,
            writer=dict(self.writer),
            epoch=epoch,
            key_groups=self.key_groups,
            hash=HASH,
            names=NAMES_ID,
            backend=self.backend,
            worker_index=self.worker_index,
            worker_count=self.worker_count,
            groups=dict(groups),
            rows=dict(rows),
            files=files,
            inline=dict(inline),
            changes=dict(changes),
            states=dict(self.states),
            ancestors=self.ancestors,
            stats=stats,
        )
