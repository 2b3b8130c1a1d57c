"""The open files of this process: what its tables may take, the system's limit, and what to say where that is reached.

Owns one budget for all tables of the process, and the soft limit, which is raised by what they take. It opens nothing.
Called by `store`, for each table, and by whoever tells of an error of the system.
"""

import errno
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock

logger = logging.getLogger("bytewax_state")

FIXED_FILES = 7
"""Files that are open for as long as a table is: RocksDB's lock, log, manifest, write-ahead log and, twice, its folder;
and the lock of the worker's folder."""

MIN_ROW_FILES = 10
"""How many files of rows a table keeps open at least, if it has so many: RocksDB does not go below."""

MAX_ROW_FILES = 246
"""How many files of rows a table keeps open at most."""

TABLES_TO_COME = 32
"""A table gets one such part of what is left of the budget, so that the last one of many gets something too."""

OTHER_FILES = 1024
"""How many files are left to all else: at least as many, or half of the hard limit."""

_UNLIMITED = 1 << 20


class OpenFiles:
    """One budget of open files for all tables of a process."""

    def __init__(self) -> None:
        """Init; nothing is taken yet."""
        self.tables = 0
        self.taken = 0
        """Files that all tables may have open, together."""
        self._others = 0
        self._warned = False
        self._lock = Lock()

    def take(self) -> int:
        """Take the share of one more table, and raise the soft limit by it, as far as the hard one lets.

        :returns: How many files of rows the table may keep open.

        """
        with self._lock:
            soft, hard = limits()
            self._others = self._others or min(max(soft, OTHER_FILES), hard // 2)
            left = hard - self._others - self.taken
            rows = max(MIN_ROW_FILES, min(MAX_ROW_FILES, left // TABLES_TO_COME - FIXED_FILES))
            self._count(1, rows)
            _raise(self._others + self.taken)
            tight = self.taken > hard * 3 // 4 and not self._warned
            self._warned = self._warned or tight
        if tight:
            logger.warning("open files may run out: %s", self.remedy())
        return rows

    def give_back(self, rows: int) -> None:
        """Give back the share of a table that is closed.

        :arg rows: As `take` returned it.

        """
        with self._lock:
            self._count(-1, rows)

    def remedy(self) -> str:
        """Name the limit, what counts against it here, and what to do."""
        soft, hard = limits()
        return (
            f"this process may have {soft} files open, and no more than {hard}, of which its {self.tables} tables of "
            f"state take up to {self.taken}; raise the limit (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of "
            "a container), or run fewer workers in a process"
        )

    def _count(self, sign: int, rows: int) -> None:
        self.tables += sign
        self.taken += sign * (rows + FIXED_FILES)


BUDGET = OpenFiles()
"""That of this process."""


def limits() -> tuple[int, int]:
    """Return how many files this process may have open, and how many it may allow itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _UNLIMITED if hard == resource.RLIM_INFINITY else hard
    return most if soft == resource.RLIM_INFINITY else soft, most


def remedy(ex: BaseException) -> str | None:
    """Say what to do about an error, if it is that too many files are open.

    :arg ex: What was raised; RocksDB and drivers of storages tell it in their text, or in that of a cause.

    :returns: The limit, and what to do; `None`: it is another error.

    """
    texts = [str(one) for one in _causes(ex)]
    if any(os.strerror(errno.ENFILE) in text for text in texts):
        return "all processes of this machine together have as many files open as it lets them; raise fs.file-max"
    if any(os.strerror(errno.EMFILE) in text for text in texts):
        return BUDGET.remedy()
    return None


def _causes(ex: BaseException | None) -> Iterator[BaseException]:
    while ex is not None:
        yield ex
        ex = ex.__cause__ or ex.__context__


def _raise(wanted: int) -> None:
    """Raise the soft limit, and never lower it."""
    soft, most = limits()
    if soft < min(wanted, most):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with suppress(OSError, ValueError):  # some systems refuse what they say is allowed
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), hard))
