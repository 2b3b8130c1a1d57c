"""Ahead: large files are uploaded as RocksDB finishes them, before there is a version that names them.

A compaction writes one file after the other, for seconds, and all of them are in the next image at once. The flow
would stand still while they are uploaded. Owns which files these are, and what was uploaded of them. It does not own
how a file is uploaded (`publish`), nor that it stays meanwhile (`retention`). Called by `versions`, between two images.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from bytewax_state.snapshot.background import Background
from bytewax_state.snapshot.manifest import FileEntry
from bytewax_state.snapshot.publish import Sent

LARGE = 16 << 20
"""Bytes of a file that is worth it. Smaller ones are often merged again before there is an image."""

PATIENCE = 10
"""How many looks at the folder show nothing before nothing more is expected."""

PAUSE = 0.1
"""Seconds between two looks."""

_END = bytes.fromhex("f7cff485b741e288")
"""What every SST ends with. RocksDB writes it last, and never changes the file then."""


class Ahead:
    """What was uploaded ahead of the next image."""

    def __init__(self, live: Path, send: Callable[[Path], Sent]) -> None:
        """Init.

        :arg live: Folder of the open table.

        :arg send: Uploads a file.

        """
        self._live = live
        self._scratch = live.parent / "ahead"
        self._send = send
        self._sent: dict[str, Sent] = {}
        self._untold: list[Sent] = []  # those that no version has counted yet
        self._known: Mapping[str, FileEntry] = {}
        self._stopped = threading.Event()
        self._background = Background(self._run, "ahead")

    def note_published(self, known: Mapping[str, FileEntry]) -> list[str]:
        """Forget what a version names now, or was merged into something else, so that no version ever will.

        :arg known: Local name to entry, of the files that are durable.

        :returns: Local names of what is left.

        """
        self._known = known
        left = [name for name in self._sent if name not in known and (self._live / name).exists()]
        self._sent = {name: self._sent[name] for name in left}
        return left

    def begin(self) -> None:
        """Upload what comes, in the background, if there may be large files."""
        if any(entry.size >= LARGE for entry in self._known.values()):
            self._stopped.clear()
            self._background.ask()

    def end(self) -> Mapping[str, Sent]:
        """Upload no more.

        :returns: Local name to what was uploaded.

        :raises StorageError: If something could not be.

        """
        self._stopped.set()
        self._background.settle()
        return self._sent

    def tell(self) -> list[Sent]:
        """Return what was uploaded since the last call, be it of use or not."""
        told, self._untold = self._untold, []
        return told

    def close(self) -> None:
        """Upload no more, whatever came of it. May be called more than once."""
        self._stopped.set()
        self._background.close()

    def _run(self) -> None:
        looks = 0
        while looks < PATIENCE and not self._stopped.wait(PAUSE):
            looks += 1
            for path in self._new():
                looks = 0
                if not self._stopped.is_set() and _is_finished(path):
                    self._upload(path)

    def _new(self) -> Iterator[Path]:
        for path in sorted(self._live.glob("*.sst")):
            with suppress(FileNotFoundError):  # it was merged into another one
                if path.name not in self._known and path.name not in self._sent and path.stat().st_size >= LARGE:
                    yield path

    def _upload(self, path: Path) -> None:
        # Under another name it stays, whatever compaction does.
        mine = self._scratch / path.name
        with suppress(FileNotFoundError):
            self._scratch.mkdir(exist_ok=True)
            os.link(path, mine)
            try:
                sent = self._sent[path.name] = self._send(mine)
                self._untold.append(sent)
            finally:
                mine.unlink()


def _is_finished(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(-len(_END), os.SEEK_END)
        return file.read() == _END
    return False
