"""Fields of what was read from outside: a value may be anything, and is checked before it is used.

Owns how a check fails: a `ValueError` that says what was found and what was expected. It does not own the rules, nor
what is said to the user. Called by `manifest`, for every field.
"""

import math
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

__all__ = [
    "check",
    "check_bytes",
    "check_count",
    "check_counts",
    "check_each_bytes",
    "check_list",
    "check_map",
    "check_once",
    "check_seconds",
    "check_text",
    "check_time",
]


def check(holds: bool, what: str, found: object, expected: str) -> None:
    """Check that a rule holds.

    :arg holds: Whether it does.

    :arg what: Name of the field.

    :arg found: Its value.

    :arg expected: What it should be, in words.

    :raises ValueError: If it does not hold.

    """
    if not holds:
        msg = f"{what} is {repr(found)[:200]}, expected {expected}"
        raise ValueError(msg)


def check_text(value: object, what: str) -> str:
    """Check that a value is a `str`; see `check`."""
    check(type(value) is str, what, value, "a text")
    assert isinstance(value, str)
    return value


def check_bytes(value: object, what: str) -> bytes:
    """Check that a value is `bytes`; see `check`."""
    check(type(value) is bytes, what, value, "bytes")
    assert isinstance(value, bytes)
    return value


def check_count(value: object, what: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """Check that a value is a whole number between two, both of them included; see `check`."""
    # Not `isinstance`: `True` is an int, too.
    good = type(value) is int and least <= value <= most
    check(good, what, value, f"a whole number from {least} to {most}")
    assert isinstance(value, int)
    return value


def check_counts(values: Iterable[object], what: str, least: int = 0, most: int = 2**63 - 1) -> None:
    """Check that each of many values is a whole number between two; see `check_count`."""
    for value in values:
        # A call for each of them would be half of what it takes to write a manifest.
        if type(value) is not int or not least <= value <= most:
            check_count(value, what, least, most)


def check_each_bytes(values: Iterable[object], what: str) -> None:
    """Check that each of many values is `bytes`; see `check`."""
    for value in values:
        if type(value) is not bytes:
            check_bytes(value, what)


def check_seconds(value: object, what: str) -> float:
    """Check that a value is a number of seconds; see `check`."""
    good = type(value) in {int, float} and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]
    check(good, what, value, "a number of seconds, 0 or more")
    assert isinstance(value, int | float)
    return float(value)


def check_time(value: object, what: str) -> datetime:
    """Check that a value is a time in RFC 3339, with its zone; see `check`."""
    text = check_text(value, what)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    check(moment is not None and moment.tzinfo is not None, what, value, "a time with its zone, as in RFC 3339")
    assert moment is not None
    return moment


def check_list(value: object, what: str) -> list[object]:
    """Check that a value is a list; see `check`."""
    check(type(value) is list, what, value, "a list")
    assert isinstance(value, list)
    return value


def check_map(value: object, what: str) -> dict[Any, Any]:
    """Check that a value is a map; see `check`."""
    check(type(value) is dict, what, value, "a map")
    assert isinstance(value, dict)
    return value


def check_once(values: Collection[object], what: str) -> None:
    """Check that no value is in a collection twice; see `check`."""
    check(len(set(values)) == len(values), what, sorted(map(str, values)), "each only once")
