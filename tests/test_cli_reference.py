"""The documentation of the command line is true: commands, options, invariants, and what the pages show."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bytewax_state.cli import Clock, app
from tests.admin.test_verify import predicates
from tests.shop import Shop

ROOT = Path(__file__).parent.parent
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
PAGE = (ROOT / "docs" / "cli.md").read_text()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Make one that nothing ran in."""
    return Shop(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(command: str) -> None:
    """With an example, and is in the reference."""
    text = CliRunner().invoke(app, [command, "--help"], catch_exceptions=False).output
    assert f"bytewax-state {command}" in text
    assert f"| `{command}" in PAGE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_reference(command: str) -> None:
    """For the commands that have it, and with the default that it has; no other option is."""
    table = re.findall(r"^\| `(--[\w-]+)[^`]*` \| ([^|]+) \| (.+) \|$", PAGE, re.MULTILINE)
    said = {option: meaning for option, of, meaning in table if of == "all" or f"`{command}`" in of}
    options = {one.opts[0]: one for one in COMMANDS[command].params if one.opts[0].startswith("-")}
    options.pop("--help", None)
    assert set(said) == set(options)
    for option in ("--min-age", "--grace"):
        assert option not in options or f"`{options[option].default}` unless given" in said[option]


def test_every_invariant_is_in_the_reference_and_in_the_help() -> None:
    """By its name."""
    text = CliRunner().invoke(app, ["verify", "--help"], catch_exceptions=False).output
    assert [name for name in predicates() if f"| `{name}` |" not in PAGE or name not in text] == []


def documented() -> list[str]:
    """Find the commands that pages and help texts show, without those that only name one."""
    texts = [PAGE, (ROOT / "README.md").read_text(), (ROOT / "docs" / "operations.md").read_text()]
    texts += [command.help or "" for command in COMMANDS.values()]
    lines = [line for text in texts for line in re.findall(r"^ *(?:\$ )?bytewax-state (.+)$", text, re.MULTILINE)]
    return [line.partition("#")[0].strip() for line in lines]


def test_what_the_pages_show_works(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command, in a folder where a flow ran with the defaults."""
    shop.uri = shop.folder / ".bytewax-state" / "snapshots"
    monkeypatch.chdir(shop.folder)
    commands = documented()
    assert {line.split()[0] for line in commands} == set(COMMANDS)
    for line in commands:
        for _ in range(3 if "@" in line else 1):
            shop.run(1, 2)
        newest = max(shop.manifests(), key=lambda one: (one.version, one.store_id))
        words = re.sub(r"[0-9TZ]{20,}-w000-[0-9a-f]+(@\d+)?", f"{newest.store_id}@{newest.version}", line)
        words = words.replace("/data/snapshots", str(shop.uri)).split()
        done = CliRunner().invoke(app, words, obj=Clock(shop.now, shop.sleep), catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output)
