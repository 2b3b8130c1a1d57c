"""How often each thing was taken: what shows that the machine has been where it should.

Owns the counts and their table. Written to by all parts of the machine, read by `python -m tests.model` and the tests.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts, by section and name."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, section: str, name: str, times: int = 1) -> None:
        self.counts.setdefault(section, Counter())[name] += times

    def of(self, section: str, name: str) -> int:
        return self.counts.get(section, Counter())[name]

    def table(self) -> str:
        """Draw all sections, each with its counts, the largest first."""
        lines: list[str] = []
        for section in sorted(self.counts):
            counts = self.counts[section]
            lines += ["", f"{section} ({sum(counts.values())})"]
            lines += [f"  {name:<44} {count:>10}" for name, count in sorted(counts.items(), key=_by_count)]
        return "\n".join(lines[1:])


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


TALLY = Tally()
"""Of this process."""
