"""A sweep: what goes of one step is deleted, the manifests first, and their files after a grace period.

Owns the order of deletion, which makes it safe: manifests, oldest first; a grace period; a second look; then the files
that no manifest names in either look. It does not own what may go, nor when: `retention` plans for the past of the run
that it is part of, and `garbage` for somebody who looks from outside. Called by these two.

Why the order is safe, whoever restores meanwhile: a restore reads a manifest, writes its claim, which names the same
files, and then looks whether the manifest is still there. If it is, the claim was written before the manifest was
deleted, so the second look shows the claim, and the files stay. If it is not, the restore fails, and says so. Likewise,
an execution that was taken for dead writes its first version, and then looks whether its claim is still there.

A look takes time, and whoever looks may stall in it, while another execution takes over, and deletes what was listed.
So nothing is concluded from a look in which a manifest was deleted before it was read (see `Catalog.step`).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice

from bytewax_state.snapshot.catalog import StepListing
from bytewax_state.storage.storage import Storage

GRACE = timedelta(minutes=1)
"""How long files stay after the last manifest that named them. It is longer than the staleness of any storage: the time
for which a list may lack a new object, such as the claim of whoever is about to restore them."""

BATCH = 32
"""How many manifests are deleted at once, oldest first."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What goes of one step, as a first look showed it."""

    prefix: str
    """Folder of the step in the storage."""
    manifests: tuple[str, ...]
    """Names of objects, oldest first."""
    files: tuple[str, ...]
    """Names of objects that no other manifest names. They go if the second look shows none that does."""

    def __bool__(self) -> bool:
        """Tell whether anything goes."""
        return bool(self.manifests or self.files)

    def begin(self, storage: Storage) -> None:
        """Delete the manifests.

        :raises StorageError: If one cannot be deleted; most of those behind it stay then.

        """
        left = iter(self.manifests)
        while some := list(islice(left, BATCH)):
            storage.delete(some)

    def finish(self, storage: Storage, step: StepListing, kept: Collection[str] = ()) -> "Sweep":
        """Delete the files that still no manifest names.

        :arg step: The second look, taken after the grace period.

        :arg kept: Names of files that stay, whatever this look shows.

        :returns: What was deleted, with the manifests.

        :raises SnapshotCorruptError: If a manifest could not be read in the second look: it may name anything.

        :raises StorageError: If something cannot be deleted, or manifests were being deleted all the time.

        """
        check_certain(step, "no file")
        named = step.named()
        files = tuple(name for name in self.files if name not in named and name not in kept)
        storage.delete(files)
        return replace(self, files=files)


def check_certain(step: StepListing, what: str) -> None:
    """Refuse to conclude from a look that something is named by nobody, if the look did not show everything.

    :arg step: The look.

    :arg what: What is deleted then, in words.

    :raises SnapshotCorruptError: If a manifest could not be read.

    :raises StorageError: If manifests were being deleted all the time.

    """
    doubt = step.doubt()
    if doubt is not None:
        msg = f"{what} of {step.prefix} is deleted, as {doubt}"
        raise type(doubt)(msg)
