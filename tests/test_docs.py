"""The documentation is complete, names nothing that is not there, and its links and code work."""

import ast
import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import Counter, Histogram

import bytewax_state
from bytewax_state import errors, metrics
from bytewax_state.settings import Settings, variables

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
VARIABLE = re.compile(r"BYTEWAX_STATE_[A-Z_]+")


def rows(page: Path) -> dict[str, list[str]]:
    """Read the tables of a page: first cell, without its backticks, to all cells."""
    found = {}
    for line in page.read_text().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found[cells[0].strip(" `")] = [cell.strip("`") for cell in cells]
    return found


def default_of(name: str) -> str:
    """Write a default as the documentation does."""
    field = Settings.model_fields[name]
    default = field.default if field.default_factory is None else field.default_factory()  # type: ignore[call-arg]
    return "1h" if default == timedelta(hours=1) else str(default)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_reference(name: str) -> None:
    """With its variable, keyword, and the default that it has."""
    cells = rows(ROOT / "docs" / "settings.md")[f"BYTEWAX_STATE_{name.upper()}"]
    assert (cells[1], cells[3]) == (name, default_of(name))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readme(name: str) -> None:
    """With the default that it has."""
    assert rows(ROOT / "README.md")[f"BYTEWAX_STATE_{name.upper()}"][1] == default_of(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_variable_that_is_not_there(page: Path) -> None:
    """A setting that was renamed or never made."""
    others = {"BYTEWAX_STATE_", "BYTEWAX_STATE_SERVICE_HOST", "BYTEWAX_STATE_PORT"}
    assert set(VARIABLE.findall(page.read_text())) - others <= set(variables())


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_in_the_reference(name: str) -> None:
    """With the kind and the exit code that it has."""
    error = getattr(errors, name)
    assert rows(ROOT / "docs" / "errors.md")[name][1:3] == [error.kind, str(error.exit_code)]


def test_every_metric_is_in_the_reference() -> None:
    """With its labels, and no other metric is."""
    page = rows(ROOT / "docs" / "operations.md")
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, (Counter, Histogram)):
            (family,) = metric.collect()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, set(metric._labelnames) - {"step_id"})
    said = {
        name: (cells[1], set(re.findall(r"`?(\w+)`?:", cells[2])))
        for name, cells in page.items()
        if name.startswith("bytewax_state_")
    }
    assert said == found


@pytest.mark.parametrize("values", [metrics.PHASES, metrics.ORIGINS])
def test_the_values_of_labels_are_in_the_reference(values: tuple[str, ...]) -> None:
    """In their order."""
    assert ", ".join(f"`{value}`" for value in values) in (ROOT / "docs" / "operations.md").read_text()


def test_all_is_what_imports() -> None:
    """The public door offers what it says, and the first page of the documentation says all of it."""
    index = (ROOT / "docs" / "index.md").read_text()
    assert bytewax_state.__all__ == ["Settings", "attach", "errors"]
    for name in bytewax_state.__all__:
        assert hasattr(bytewax_state, name)
        assert f"| `{name}" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Those within the project."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_pages_is_python(page: Path) -> None:
    """And imports what there is."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                exec(compile(ast.Module([node], []), page.name, "exec"), {})


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_commands_of_the_readme_are_targets(command: str) -> None:
    """The two that a visitor tries first."""
    assert f"make {command} " in (ROOT / "README.md").read_text()
    assert re.search(rf"^{command}: ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_room_is_on_a_floor() -> None:
    """A folder, or a module beside them, that no contract names could import anything."""
    linted = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "bytewax_state").iterdir() if path.suffix in {"", ".py"}}
    rooms -= {"__init__", "__pycache__"}
    assert {room for room in rooms if not re.search(rf'[" ]bytewax_state\.{room}[" ]', linted)} == set()
