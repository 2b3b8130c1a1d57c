"""The storage of snapshots: a few verbs on named objects, each of which is written once and never changed.

Owns what the verbs promise. It does not own the names of the objects, nor how a disk or a driver does it (`folder`,
`bucket`). Called by the verbs that publish, restore, delete.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """Objects under names such as `flow/steps/flow.sum/…/000000000001.manifest`.

    All of them may be called from any thread.
    """

    @property
    def url(self) -> str:
        """Where it is, to show to the user: no secrets, and no slash at its end."""

    def put(self, name: str, data: bytes) -> None:
        """Make an object, unless it exists.

        :raises ConflictError: If it exists with another content. With the same it is taken for one's own, of which the
            reply was lost.

        :raises StorageError: If it cannot be written, for good; part of it is then never seen under its name.

        """

    def put_file(self, local: Path, name: str) -> None:
        """Make an object, unless it exists, of a local file; see `put`.

        :arg name: Name of the object.

        """

    def get(self, name: str) -> bytes:
        """Read an object.

        :raises FileNotFoundError: If there is none.

        :raises StorageError: If it cannot be read.

        """

    def get_file(self, name: str, local: Path) -> str:
        """Copy an object into a local file; see `get`.

        :arg name: Name of the object.

        :arg local: File; on failure there is none.

        :returns: SHA-256 of what was read, in hexadecimal.

        """

    def size(self, name: str) -> int | None:
        """Tell the size of an object.

        :returns: Bytes; `None` if there is no such object.

        :raises StorageError: If the storage cannot tell.

        """

    def folders(self, prefix: str) -> list[str]:
        """List what is directly in a folder, and has objects below it; those of others there are left out.

        :arg prefix: Name of a folder; empty for the whole storage.

        :returns: Last parts of the names of folders, sorted; a folder of a disk may be empty.

        :raises StorageError: If it cannot be listed.

        """

    def list(self, prefix: str) -> list[str]:
        """List objects.

        :arg prefix: Name of a folder; empty for the whole storage.

        :returns: Names of all objects below it, as the other verbs take them, sorted; empty if there is no such folder.

        :raises StorageError: If not all of it can be listed.

        """

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, in any order.

        :arg names: Names; those that do not exist are left at that.

        :raises StorageError: If one cannot be deleted; the others may be.

        """
