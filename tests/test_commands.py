"""What messages, docstrings and pages tell to run is there: commands, flags, modules, targets, variables, files."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from bytewax_state.cli import Clock, app
from bytewax_state.run import _parser
from bytewax_state.settings import variables
from bytewax_state.storage.uri import _EXTRAS
from tests.shop import Shop

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [path for folder in ("bytewax_state", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
MAKEFILE = (ROOT / "Makefile").read_text()
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
PYPROJECT = (ROOT / "pyproject.toml").read_text()

THEIRS = {"--ulimit", "--nofile"}
"""Flags of programs that are not ours."""
SERVICES = {"BYTEWAX_STATE_", "BYTEWAX_STATE_SERVICE_HOST", "BYTEWAX_STATE_PORT"}
"""What is no setting: the prefix, and what Kubernetes sets for a Service."""


def strings(path: Path) -> Iterator[str]:
    """Read the texts of a module: messages, with a brace for each value in them, and docstrings."""
    tree = ast.parse(path.read_text())
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


@cache
def texts() -> dict[str, str]:
    """Read everything that tells somebody something, by its path."""
    told = {path: path.read_text() for path in PAGES} | {path: "\n".join(strings(path)) for path in MODULES}
    return {str(path.relative_to(ROOT)): text for path, text in told.items()}


def everywhere(pattern: str) -> set[tuple[str, str]]:
    """Find what is said where; the first group of the pattern is what."""
    return {(found, name) for name, text in texts().items() for found in re.findall(pattern, text, re.MULTILINE)}


def flags() -> set[str]:
    """Name the flags of all our programs."""
    command = get_command(app)
    params = [*command.params, *(param for one in COMMANDS.values() for param in one.params)]
    folders = ("benchmarks", "examples", "integration_tests", "tests")
    programs = [ROOT / "conftest.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    code = "".join(path.read_text() for path in programs)
    ours = [flag for one in params for flag in one.opts]
    runs = [flag for one in _parser()._actions for flag in one.option_strings]
    return {"--help", *ours, *runs, *re.findall(r'(?:add_argument|addoption)\("(--[a-z-]+)"', code)}


def test_every_command_that_is_named_exists() -> None:
    """An error that says to run another one helps nobody."""
    named = everywhere(r"(?:`|^ *\$? ?|\" )bytewax-state ([a-z]+)\b")
    assert {found for found, _ in named} == set(COMMANDS)


def test_every_flag_that_is_named_exists() -> None:
    """Of a program of ours."""
    named, known = everywhere(r"(?<![\w-])(--[a-z][a-z-]+)\b"), flags()
    assert {one for one in named if one[0] not in known | THEIRS} == set()


def test_every_module_that_is_to_be_run_exists() -> None:
    """And is a program, or has one."""
    named = everywhere(r"python -m ([\w.]+\w)")
    assert {one for one in named if find_spec(one[0]) is None} == set()


def test_every_target_that_is_named_exists() -> None:
    """In the Makefile."""
    named = everywhere(r"(?:`|^|; )make ([a-z]+)(?=`| *#| [A-Z]+=|,|$)")
    assert {found for found, _ in named} >= {"demo", "test", "soak"}
    assert {one for one in named if not re.search(rf"^{one[0]}:", MAKEFILE, re.MULTILINE)} == set()


def test_every_variable_that_is_named_exists() -> None:
    """In messages, and on pages."""
    named = everywhere(r"\b(BYTEWAX_STATE_[A-Z_]*)")
    assert {one for one in named if one[0] not in {*variables(), *SERVICES}} == set()


def test_every_file_that_is_named_exists() -> None:
    """Below a folder of the project."""
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = everywhere(rf"`((?:{folders})/[\w./-]+)`")
    assert {one for one in named if not (ROOT / one[0]).exists()} == set()


def test_every_extra_that_is_named_exists() -> None:
    """In the command that installs a driver."""
    extras = set(re.findall(r"^(\w+) = \[", PYPROJECT.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    assert set(_EXTRAS.values()) <= extras


def test_every_requirement_has_a_floor() -> None:
    """Without one, an old version is installed where another package wants old ones of what it needs."""
    project = PYPROJECT.partition("dependencies = [")[2].partition("[tool.")[0]
    wanted = re.findall(r'^ +"(.+)",$|^\w+ = \["(.+)"\]$', project, re.MULTILINE)
    assert [one for pair in wanted for one in pair if one and ">=" not in one] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    """By way of the first page of the documentation."""
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} == linked


# What is shown as the output of a command


def shape(line: str) -> str:
    """Take out of a line what differs from one job to the next."""
    line = re.sub(r"\b[0-9TZ]{20,}-w\d+-[0-9a-f]+\b|\b[0-9a-f]{16,}\b", "ID", line)
    line = re.sub(r"\b(access_log|flow)(\.[\w.]+)?", "NAME", line)
    line = re.sub(r"\d[\d.,:T+-]*", "0", line)
    line = re.sub(r"\b0 (B|[KMGT]iB)\b", "SIZE", line)
    line = re.sub(r"\b0 [smhd]\b", "AGE", line)
    line = re.sub(r"\b(store|version|file|manifest|step|finding|ref)s\b", r"\1", line)
    return " ".join(line.split())


def session() -> dict[str, list[str]]:
    """Read the page's session: command to output."""
    (block,) = re.findall(
        r"^## A session$.*?```\n(.*?)```", (ROOT / "docs" / "cli.md").read_text(), re.DOTALL | re.MULTILINE
    )
    commands = re.split(r"^\$ bytewax-state ", block, flags=re.MULTILINE)[1:]
    return {line: output.splitlines() for line, _, output in (command.partition("\n") for command in commands)}


def test_what_the_session_shows_is_what_is_printed(tmp_path: Path) -> None:
    """Line by line, but for names, numbers and what is left out."""
    shop = Shop(tmp_path)
    shop.run(1, 2, 1, steps="st")
    shop.run(3, 1, steps="st")
    newest = max(shop.manifests(), key=lambda one: (one.store_id, one.version))
    for line, shown in session().items():
        words = re.sub(r"[0-9TZ]{20,}-w000-[0-9a-f]+@\d+", f"{newest.store_id}@{newest.version}", line)
        words = words.replace("access_log.sessions", "flow.s").replace("recovery recovery", f"recovery {shop.recovery}")
        done = CliRunner().invoke(app, [*words.split(), "--uri", str(shop.uri)], obj=Clock(shop.now, shop.sleep))
        printed = {shape(one) for one in done.stdout.splitlines()}
        assert [one for one in shown if one not in {"", "..."} and shape(one) not in printed] == [], (line, done.stdout)


def test_the_version_is_that_of_the_package() -> None:
    """As the package names it."""
    (number,) = re.findall(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)
    assert CliRunner().invoke(app, ["--version"]).stdout == f"bytewax-state {number}\n"
