"""The processor of a step whose keys have a Python logic each: the general case, which any step can be run by.

Owns the order of calls that each logic gets, as Bytewax would make them, and the errors that it would raise. It does
not own when a logic leaves memory, nor what then becomes of it (`states`, `logics`).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from bytewax.errors import BytewaxRuntimeError

from bytewax_state.dataflow.logics import Logic, Logics, error_in, overrides_on_eof, plain_time
from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.states import States
from bytewax_state.keyed.timed import TimedProcessor


class LogicProcessor(TimedProcessor[Logic]):
    """Runs the logics of a step's keys on one worker; see `Processor`."""

    def __init__(self, states: States[Logic], logics: Logics, now: Callable[[], datetime]) -> None:
        """Init.

        :arg states: Where the logics are kept.

        :arg logics: How they are built.

        :arg now: Tells the time.

        """
        super().__init__(states, now)
        self.is_timed = logics.expects_timers
        self._logics = logics

    def restore(self) -> None:
        """See `Processor.restore`."""
        super().restore()
        self.is_timed = self.is_timed or self.states.has_timers

    def _on_values(self, by_key: dict[str, list[Any]], out: list[Item]) -> None:
        """See `TimedProcessor._on_values`."""
        live = self._column.live
        logics, timers, at = self._logics, self._timers, self._now()
        key, method = "", "on_batch"
        try:
            for key in sorted(by_key) if len(by_key) > 1 else by_key:
                logic = live.get(key)
                if logic is None:
                    logic = logics.build(key)
                    self._column.add(key, logic)
                emit, done = logic.on_batch(by_key[key])
                if type(emit) is not list:
                    _check_emit(emit)
                for item in emit:
                    out.append((key, item))  # noqa: PERF401  # a generator would cost a frame for each call
                if done is False or not _checked(done):
                    method = "notify_at"
                    due = logic.notify_at()
                    # As Bytewax does it: after a batch, `None` leaves the schedule as it is, and so does any answer of
                    # a key that is due by now, which is notified all the same.
                    if due is not None:
                        self.is_timed = True
                        due = plain_time(due)
                        if not timers.is_due(key, at):
                            timers.set(key, due, self._now)
                    method = "on_batch"
                else:
                    self._remove(key)
        except Exception as ex:
            raise self._error(key, method) from ex

    def _notify(self, key: str, logic: Logic, now: datetime, out: list[Item]) -> None:
        self._timers.drop(key)
        if self._call(key, logic, "on_notify", out):
            due = self._logics.due(key, logic)
            if due is not None:
                self._timers.again(key, due, now)

    def _minds_end(self, item: Logic) -> bool:
        return overrides_on_eof(item)

    def _end(self, key: str, item: Logic, out: list[Item]) -> None:
        if self._call(key, item, "on_eof", out):
            due = self._logics.due(key, item)
            if due is not None:
                self._timers.set(key, due, self._now)

    def _call(self, key: str, logic: Logic, method: str, out: list[Item]) -> bool:
        """Call a logic; return whether it stays."""
        try:
            emit, complete = getattr(logic, method)()
            _check_emit(emit)
            done = _checked(complete)
        except Exception as ex:
            raise self._error(key, method) from ex
        out.extend((key, item) for item in emit)
        if done:
            self._remove(key)
        else:
            self._column.change((key,))
        return not done

    def _error(self, key: str, method: str) -> BytewaxRuntimeError:
        return error_in(self._logics.step_id, key, method)


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
