"""Dataclasses that the first version of the msgpack codec stored: which come back, and what a changed class means."""

import copyreg
import sys
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, fields, make_dataclass
from typing import Any, ClassVar, Generic, TypeVar

import msgpack
import pytest

from bytewax_state.codecs import decode
from bytewax_state.errors import IncompatibleError, SnapshotCorruptError
from bytewax_state.shapes import shape_of

T = TypeVar("T")


@dataclass
class Counted:
    """Has a field that `__init__` does not take, a class variable and an argument that is no field."""

    name: str
    start: InitVar[int]
    total: int = field(init=False)
    made: ClassVar[int] = 0

    def __post_init__(self, start: int) -> None:
        """Count how many were made."""
        self.total = start
        Counted.made += 1


@dataclass
class Empty:
    """No fields."""


@dataclass
class Outer:
    """Holds a class."""

    x: int

    @dataclass
    class Inner:
        """A nested class."""

        x: int


@dataclass
class Child(Outer):
    """Inherits a field."""

    y: int


@dataclass(slots=True)
class SlottedParent:
    """Slots only."""

    x: int


@dataclass(slots=True)
class SlottedChild(SlottedParent):
    """Slots in two classes."""

    y: int


@dataclass
class Typed(Generic[T]):
    """A generic class, as Bytewax's own are."""

    x: T


@dataclass(frozen=True, eq=False)
class Checked:
    """Checks its arguments, which a stored one need not pass any more."""

    x: int

    def __post_init__(self) -> None:
        """Refuse what once was fine."""
        if self.x < 0:
            msg = "negative"
            raise ValueError(msg)


@dataclass
class WithState:
    """Says itself what is pickled."""

    x: int
    secret: int = 0

    def __getstate__(self) -> dict[str, int]:
        """Leave something out."""
        return {"x": self.x, "secret": -1}


@dataclass
class WithSetState:
    """Says itself how it is read back."""

    x: int

    def __setstate__(self, state: dict[str, int]) -> None:
        """Add one."""
        self.x = state["x"] + 1


@dataclass
class WithReduce:
    """Says itself how it is rebuilt."""

    x: int

    def __reduce__(self) -> Any:
        """Add one."""
        return WithReduce, (self.x + 1,)


@dataclass
class WithNew:
    """Makes its instances itself."""

    x: int

    def __new__(cls, *_: Any) -> "WithNew":
        """Do as `object` does."""
        return object.__new__(cls)


@dataclass
class Registered:
    """Pickled by a function."""

    x: int


copyreg.pickle(Registered, lambda value: (Registered, (value.x + 1,)))


@dataclass
class Mapping(dict[str, int]):
    """Has items beside its fields."""

    x: int = 0


@dataclass(slots=True)
class SlottedWithDict(Outer):
    """Has a `__dict__` from its parent, and slots."""

    y: int


@dataclass
class MoreSlots:
    """Has a slot that is no field."""

    __slots__ = ("note", "x")
    x: int


class Undecorated(Outer):
    """Inherits from a dataclass, but is none."""


class Double:
    """A descriptor that keeps half of what is set."""

    def __get__(self, instance: Any, owner: type) -> Any:
        """Return the double."""
        return 0 if instance is None else 2 * instance.__dict__["x"]

    def __set__(self, instance: Any, value: int) -> None:
        """Keep the half."""
        instance.__dict__["x"] = value // 2


@dataclass
class Computed:
    """Has a field that is computed."""

    x: int = Double()  # type: ignore[assignment]


def stored(value: Any, *names: str) -> bytes:
    """Write a dataclass as that version did: a list of a mark, the names of class and fields, and their values."""
    mark = tuple.__new__(msgpack.ExtType, (-37, b""))
    names = names or tuple(one.name for one in fields(value))
    name = f"{type(value).__module__}:{type(value).__qualname__}:{','.join(names)}"
    packed: bytes = msgpack.packb([mark, name, *(getattr(value, name) for name in names)])
    return b"\x01\x01" + packed


