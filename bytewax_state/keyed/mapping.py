"""Mapping: `stateful_map` and `stateful_flat_map` on plain values, with no object for each key.

Owns what Bytewax's operators of these names do, errors included; the rows are those that the general case writes.
It does not own where the values live (a column).
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from bytewax_state.keyed.plain import PlainProcessor
from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.store.store import Store

Mapper: TypeAlias = Callable[[Any, Any], Any]
"""From the state of a key, `None` if it has none, and a value, to a pair: the state from now on, and what to emit."""


class MapProcessor(PlainProcessor):
    """Runs a mapper over the states of a step's keys on one worker; see `Processor`."""

    def __init__(
        self,
        store: Store,
        codec: StepCodec,
        error_for: Callable[[str], Exception],
        mapper: Mapper,
        is_flat: bool,
        expected: Callable[[object], str],
    ) -> None:
        """Init; see `PlainProcessor`.

        :arg mapper: The user's.

        :arg is_flat: Whether what it emits are many values, in place of one.

        :arg expected: Says what is wrong with an answer of the mapper that is no pair.

        """
        super().__init__(store, codec, error_for)
        self._mapper = mapper
        self._is_flat = is_flat
        self._expected = expected

    def _take(self, items: list[Item], out: list[Item]) -> None:
        """See `PlainProcessor._take`."""
        live, mapper, is_flat = self._column.live, self._mapper, self._is_flat
        key: str = ""
        try:
            for key, value in items:
                before = live.get(key)
                answer = mapper(before, value)
                try:
                    state, emit = answer
                except TypeError as ex:
                    raise TypeError(self._expected(answer)) from ex
                if before is None or state is None:
                    self._put(key, state)
                elif state is not before:
                    live[key] = state
                if not is_flat:
                    out.append((key, emit))
                else:
                    for one in emit:
                        out.append((key, one))  # noqa: PERF401  # a generator would cost a frame for each item
        except Exception as ex:
            raise self._error_for(key) from ex

    def _put(self, key: str, state: Any) -> None:
        """Give a key its first state, or take its last one away."""
        if state is not None:
            self._column.add(key, state)
        elif key in self._column.live:
            self._column.remove(key)
