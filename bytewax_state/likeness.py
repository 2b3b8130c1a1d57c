"""Whether two values are the same, by what pickle would write of them, whatever their `==` says.

Owns the comparison, and when it cannot tell. It does not own what follows from it. Called by the dataflow, to see
whether a logic that was rebuilt from its snapshot has the same snapshot.
"""

import copyreg
from collections import Counter
from collections.abc import Hashable, Iterable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

__all__ = ["Likeness", "compare"]


class Likeness(Enum):
    """What a comparison gave."""

    SAME = "same"
    DIFFERENT = "different"
    UNCLEAR = "unclear"
    """All that was found to differ may be an order without meaning, or the values could not be looked into."""


def compare(one: Any, other: Any) -> Likeness:
    """Compare two values.

    Their parts are found as pickle finds them, by `object.__reduce_ex__`. So a class needs no `__eq__`, and one that it
    has is not asked. The order of sets and dicts does not matter, nor whether two places hold one object.

    :arg one: Value; not changed meanwhile.

    :arg other: Value; not changed meanwhile.

    :returns: What was found.

    """
    try:
        found = _Forms(ordered=True)
        if found.of(one) == found.of(other):
            return Likeness.SAME
        if found.cyclic:
            return Likeness.UNCLEAR
        # A list that was made of a set has that set's order, which is another one after each rebuild.
        found = _Forms(ordered=False)
        return Likeness.UNCLEAR if found.of(one) == found.of(other) else Likeness.DIFFERENT
    except Exception:  # noqa: BLE001  # `__reduce_ex__` is the user's code, and values nest as deep as they like
        return Likeness.UNCLEAR


_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType)
"""Pickle writes these by name, as there is one of each."""


class _Forms:
    """Numbers values so that the same ones, and only these, get the same number: hash consing (Ershov 1958)."""

    def __init__(self, ordered: bool) -> None:
        """Init.

        :arg ordered: Whether the order of lists and tuples matters.

        """
        self.cyclic = False
        """Whether a value was found inside of itself. The number of such a value depends on where it was come upon."""
        self._ordered = ordered
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[int, tuple[Any, int]] = {}  # id -> the object, kept so that its id stays its own, and number
        self._path: dict[int, int] = {}  # id -> how deep

    def of(self, value: Any) -> int:
        """Return the number of a value."""
        kind = type(value)
        atom = _ATOMS.get(kind)
        if atom is not None:
            return self._number((kind, atom(value)))
        if id(value) in self._path:
            self.cyclic = True
            return self._number(("around", len(self._path) - self._path[id(value)]))
        if id(value) not in self._known:
            self._path[id(value)] = len(self._path)
            self._known[id(value)] = value, self._number((kind, self._form(value)))
            del self._path[id(value)]
        return self._known[id(value)][1]

    def _number(self, form: Hashable) -> int:
        return self._numbers.setdefault(form, len(self._numbers))

    def _form(self, value: Any) -> Hashable:
        kind = type(value)
        if kind is list or kind is tuple:
            return self._sequence(value)
        if kind is dict:
            return _counted((self.of(key), self.of(inner)) for key, inner in value.items())
        if kind is set or kind is frozenset:
            return _counted(map(self.of, value))
        if isinstance(value, _NAMED):
            return getattr(value, "__module__", None), getattr(value, "__qualname__", value.__name__)
        return tuple(map(self.of, _reduced(value)))

    def _sequence(self, parts: Iterable[Any]) -> Hashable:
        numbers = map(self.of, parts)
        return tuple(numbers) if self._ordered else _counted(numbers)


def _counted(numbers: Iterable[Hashable]) -> Hashable:
    return frozenset(Counter(numbers).items())


def _reduced(value: Any) -> tuple[Any, ...]:
    reduce = copyreg.dispatch_table.get(type(value))
    made = value.__reduce_ex__(_PROTOCOL) if reduce is None else reduce(value)
    if isinstance(made, str):
        return (made,)
    # What makes the object, its arguments, its state, iterators over its items, and what sets the state.
    return (*made[:3], *(None if items is None else list(items) for items in made[3:5]), *made[5:])


_PROTOCOL = 4
"""From the next one on, arrays hand over a buffer, which cannot be looked into, in the place of their bytes."""

_ATOMS: dict[type, Any] = {
    **dict.fromkeys((type(None), bool, int, str, bytes, type(...)), lambda value: value),
    bytearray: bytes,
    # As text: 0.0 == -0.0, though they differ, and a NaN is not even equal to itself.
    float: float.hex,
    complex: repr,
}
"""Types without parts, and what makes values of them that are equal where they are the same."""
