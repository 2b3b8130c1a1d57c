"""A job's storage and local folder, damaged for the time of one restore, and the restore, as a worker makes it.

Owns the storage in memory, which is as it was after each input. It does not own the damage (`damage`), nor what may
come of it (`judge`). Used in the processes that may die of it.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from fsspec.implementations.memory import MemoryFileSystem

from bytewax_state.settings import keys_of
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.storage.uri import open_storage
from tests.driver import Execution
from tests.fuzz.jobs import GROUPS, ID, Answer, Job, Tally

Changes = Mapping[str, bytes | None]
"""Name to new bytes; `None` deletes."""


class World:
    """A job's storage, in memory."""

    def __init__(self, job: Job) -> None:
        """Read it all."""
        self.job = job
        self.uri = f"memory://{job.folder.name}"
        self.objects = read_all(job.snapshots)
        self._storage = open_storage(self.uri, {}, 2)
        self._keys = keys_of(job.settings(self.uri, Path()))
        self._fs = MemoryFileSystem()
        for name, data in self.objects.items():
            self._put(name, data)

    def catalog(self) -> Catalog:
        """Look at the storage anew; a catalog reads no manifest twice."""
        return Catalog(self._storage, self._keys)

    @contextmanager
    def changed(self, changes: Changes) -> Iterator[None]:
        """Change some objects for a while; then all is as it was, and what was written meanwhile is gone."""
        try:
            for name, data in changes.items():
                self._put(name, data)
            yield
        finally:
            for name in self._storage.list(""):
                if name not in self.objects:
                    self._put(name, None)
            for name in changes:
                self._put(name, self.objects[name])

    def _put(self, name: str, data: bytes | None) -> None:
        path = f"/{self.job.folder.name}/{name}"
        if data is None:
            self._fs.rm_file(path)
        else:
            self._fs.pipe_file(path, data)


def read_all(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def link_tree(source: Path, target: Path, changes: Changes) -> None:
    """Make a copy of a folder by hard links, but for some files."""
    shutil.copytree(source, target, copy_function=os.link, ignore=shutil.ignore_patterns("*.lock"))
    for name, data in changes.items():
        (target / name).unlink()  # linked files share their bytes
        if data is not None:
            (target / name).write_bytes(data)


def restore(job: Job, uri: str, root: Path, refs: Mapping[int, object], groups: tuple[int, ...]) -> Answer:
    """Do what Bytewax and a worker do at a restart, and look at everything.

    :arg job: Job.

    :arg uri: Its storage.

    :arg root: Its local folder.

    :arg refs: What Bytewax loads, by the key group that it routes each to.

    :arg groups: Those of this worker.

    """
    workers = GROUPS // len(groups)
    with closing(Execution(ID, job.settings(uri, root), Tally, workers, refs)) as run:
        run.load(0)
        run.hello(0)
        looks = {group: run.look(group) for group in groups}
        return {
            group: (
                {key: state for key, (state, _) in look.items()},
                min((due for _, due in look.values() if due is not None), default=None),
            )
            for group, look in looks.items()
        }
