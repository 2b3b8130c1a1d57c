"""A storage that tries again after errors that may be over by then.

Owns how often, and after which waits. It does not own which errors these are (`translation`). Made by `uri`.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import tenacity

from bytewax_state.storage.storage import Storage
from bytewax_state.storage.translation import TransientError

logger = logging.getLogger("bytewax_state")


class Retrying:
    """A storage that tries again after a `TransientError`."""

    def __init__(
        self,
        storage: Storage,
        attempts: int,
        wait: tenacity.wait.WaitBaseT,
        sleep: Callable[[float], None],
    ) -> None:
        """Init.

        :arg storage: Does the work, and raises `TransientError` where another try may do.

        :arg attempts: How often a verb is tried in all.

        :arg wait: How long to wait before each but the first.

        :arg sleep: Waits some seconds.

        """
        self.url = storage.url
        self._storage = storage
        self._again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=tenacity.stop_after_attempt(attempts),
            wait=wait,
            sleep=sleep,
            before_sleep=_log,
            reraise=True,
        )

    def put(self, name: str, data: bytes) -> None:
        """See `Storage.put`."""
        self._again(self._storage.put, name, data)

    def put_file(self, local: Path, name: str) -> None:
        """See `Storage.put_file`."""
        self._again(self._storage.put_file, local, name)

    def get(self, name: str) -> bytes:
        """See `Storage.get`."""
        return self._again(self._storage.get, name)

    def get_file(self, name: str, local: Path) -> str:
        """See `Storage.get_file`."""
        return self._again(self._storage.get_file, name, local)

    def size(self, name: str) -> int | None:
        """See `Storage.size`."""
        return self._again(self._storage.size, name)

    def folders(self, prefix: str) -> list[str]:
        """See `Storage.folders`."""
        return self._again(self._storage.folders, prefix)

    def list(self, prefix: str) -> list[str]:
        """See `Storage.list`."""
        return self._again(self._storage.list, prefix)

    def delete(self, names: Iterable[str]) -> None:
        """See `Storage.delete`."""
        self._again(self._storage.delete, tuple(names))


def _log(state: tenacity.RetryCallState) -> None:
    assert state.outcome is not None
    assert state.next_action is not None
    logger.warning("%s (trying again in %.0f s)", state.outcome.exception(), state.next_action.sleep)
