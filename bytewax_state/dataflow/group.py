"""The one logic that Bytewax sees: that of a key group, which runs the logics of all its keys.

Owns the order of calls that each logic of a user gets, as Bytewax would make them, and the errors that it would raise.
It does not own the logics (a slice of the store does) nor snapshots (the worker's step). Called by Bytewax.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bytewax.errors import BytewaxRuntimeError
from bytewax.operators import StatefulBatchLogic

from bytewax_state.dataflow.logics import Logic, error_in, overrides_on_eof, plain_time
from bytewax_state.dataflow.worker import StepWorker
from bytewax_state.errors import IncompatibleError
from bytewax_state.store.base import Slice

Out = list[tuple[str, Any]]


class Chunk:
    """The `(key, value)` items of a batch that belong to one key group, in order. One without items says hello."""

    __slots__ = ("epoch", "group", "items")

    def __init__(self, group: int, items: list[tuple[str, Any]]) -> None:
        """Init.

        :arg group: Key group.

        :arg items: Items.

        """
        self.group = group
        self.items = items
        self.epoch = 0


class GroupLogic(StatefulBatchLogic[Chunk, Out, bytes]):
    """Runs the logics of the keys of one key group."""

    def __init__(self, worker: StepWorker, group: int | None) -> None:
        """Init.

        :arg worker: The step on this worker.

        :arg group: Key group, where a ref told it; else the first chunk does.

        """
        self._worker = worker
        self._group = group
        self._slice: Slice[Logic] | None = None

    def on_batch(self, values: list[Chunk]) -> tuple[list[Out], bool]:
        """Hand the items of some chunks to the logics of their keys.

        :arg values: Chunks, all of this group.

        :returns: At most one list of `(key, value)` to emit, and that this logic stays.

        """
        worker = self._worker
        try:
            part = self._slice
            out: Out = []
            if part is None:
                part = self._wake(values[0].group)
                # As in Bytewax, what is due when a run resumes comes before the first item.
                out += self._on_due(part, worker.now())
            worker.epoch = values[-1].epoch
            items = values[0].items if len(values) == 1 else [item for chunk in values for item in chunk.items]
            by_key = {key: [value] for key, value in items}
            if len(by_key) < len(items):
                by_key = _gathered(items)
            live = part.fetch(by_key)
            if part.asked:
                now = worker.now()
                self._notify(part, sorted(part.pop_asked(now)), now, out)
            self._on_items(part, live, by_key, out)
        except BaseException as ex:
            worker.fail(ex)
            raise
        else:
            return [out] if out else [], False

    def on_notify(self) -> tuple[list[Out], bool]:
        """Notify the keys that are due.

        :returns: As `on_batch`.

        """
        part, worker = self._slice, self._worker
        if part is None:
            # Still loading: see `notify_at`.
            return [], False
        try:
            part.visit(worker.now)
            return self._emit(self._on_due(part, worker.now()))
        except BaseException as ex:
            worker.fail(ex)
            raise

    def on_eof(self) -> tuple[list[Out], bool]:
        """Tell every logic to which it matters that the input ended; spilled ones come back for it.

        :returns: As `on_batch`.

        """
        part = self._slice
        if part is None:
            return [], False
        try:
            return self._emit(self._on_end(part))
        except BaseException as ex:
            self._worker.fail(ex)
            raise

    def notify_at(self) -> datetime | None:
        """Say when the first key is due.

        :returns: Time. `None` until the first chunk: what is notified while Bytewax is loading runs in an epoch of the
            execution before.

        """
        return None if self._slice is None else self._slice.next_due(self._worker.now)

    def snapshot(self) -> bytes:
        """Freeze and publish the store, if this group is the first to ask since it changed.

        :returns: Ref of the group.

        """
        try:
            return self._worker.snapshot(self._group)
        except BaseException as ex:
            self._worker.fail(ex)
            raise

    def _wake(self, group: int) -> Slice[Logic]:
        if self._group not in (None, group):
            step_id = self._worker.step.id.step_id
            msg = f"key group {group} of step {step_id!r} was given the ref of key group {self._group}"
            raise IncompatibleError(msg)
        self._group = group
        self._slice = part = self._worker.wake(group)
        return part

    def _emit(self, out: Out) -> tuple[list[Out], bool]:
        return ([out], False) if out else ([], False)

    def _on_items(self, part: Slice[Logic], live: dict[str, Logic], by_key: dict[str, list[Any]], out: Out) -> None:
        rows, timers, now = self._worker.rows, part.timers, self._worker.now
        wakes = rows.wakes
        key, method = "", "on_batch"
        try:
            for key, values in by_key.items():
                logic = live.get(key)
                if logic is None:
                    logic = live[key] = rows.build(key)
                emit, done = logic.on_batch(values)
                if type(emit) is not list:
                    _check_emit(emit)
                for item in emit:
                    out.append((key, item))
                if done is False or not _checked(done):
                    if wakes:
                        method = "notify_at"
                        due = logic.notify_at()
                        # As Bytewax does it: after a batch, `None` leaves the schedule as it is.
                        if due is not None:
                            timers.set(key, plain_time(due), now)
                        method = "on_batch"
                else:
                    del live[key]
                    timers.drop(key)
        except Exception as ex:
            raise self._error(key, method) from ex
        if not part.volatile:
            part.changed.update(by_key)
        self._worker.changed = True
        part.settle()

    def _on_due(self, part: Slice[Logic], now: datetime) -> Out:
        out: Out = []
        keys = sorted(part.pop_due(now))
        if keys:
            part.fetch(keys)
            self._notify(part, keys, now, out)
        if part.changed or part.dirty:
            # A restored logic may have answered something new when it was asked for its time.
            self._worker.changed = True
        part.settle()
        if keys:
            part.hold.note(len(keys), self._worker.now() - now)
        return out

    def _notify(self, part: Slice[Logic], keys: list[str], now: datetime, out: Out) -> None:
        for key in keys:
            logic = part.live.get(key)
            if logic is None:
                # The row of a timer whose key went is deleted at the next flush.
                continue
            part.timers.drop(key)
            if self._call(part, key, logic, "on_notify", out):
                due = self._worker.rows.due(key, logic)
                if due is not None:
                    part.timers.again(key, due, now)

    def _on_end(self, part: Slice[Logic]) -> Out:
        out: Out = []
        now = self._worker.now()
        part.visit_all()
        # As in Bytewax, what is due by now comes before the end.
        while (due := part.next_due(lambda: now)) is not None and due <= now:
            out += self._on_due(part, now)
        for keys in part.walk(overrides_on_eof) if self._worker.step.ends else ():
            for key in keys:
                logic = part.live[key]
                if self._call(part, key, logic, "on_eof", out):
                    due = self._worker.rows.due(key, logic)
                    if due is not None:
                        part.timers.set(key, due, self._worker.now)
            part.settle()
        return out

    def _call(self, part: Slice[Logic], key: str, logic: Logic, method: str, out: Out) -> bool:
        """Call a logic; return whether it stays."""
        try:
            emit, complete = getattr(logic, method)()
            _check_emit(emit)
            done = _checked(complete)
        except Exception as ex:
            raise self._error(key, method) from ex
        out.extend((key, item) for item in emit)
        if not part.volatile:
            part.changed.add(key)
        self._worker.changed = True
        if done:
            del part.live[key]
            part.timers.drop(key)
        return not done

    def _error(self, key: str, method: str) -> BytewaxRuntimeError:
        return error_in(self._worker.step.id.step_id, key, method)


def _gathered(items: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    by_key: dict[str, list[Any]] = {}
    for key, value in items:
        if key in by_key:
            by_key[key].append(value)
        else:
            by_key[key] = [value]
    return by_key


def _check_emit(emit: object) -> None:
    """Refuse what Bytewax refuses: it takes whatever has items by their number, except a `str` and a `dict`."""
    if isinstance(emit, (str, dict)) or not hasattr(type(emit), "__getitem__"):
        msg = f"`emit` was not a `list`; got a `{type(emit).__name__}` instead"
        raise TypeError(msg)


def _checked(done: Any) -> bool:
    """Make an answer plain, as Bytewax does: it takes the `bool_` of numpy 1 too.

    :raises TypeError: If Bytewax does not take it.

    """
    if not isinstance(done, bool) and (type(done).__module__, type(done).__name__) != ("numpy", "bool_"):
        msg = f"`is_complete` was not a `bool`; got a `{type(done).__name__}` instead"
        raise TypeError(msg)
    return bool(done)
