"""Where an execution can be stopped: every named point reports here, and may be the last one.

Owns where it crashes, and whose turn it is: a `Task` runs until its next point, and then waits until it is stepped.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bytewax_state.snapshot.layout import parse_manifest_name
from bytewax_state.snapshot.manifest import CLAIM
from bytewax_state.storage.storage import Storage
from tests.faults import Fault
from tests.model.tally import Tally


class Crash(BaseException):
    """The process died. No `except Exception` sees it."""


class Points:
    """The points of one execution, or of whatever else uses the storage."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.task: Task | None = None
        """Who runs it step by step, if anybody does."""
        self.dead = False
        self.faults: list[Fault] = []
        """What goes wrong in the storage, as far as it has not yet."""
        self._crash_at: tuple[str, int] | None = None
        self.due: list[Callable[[], None]] = []
        """What is to be done at the next `due_at`."""
        self.due_at: str | None = None

    def crash_at(self, point: str, skip: int) -> None:
        """Crash at a point.

        :arg point: Its name, with ` before` or ` after` behind.

        :arg skip: How many times it is passed first.

        """
        self._crash_at = point, skip

    def cancel_crash(self) -> None:
        """Take `crash_at` back."""
        self._crash_at = None

    def reach(self, point: str) -> None:
        """Note that a point was reached; return if life goes on."""
        if self.dead:
            # A dead process does nothing more, whatever its threads were about to do.
            raise Crash(point)
        self.tally.add("points passed", point)
        if self._crash_at is not None and self._crash_at[0] == point:
            if self._crash_at[1] == 0:
                self.die(point)
            self._crash_at = point, self._crash_at[1] - 1
        if self.task is not None and not self.task.pause(point):
            self.die(point)
        if point == self.due_at:
            self.do_due()

    def do_due(self) -> None:
        """Do now what is due, which reaches points of its own."""
        while self.due:
            self.due.pop(0)()

    def die(self, point: str) -> None:
        self.dead = True
        self.tally.add("crashes", point)
        raise Crash(point)

    @contextmanager
    def around(self, point: str) -> Iterator[None]:
        """Report before and after something that is done as a whole."""
        self.reach(f"{point} before")
        yield
        self.reach(f"{point} after")


class ObservedStorage:
    """A storage whose calls are points."""

    def __init__(
        self,
        storage: Storage,
        points: Points,
        about_to_list: Callable[[list[str]], None],
        about_to_delete: Callable[[str], None],
    ) -> None:
        """Init.

        :arg storage: Does the work.

        :arg points: Told of each call.

        :arg about_to_list: Told of what a list will show.

        :arg about_to_delete: Told of each deletion that will now happen.

        """
        self.url = storage.url
        self._storage = storage
        self._points = points
        self._about_to_list = about_to_list
        self._about_to_delete = about_to_delete

    def put(self, name: str, data: bytes) -> None:
        manifest = parse_manifest_name(name)
        with self._points.around("claim" if manifest is not None and manifest.version == CLAIM else "manifest write"):
            self._storage.put(name, data)

    def put_file(self, local: Path, name: str) -> None:
        with self._points.around("upload"):
            self._storage.put_file(local, name)

    def get(self, name: str) -> bytes:
        with self._points.around("read"):
            return self._storage.get(name)

    def get_file(self, name: str, local: Path) -> str:
        with self._points.around("fetch"):
            return self._storage.get_file(name, local)

    def size(self, name: str) -> int | None:
        with self._points.around("look"):
            return self._storage.size(name)

    def list(self, prefix: str) -> list[str]:
        with self._points.around("list"):
            names = self._storage.list(prefix)
            self._about_to_list(names)
        return names

    def delete(self, names: Iterable[str]) -> None:
        # One by one, as storages do: a crash may come between any two.
        for name in names:
            with self._points.around("delete manifest" if name.endswith(".manifest") else "delete file"):
                self._about_to_delete(name)
                self._storage.delete([name])


class Task:
    """Something that runs in a thread of its own, from one point to the next, each time it is stepped.

    Only one thread of the world runs at any moment, so what happens depends on the steps and on nothing else.
    """

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.name = name
        self.at = "start"
        """The point where it waits."""
        self.done = False
        self.error: BaseException | None = None
        self._run = run
        self._killed = False
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Run until the next point, or the end."""
        if not self.done:
            self._go.release()
            self._back.acquire()
            if self.done:
                self._thread.join()

    def finish(self) -> None:
        """Run to the end."""
        while not self.done:
            self.step()

    def kill(self) -> None:
        """Crash where it waits."""
        self._killed = True
        self.finish()

    def pause(self, point: str) -> bool:
        """Wait to be stepped; called by what it runs, in any of its threads.

        :returns: Whether life goes on.

        """
        self.at = point
        self._back.release()
        self._go.acquire()
        return not self._killed

    def _begin(self) -> None:
        if self._killed:
            raise Crash(self.at)
        self._run()

    def _body(self) -> None:
        self._go.acquire()
        try:
            self._begin()
        except BaseException as ex:
            self.error = ex
        finally:
            self.done = True
            self._back.release()
