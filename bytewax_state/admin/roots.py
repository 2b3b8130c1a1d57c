"""Roots: what Bytewax's recovery partitions want to be kept of the snapshots.

Owns how their refs are read while a flow runs, and which of them have to stay. It does not own how partitions are read
(`recovery.partitions`), nor what is reachable from a root (`garbage`). Called by `bytewax-state verify` and `gc`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bytewax_state.errors import BytewaxStateError, UsageError
from bytewax_state.recovery.partitions import read_refs
from bytewax_state.signing import Keys
from bytewax_state.snapshot.catalog import StepListing
from bytewax_state.snapshot.layout import StepId, is_of, store_worker
from bytewax_state.snapshot.ref import Ref, decode_ref
from bytewax_state.snapshot.sources import serving


@dataclass(frozen=True, slots=True)
class Roots:
    """What the recovery partitions want to be kept. Steps are named by their folders in the storage."""

    flows: tuple[str, ...] = ()
    """Those that have refs there."""
    needed: Mapping[str, Sequence[Ref]] = field(default_factory=dict)
    """By step: what the next run of the flow loads."""
    older: Mapping[str, Sequence[Ref]] = field(default_factory=dict)
    """By step: what Bytewax has not forgotten yet. Retention counts time and Bytewax counts epochs, so some of it may
    have been let go, by right."""
    unreadable: Mapping[str, Sequence[BytewaxStateError]] = field(default_factory=dict)
    """By step: what is wrong with a ref."""
    plain: frozenset[str] = frozenset()
    """Steps, of any kind, that have rows there, and no refs."""

    def of(self, step: StepListing) -> list[Ref]:
        """Choose the refs whose versions have to stay.

        :arg step: What there is of the step.

        :returns: All that are needed, and of the older ones those that something serves.

        """
        older = [ref for ref in self.older.get(step.prefix, ()) if serving(step, ref)]
        return [*self.needed.get(step.prefix, ()), *older]

    def is_known(self, prefix: str) -> bool:
        """Tell whether these are the recovery partitions of a step's flow."""
        return is_of(prefix, self.flows)


def read_roots(folders: Iterable[Path], keys: Keys) -> Roots:
    """Read what the recovery partitions want to be kept.

    :arg folders: Folders that together hold all partitions of a set.

    :arg keys: One of them signed the refs.

    :raises UsageError: If a partition is missing, or is not one, or they do not belong together.

    """
    folders = list(folders)
    try:
        return _read_roots(folders, keys)
    except UsageError:
        # A flow that runs writes to one partition after the other. The reads may have come in between, so that they saw
        # an epoch in one partition only.
        return _read_roots(folders, keys)


def _read_roots(folders: Iterable[Path], keys: Keys) -> Roots:
    refs = read_refs(folders)
    wanted = set(refs.loadable(refs.resume_epoch))
    needed: dict[str, list[Ref]] = {}
    older: dict[str, list[Ref]] = {}
    unreadable: dict[str, list[BytewaxStateError]] = {}
    for row in refs.loadable():
        step = StepId.of(row.step_id)
        try:
            ref = decode_ref(row.value, step, keys)
        except BytewaxStateError as ex:
            unreadable.setdefault(step.prefix, []).append(ex)
        else:
            (needed if row in wanted else older).setdefault(step.prefix, []).append(ref)
    for prefix, those in needed.items():
        _check_one_execution(prefix, those)
    plain = frozenset(StepId.of(step_id).prefix for step_id in refs.plain)
    return Roots(tuple(refs.flows()), needed, older, unreadable, plain)


def _check_one_execution(prefix: str, refs: Iterable[Ref]) -> None:
    """Refuse partitions of several sets: all that a run would load of a step was written by one execution."""
    stores: dict[int, str] = {}
    for store_id in sorted({ref.store_id for ref in refs}):
        other = stores.setdefault(store_worker(store_id), store_id)
        if other != store_id:
            msg = (
                f"the recovery partitions do not belong together: of {prefix} they need the stores {other!r} and "
                f"{store_id!r}, which two runs wrote; give the partitions of one directory, all of one moment"
            )
            raise UsageError(msg)
