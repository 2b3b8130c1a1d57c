"""`docs/design.md` tells the bytes, names, fields, floors and invariants that the code has."""

import re
from pathlib import Path
from typing import Any

import pytest

from bytewax_state.admin import invariants
from bytewax_state.registry import State
from bytewax_state.snapshot.manifest import FileEntry, Manifest, Seconds, Stats

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "design.md").read_text()
FORMATS = ["Key groups", "Row keys", "Row values", "Codecs", "Windows", "Names", "Refs", "Manifests"]


def section(title: str) -> str:
    """Return what is under a heading, down to the next one."""
    return re.split(r"^##+ ", PAGE.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def table(title: str) -> list[list[str]]:
    """Return the cells of a section's rows, of those that begin with code."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code(text: str) -> list[str]:
    """Return what is between backticks."""
    return re.findall(r"`([^`]+)`", text)


def fields(title: str) -> dict[str, str]:
    """Return a section's rows that begin with a name: that, and what is told of it."""
    return {code(first)[0]: told for first, told in table(title) if re.fullmatch(r"`[a-z_]+`", first)}


def names_of(kind: Any) -> list[str]:
    """Name the fields of a class that a manifest holds; its own size it cannot hold."""
    return [name for name in kind.__annotations__ if name != "manifest_bytes"]


EXAMPLES = [
    (title, code(first)[0], code(told)[0])
    for title in FORMATS
    for first, told in table(title)
    if not re.fullmatch(r"`[a-z_]+`", first)
]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Run the page's block of Python, which the examples go on from."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {}
    exec(block, found)
    return found


@pytest.mark.parametrize(("title", "example", "shown"), EXAMPLES, ids=[one for _, one, _ in EXAMPLES])
def test_an_example_gives_what_is_shown(title: str, example: str, shown: str, names: dict[str, Any]) -> None:
    """Byte by byte: spaces part the fields."""
    found = eval(example, names)
    assert found == (bytes.fromhex(shown) if isinstance(found, bytes) else eval(shown))


def test_each_format_has_an_example() -> None:
    """A page without any would be as good as a right one."""
    assert {title for title, _, _ in EXAMPLES} == set(FORMATS)


def test_the_fields_are_those_of_a_manifest() -> None:
    """In their order, and so are those of the maps inside."""
    told = fields("Manifests")
    assert list(told) == names_of(Manifest)
    assert code(told["files"]) == names_of(FileEntry)
    assert code(told["states"]) == names_of(State)
    assert code(told["stats"]) == [*names_of(Stats), *names_of(Seconds)]


def test_the_floors_are_those_that_are_linted() -> None:
    """From the top to the ground."""
    layers = (ROOT / "pyproject.toml").read_text().partition("\nlayers = [")[2].partition("\n]")[0]
    linted = [re.findall(r"bytewax_state\.(\w+)", line) for line in layers.splitlines() if '"' in line]
    assert [code(first) for first, _ in table("Floors")] == linted


def test_the_invariants_are_the_predicates() -> None:
    """All that look for findings in a step, in some order."""
    looks = {name for name, made in vars(invariants).items() if getattr(made, "__module__", "") == invariants.__name__}
    looks -= {"Finding", "check_step", *(name for name in looks if name.startswith("_"))}
    assert {code(first)[0] for first, _ in table("Invariants")} == looks
