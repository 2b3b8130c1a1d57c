"""Objects of RocksDB, which are let go of by the process that made them and by no other.

Owns the guard against a fork. RocksDB's threads are not in a forked child, and its files and locks are the parent's: a
child that frees a database waits for these threads, or writes what is in memory into the files of its parent. It does
not own what the objects do. Called by `table`.
"""

import ctypes
import os
from typing import Generic, TypeVar

from bytewax_state.errors import UsageError

T = TypeVar("T")

_USERS: set[int] = set()
"""Processes that used RocksDB: this one, and those that it was forked from."""

_FORKS: list[None] = []
"""One for each fork between the start of the program and this process. Tables are used at every batch, where to ask the
system which process this is would cost a tenth of a read."""

os.register_at_fork(after_in_child=lambda: _FORKS.append(None))


class Owned(Generic[T]):
    """An object with one more reference than Python knows of, so that no garbage collection and no exit frees it."""

    __slots__ = ("__weakref__", "_forks", "_owner", "value")

    def __init__(self, value: T) -> None:
        """Init."""
        self._owner = os.getpid()
        self._forks = len(_FORKS)
        self.value: T | None = value
        """It; `None` once it was let go of."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))

    def check(self) -> None:
        """Refuse to be used by another process.

        :raises UsageError: In a child that Python forked.

        """
        if self._forks != len(_FORKS):
            raise _forked(self._owner)

    def release(self) -> T | None:
        """Take it out, so that it is freed when the caller drops it.

        :returns: It; `None` the next time, and in a forked child, in which it is never freed.

        """
        value, self.value = self.value, None
        if value is None or self._owner != os.getpid():
            return None
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(value))
        return value

    __del__ = release


def check_process() -> None:
    """Refuse to use RocksDB in a process that was forked from one that did.

    It would wait for ever for threads that only the parent has.

    :raises UsageError: If this is one.

    """
    before = _USERS - {os.getpid()}
    if before:
        raise _forked(before.pop())
    _USERS.add(os.getpid())


def _forked(owner: int) -> UsageError:
    msg = (
        f"process {os.getpid()} was forked from process {owner}, which uses RocksDB, and a forked process cannot go on "
        "with that; leave the state of a flow to the process that runs it, and start processes that run flows with "
        'multiprocessing.get_context("spawn")'
    )
    return UsageError(msg)