@pytest.mark.parametrize(
    "value",
    [Empty(), Outer(1), Outer.Inner(1), Child(1, 2), SlottedParent(1), SlottedChild(1, 2), Typed(1), Counted("a", 5)],
    ids=lambda value: type(value).__qualname__,
)
def test_plain_dataclasses_come_back(value: Any) -> None:
    """Equal, and of the same class."""
    back = decode(stored(value))
    assert type(back) is type(value)
    assert back == value


def test_rebuilding_calls_no_init() -> None:
    """Neither `__init__` nor `__post_init__`, as with pickle."""
    data = stored(Counted("a", 5))
    made = Counted.made
    assert decode(data).total == 5
    assert Counted.made == made


def test_rebuilding_makes_no_checks() -> None:
    """A value that was fine when it was stored comes back."""
    value = Checked(1)
    object.__setattr__(value, "x", -1)
    assert decode(stored(value)).x == -1


@pytest.mark.parametrize(
    "kind",
    [
        *(WithState, WithSetState, WithReduce, WithNew, Registered),
        *(Mapping, SlottedWithDict, MoreSlots, Undecorated, Computed, Typed[int]),
    ],
    ids=lambda kind: kind.__name__,
)
def test_other_dataclasses_were_never_stored_so(kind: Any) -> None:
    """Those that have a say in how they are pickled, or state beside their fields."""
    assert shape_of(kind) is None


def test_a_class_that_cannot_be_found_has_no_shape() -> None:
    """One from inside a function would not be there at a resume."""

    @dataclass
    class Local:
        x: int

    assert shape_of(Local) is None
    assert shape_of(make_dataclass("Outer", ["x"])) is None


@pytest.fixture
def redefine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type]:
    """Put another class in the place of `Outer`, as an edit of the flow does."""

    def define(*fields: Any, **options: Any) -> type:
        kind = make_dataclass("Outer", fields, **options)
        kind.__module__ = __name__
        monkeypatch.setattr(sys.modules[__name__], "Outer", kind)
        return kind

    return define


def test_a_class_that_was_loaded_again_is_used(redefine: Callable[..., type]) -> None:
    """A notebook's cell that is run twice makes a second class of the name."""
    data = stored(Outer(1))
    assert type(decode(data)) is Outer
    kind = redefine("x")
    assert type(decode(data)) is kind


def test_an_added_field_takes_its_default(redefine: Callable[..., type]) -> None:
    """Each instance has a list of its own."""
    data = stored(Outer(1))
    kind = redefine("x", ("y", int, 5), ("z", list[int], field(default_factory=list)))
    first, second = decode(data), decode(data)
    assert first == kind(1, 5, [])
    assert first.z is not second.z


def test_fields_in_another_order_keep_their_values(redefine: Callable[..., type]) -> None:
    """Values go by name."""
    assert decode(stored(Child(1, 2), "y", "x")) == Child(1, 2)


@pytest.mark.parametrize("fields", [("x", "y"), ("y",), (("y", int, 0),)])
def test_a_lost_field_or_a_new_one_without_default_is_refused(redefine: Callable[..., type], fields: Any) -> None:
    """The class and both lists are named."""
    data = stored(Outer(1))
    redefine(*fields)
    with pytest.raises(IncompatibleError, match=r"Outer was stored with the fields x, and has .*y"):
        decode(data)


def test_a_class_that_is_plain_no_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its own `__setstate__` expects is not known."""
    data = stored(Outer(1))
    monkeypatch.setattr(sys.modules[__name__], "Outer", WithSetState)
    with pytest.raises(IncompatibleError, match="plain dataclass"):
        decode(data)


def test_another_number_of_values_than_fields_is_corrupt() -> None:
    """No field is left out."""
    data = stored(Child(1, 2))
    head, length, parts = data[:2], data[2], data[3:]
    for damaged in (bytes([length - 1]) + parts[:-1], bytes([length + 1]) + parts + b"\x03"):
        with pytest.raises(SnapshotCorruptError):
            decode(head + damaged)
