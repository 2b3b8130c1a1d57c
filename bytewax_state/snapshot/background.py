"""A thread for what has to be done and nobody has to wait for.

Owns that it is done by one thread at a time, in the process that made it, and that what it raises is not lost. It does
not own what is done. Called by `versions`, for what follows the end of an epoch.
"""

import logging
import os
import threading
from collections.abc import Callable

logger = logging.getLogger("bytewax_state")


class Background:
    """Does something, each time it is asked to, in a thread that ends with it."""

    def __init__(self, work: Callable[[], None], name: str = "retain") -> None:
        """Init.

        :arg work: What to do.

        :arg name: What the thread is called, by whoever looks at the threads.

        """
        self._name = f"bytewax-state-{name}"
        self._work = work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_asked = False
        self._is_running = False
        self._failure: BaseException | None = None
        self._process = os.getpid()

    def ask(self) -> None:
        """Begin, or do it once more after it is done, and return at once.

        :raises BaseException: What was raised by it the last time.

        """
        self.check()
        with self._lock:
            self._is_asked = True
            if not self._is_running:
                self._is_running = True
                # A daemon: Python would wait for any other thread at its end, also in a child that C forked without it.
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def check(self) -> None:
        """See how it went.

        :raises BaseException: What was raised by it the last time.

        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def settle(self) -> None:
        """Wait until it is done; see `check`."""
        self._join()
        self.check()

    def close(self) -> None:
        """Wait until it is done, but in a forked child, which has no such thread. May be called more than once."""
        self._join()
        if self._failure is not None:
            logger.warning("%s", self._failure)

    def _join(self) -> None:
        thread = self._thread
        # Garbage collection may come in any thread, so also in this one, and close what it finds.
        if thread is not None and thread is not threading.current_thread() and os.getpid() == self._process:
            thread.join()

    def _run(self) -> None:
        while self._goes_on():
            try:
                self._work()
            except BaseException as ex:  # noqa: BLE001 - whatever it is, who asks next is to see it
                self._failure = ex

    def _goes_on(self) -> bool:
        with self._lock:
            self._is_running = self._is_asked and self._failure is None
            self._is_asked = False
            return self._is_running
