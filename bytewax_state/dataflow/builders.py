"""What is to be expected of the logics that a user's builder makes, before it makes one.

Owns one question, whether any of them will want to be notified: a step whose logics never do costs less, as no key
group has to be called again for timers that it was not told of (`lanes`). Asked when a step is attached. A wrong answer
loses no timer: each logic is asked all the same.
"""

import dis
from abc import ABCMeta
from collections.abc import Iterator
from types import CodeType
from typing import Any

from bytewax.operators import StatefulBatchLogic, StatefulLogic

_BASES = (StatefulLogic, StatefulBatchLogic)

_SIGNS = frozenset({"notify_at", "__new__", "__getattribute__", "__dict__"})
"""What a class has, or names in its code, by which its objects may come to a `notify_at` of their own."""


def may_notify(builder: Any) -> bool:
    """Tell whether what a builder makes may ever want to be notified.

    A function may return an object of any class, and another one for each state. A class makes objects of its own; and
    where one of these gets a method that the class lacks, the name of that, or of a few others, is in the code, unless
    somebody else's code does it.

    :arg builder: The user's.

    :returns: Whether it is to be expected.

    """
    if type(builder) not in (type, ABCMeta) or not issubclass(builder, _BASES):
        return True
    own = [cls for cls in builder.__mro__ if not any(cls in base.__mro__ for base in _BASES)]
    return any(name in _SIGNS or _is_suspect(value) for cls in own for name, value in vars(cls).items())


def _is_suspect(value: Any) -> bool:
    """Tell whether an attribute of a class might give an object a `notify_at`."""
    function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        return any(word in _SIGNS for word in _words(code))
    return callable(function) and not isinstance(function, type)


def _words(code: CodeType) -> Iterator[str]:
    """Yield the names and texts in some code; an object that changes its class is one of `__dict__`'s kind."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _words(const)
        elif isinstance(const, str):
            yield const
    if any(one.opname == "STORE_ATTR" and one.argval == "__class__" for one in dis.get_instructions(code)):
        yield "__dict__"
