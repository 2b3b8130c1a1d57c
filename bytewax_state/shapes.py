"""Plain dataclasses put together of their fields, as the first version of the msgpack codec stored them.

Owns which classes these are, those whose state is their fields and nothing else, and what happens to a stored one whose
class has changed since. It does not own how the fields are read. Called by the codecs, for rows of older snapshots.
"""

import copyreg
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import MISSING
from importlib import import_module
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any

from bytewax_state.errors import IncompatibleError


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What there is to know of a plain dataclass."""

    kind: type
    fields: tuple[str, ...]
    slotted: bool
    module: str
    find: Callable[[Any], Any]
    """From the module to the class."""

    def is_current(self) -> bool:
        """Tell whether the class is still what its module has under its name, which may have been loaded again."""
        try:
            return self.find(sys.modules.get(self.module)) is self.kind
        except AttributeError:
            return False


@dataclasses.dataclass(frozen=True, slots=True)
class StoredShape:
    """A dataclass as it was when it was stored, and what it takes to make today's of it."""

    shape: Shape
    fields: tuple[str, ...]
    added: tuple[tuple[str, Callable[[], Any]], ...]
    """Fields that the class got since, each with what makes its default."""

    def build(self, values: list[Any]) -> Any:
        """Put an instance together, without a call of its `__init__`.

        :arg values: Values of the stored fields.

        :raises ValueError: If there are more or fewer values than fields.

        """
        made: object = object.__new__(self.shape.kind)
        put = object.__setattr__  # a frozen class refuses its own
        for field, value in zip(self.fields, values, strict=True):
            put(made, field, value)
        for field, default in self.added:
            put(made, field, default())
        return made


_SHAPES: dict[type, Shape] = {}
_STORED: dict[str, StoredShape] = {}


def shape_of(kind: type) -> Shape | None:
    """Return the shape of a class.

    :arg kind: Any class.

    :returns: Its shape, or `None` if it is no plain dataclass, or could not be found again by its name.

    """
    shape = _SHAPES.get(kind)
    if shape is not None and shape.is_current():
        return shape
    if "__dataclass_fields__" not in vars(kind):
        return None
    shape = _study(kind)
    if shape is not None:
        _SHAPES[kind] = shape
    return shape


def stored_shape(name: str) -> StoredShape:
    """Return how to put together what was stored under a name.

    :arg name: Module, qualified name and the names of the fields, at the time: `module:Outer.Inner:x,y`.

    :raises IncompatibleError: If the class is not there, is no plain dataclass any more, lost a field, or got one that
        has no default.

    :raises ValueError: If the name is none.

    """
    stored = _STORED.get(name)
    if stored is None or not stored.shape.is_current():
        stored = _STORED[name] = _find(name)
    return stored


def _study(kind: type) -> Shape | None:
    fields = tuple(field.name for field in dataclasses.fields(kind))
    module, qualname = kind.__module__, kind.__qualname__
    shape = Shape(
        kind=kind,
        fields=fields,
        slotted=kind.__dictoffset__ == 0,
        module=module,
        find=attrgetter(qualname),
    )
    plain = shape.is_current() and not _customises_pickling(kind) and _keeps_fields(shape)
    return shape if plain else None


_INHERITED = ("__new__", "__reduce__", "__reduce_ex__", "__getattribute__")
_ABSENT = ("__getnewargs__", "__getnewargs_ex__", "__getattr__")


def _customises_pickling(kind: type) -> bool:
    """Tell whether a class has a say in how it is pickled, made, or read."""
    return (
        kind in copyreg.dispatch_table
        or any(getattr(kind, name) is not getattr(object, name) for name in _INHERITED)
        or any(hasattr(kind, name) for name in _ABSENT)
        or not _is_generated(kind, "getstate")
        or not _is_generated(kind, "setstate")
    )


def _is_generated(kind: type, method: str) -> bool:
    """Tell whether a method is not there, or is what `dataclass(slots=True)` adds."""
    found = getattr(kind, f"__{method}__", None)
    # The last name is private to `dataclasses`. Should it change, such a class counts as one with a method of its own.
    ours = (None, getattr(object, f"__{method}__", None), getattr(dataclasses, f"_dataclass_{method}", None))
    return any(found is one for one in ours)


def _keeps_fields(shape: Shape) -> bool:
    """Tell whether the fields, and only they, are in the instance's own slots, or all in its `__dict__`."""
    slots: set[str] = set()
    for base in shape.kind.__mro__:
        slots.update(name for name, value in vars(base).items() if isinstance(value, MemberDescriptorType))
    if slots != (set(shape.fields) if shape.slotted else set()):
        return False
    return not any(_is_descriptor(shape.kind, field) for field in shape.fields)


def _is_descriptor(kind: type, field: str) -> bool:
    """Tell whether a class computes a field, as with a property."""
    value: object = next((vars(base)[field] for base in kind.__mro__ if field in vars(base)), None)
    return hasattr(type(value), "__set__") and not isinstance(value, MemberDescriptorType)


def _find(name: str) -> StoredShape:
    module, qualname, joined = name.split(":")
    try:
        kind = attrgetter(qualname)(import_module(module))
    except (ImportError, AttributeError) as ex:
        raise missing_class(module, qualname) from ex
    shape = shape_of(kind) if isinstance(kind, type) else None
    if shape is None:
        msg = f"a stored value needs {module}.{qualname} as the plain dataclass that it was; it is {kind!r} now"
        raise IncompatibleError(msg)
    fields = tuple(joined.split(",")) if joined else ()
    return StoredShape(shape, fields, _added(shape, fields))


def _added(shape: Shape, stored: tuple[str, ...]) -> tuple[tuple[str, Callable[[], Any]], ...]:
    today = {field.name: field for field in dataclasses.fields(shape.kind)}
    lost = [name for name in stored if name not in today]
    added = [today[name] for name in today if name not in stored]
    bare = [field.name for field in added if field.default is MISSING and field.default_factory is MISSING]
    if lost or bare:
        msg = (
            f"{shape.module}.{shape.kind.__qualname__} was stored with the fields {', '.join(stored)}, and has "
            f"{', '.join(today)} now; keep the stored ones and give each new one a default"
        )
        raise IncompatibleError(msg)
    return tuple((field.name, _default(field)) for field in added)


def _default(field: dataclasses.Field[Any]) -> Callable[[], Any]:
    factory = field.default_factory
    return (lambda: field.default) if factory is MISSING else factory


def missing_class(module: str, qualname: str) -> IncompatibleError:
    """Make the error for a class that a stored value needs and that is not there.

    :arg module: Its module.

    :arg qualname: Its qualified name.

    """
    msg = f"a stored value needs {module}.{qualname}, which cannot be imported; bring it back under that name"
    return IncompatibleError(msg)
