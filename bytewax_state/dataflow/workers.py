"""The workers of one step in this process: each execution, found by the thread that runs it.

Owns when an execution begins, and that the one before it in this process is over then. It does not own what is in one.
Called by the lifecycle source, and by the builder of the key groups' logics.
"""

import threading
import weakref
from pathlib import Path

from bytewax_state.dataflow.execution import Execution, Step
from bytewax_state.snapshot.layout import StepId
from bytewax_state.snapshot.opening import log_places

_newest: weakref.WeakValueDictionary[tuple[Path, StepId, int], Execution] = weakref.WeakValueDictionary()
"""The newest execution of each step and worker index in this process, by the local folder that it locks."""


class Workers:
    """The workers of one step in this process, found by the thread that runs them.

    Not by `threading.local`: a thread of Bytewax's loses its Python locals between two calls. A worker is held here
    from the build of its lifecycle source until the first logic of a key group is built, and by its logics from then
    on; when Bytewax drops them, at the end of an execution, it closes.
    """

    def __init__(self, step: Step) -> None:
        """Init."""
        self.step = step
        self._begun: dict[int, Execution] = {}
        self._running: weakref.WeakValueDictionary[int, Execution] = weakref.WeakValueDictionary()

    def begin(self, worker_index: int, worker_count: int) -> None:
        """Begin an execution on the worker of this thread.

        :arg worker_count: How many workers the execution has.

        :raises ConflictError: If another run has that index. Bytewax has written nothing of this one yet; once it has,
            it may not resume the other one any more.

        """
        worker = Execution(self.step, worker_index, worker_count)
        place = self.step.settings.dir, self.step.id, worker_index
        before = _newest.get(place)
        if before is not None and before.is_over:
            # Now and then Bytewax does not drop the logics of a thread that has ended. They hold the lock of its store.
            before.close()
        try:
            worker.check_free()
        except BaseException as ex:
            worker.fail(ex)
            raise
        log_places(self.step.id.flow_id, self.step.settings)
        _newest[place] = worker
        self._begun[threading.get_ident()] = worker

    def here(self) -> Execution:
        """Return the worker of this thread."""
        ident = threading.get_ident()
        begun = self._begun.pop(ident, None)
        if begun is None:
            return self._running[ident]
        self._running[ident] = begun
        return begun
