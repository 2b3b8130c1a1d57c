"""The one logic that Bytewax sees: that of a key group.

Owns the translation of Bytewax's calls, which come for each key group, into those of the execution, which has all of a
worker. It does not own what is done. Called by Bytewax.
"""

from datetime import datetime

from bytewax.operators import StatefulBatchLogic

from bytewax_state.dataflow.execution import Execution
from bytewax_state.dataflow.lanes import Chunk
from bytewax_state.errors import IncompatibleError
from bytewax_state.keyed.processor import Item, Processor

_NOTHING: tuple[list[list[Item]], bool] = ([], False)
"""What a call answers that emits nothing: this logic stays."""


class GroupLogic(StatefulBatchLogic[Chunk, list[Item], bytes]):
    """Stands for the keys of one key group."""

    def __init__(self, execution: Execution, group: int | None) -> None:
        """Init.

        :arg execution: Of the step on this worker.

        :arg group: Key group, where a ref told it; else the first chunk does.

        """
        self._execution = execution
        self._group = group
        self._is_open = False
        self._processor: Processor | None = None

    def on_batch(self, values: list[Chunk]) -> tuple[list[list[Item]], bool]:
        """Take chunks in.

        :arg values: Chunks, all of this group.

        :returns: At most one list of items to emit, and that this logic stays.

        """
        run = self._execution
        try:
            if not self._is_open:
                self._open(values[0][0])
            out = run.on_chunk(*(values[0] if len(values) == 1 else _joined(values)))
        except BaseException as ex:
            run.fail(ex)
            raise
        return ([out], False) if out else _NOTHING

    def on_notify(self) -> tuple[list[list[Item]], bool]:
        """Do what is due.

        :returns: As `on_batch`.

        """
        run, group = self._execution, self._group
        if group is None or not self._is_open:
            # Still loading: see `notify_at`.
            return _NOTHING
        try:
            out = run.on_notify(group)
        except BaseException as ex:
            run.fail(ex)
            raise
        return ([out], False) if out else _NOTHING

    def on_eof(self) -> tuple[list[list[Item]], bool]:
        """Take note that the input has ended.

        :returns: As `on_batch`.

        """
        run, group = self._execution, self._group
        if group is None or not self._is_open:
            return _NOTHING
        try:
            out = run.on_eof(group)
        except BaseException as ex:
            run.fail(ex)
            raise
        return ([out], False) if out else _NOTHING

    def notify_at(self) -> datetime | None:
        """Say when there is something due.

        :returns: Time. `None` until the first chunk: what is notified while Bytewax is loading runs in an epoch of the
            execution before.

        """
        processor = self._processor
        return None if processor is None or not processor.is_timed else self._execution.notify_at(self._group)

    def snapshot(self) -> bytes:
        """Freeze and publish the store, if this group is the first to ask since it changed.

        :returns: Ref of the group.

        """
        run, group = self._execution, self._group
        assert group is not None
        try:
            # While Bytewax is loading, the ref is the one that it has.
            return run.snapshot(group) if self._is_open else run.given(group)
        except BaseException as ex:
            run.fail(ex)
            raise

    def _open(self, group: int) -> None:
        if self._group not in (None, group):
            step_id = self._execution.step.id.step_id
            msg = f"key group {group} of step {step_id!r} was given the ref of key group {self._group}"
            raise IncompatibleError(msg)
        self._group = group
        self._processor = self._execution.open()
        self._is_open = True


def _joined(chunks: list[Chunk]) -> Chunk:
    """Join chunks of one group."""
    group, epoch, _, _ = chunks[-1]
    return group, epoch, [item for _, _, items, _ in chunks for item in items], any(more for _, _, _, more in chunks)
