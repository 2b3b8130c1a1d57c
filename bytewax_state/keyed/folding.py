"""Folding: `fold_final` on plain values, and with it `reduce_final`, `count_final`, `max_final` and `min_final`.

Owns what Bytewax's operators of these names do. It does not own where the accumulators live (a column).
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from bytewax_state.keyed.plain import PlainProcessor
from bytewax_state.keyed.processor import Item
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.store.store import Store

Folder: TypeAlias = Callable[[Any, Any], Any]
"""From the accumulator of a key, and a value, to the accumulator from now on."""


class FoldProcessor(PlainProcessor):
    """Folds the values of each of a step's keys on one worker, until the input ends; see `Processor`."""

    def __init__(
        self,
        store: Store,
        codec: StepCodec,
        error_for: Callable[[str], Exception],
        builder: Callable[[], Any],
        folder: Folder,
        reducer: Folder,
    ) -> None:
        """Init; see `PlainProcessor`.

        :arg builder: Makes the first accumulator of a key. The user's, as the other two.

        :arg folder: Takes any accumulator.

        :arg reducer: What the folder comes to for an accumulator that is not `None`.

        """
        super().__init__(store, codec, error_for)
        self._builder = builder
        self._folder = folder
        self._reducer = reducer

    def _rebuilt(self, snapshots: Sequence[Any]) -> Sequence[Any]:
        """See `PlainProcessor._rebuilt`; as in Bytewax, an accumulator that was `None` is built anew."""
        return [self._builder() if snapshot is None else snapshot for snapshot in snapshots]

    def _take(self, items: list[Item], out: list[Item]) -> None:
        """See `PlainProcessor._take`."""
        live, reducer = self._column.live, self._reducer
        key = ""
        try:
            for key, value in items:
                acc = live.get(key)
                if acc is None:
                    self._begin(key, value)
                else:
                    live[key] = reducer(acc, value)
        except Exception as ex:
            raise self._error_for(key) from ex

    def _begin(self, key: str, value: Any) -> None:
        """Fold a value into the first accumulator of a key, or into one that is `None`."""
        acc = None if key in self._column.live else self._builder()
        self._column.add(key, self._folder(acc, value))

    def on_end(self) -> list[Item]:
        """See `Processor.on_end`."""
        return self._drain(lambda acc: (acc,))
