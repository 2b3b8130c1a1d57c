"""A figure: what was measured, beside what, and what was asked for.

Owns the shape of every line that a benchmark prints, and the judgement. Made by all that measure, read by `results`,
`page` and `plots`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Report: TypeAlias = Callable[[str], None]
"""Told of each turn."""
Side: TypeAlias = Literal["theirs", "ours"]
SIDES: tuple[Side, Side] = ("theirs", "ours")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; its fields are those of the JSON line."""

    case: str
    """Full name: no two figures have the same."""
    against: str
    """What it is compared with."""
    value: float
    """What is judged."""
    unit: str
    """Of the value: `times` for how many times as fast, or how many times as much."""
    turns: int
    at_least: float | None = None
    """What is asked for; without either, the figure is for information."""
    at_most: float | None = None
    theirs: float | None = None
    """What the value was computed from, where it was, in `side_unit`."""
    ours: float | None = None
    side_unit: str | None = None
    more: dict[str, float] = field(default_factory=dict)
    """What else was measured."""

    @property
    def holds(self) -> bool:
        """Whether it is what was asked for."""
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    @property
    def asked(self) -> str:
        """What is asked for, in words; empty if nothing is."""
        bounds = {"at least": self.at_least, "at most": self.at_most}
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
