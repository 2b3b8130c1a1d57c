"""How numbers, ages and names are shown, and when there is a progress bar."""

import sys
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from bytewax_state.admin.views import Bar, age_text, one_line, plain, ranges_text, size_text
from tests.snapshot.listings import NOW


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (999 << 10, "999.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3000 << 40, "3000.0 TiB"),
        (None, "gone"),
    ],
)
def test_sizes_are_short(size: int | None, text: str) -> None:
    """In the units of the settings."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (119.9, "119 s"), (120, "2 m"), (7199, "119 m"), (7200, "2 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_ages_are_short(seconds: float, text: str) -> None:
    """What another clock put into the future is new."""
    assert age_text(NOW - timedelta(seconds=seconds), NOW) == text


def test_numbers_in_a_row_are_a_range() -> None:
    """Key groups mostly are."""
    assert ranges_text([7, 0, 2, 1, 9, 10]) == "0-2, 7, 9-10"
    assert ranges_text([]) == ""


@pytest.mark.parametrize("text", ["a\x1b[2J", "a\rb", "a\nb", "\u202ea", "\ud800"])
def test_what_is_no_plain_text_is_escaped(text: str) -> None:
    """It could hide a line, or move it."""
    assert plain(text).isascii()
    assert one_line(text).isprintable()


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_bar_comes_when_it_takes_long(watch: Watch) -> None:
    """Not before a second, and it says how far it is."""
    screen = StringIO()
    bar = Bar("checking", Console(file=screen, force_terminal=True), watch)
    bar.expect(3)
    bar.advance()
    assert screen.getvalue() == ""
    watch.seconds = 1.5
    bar.advance()
    bar.close()
    assert "checking" in screen.getvalue()
    assert "2/3" in screen.getvalue()


def test_a_bar_writes_nothing_where_there_is_no_terminal(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """A log file is none."""
    bar = Bar("checking", clock=watch)
    watch.seconds = 100
    bar.expect(3)
    bar.advance()
    bar.close()
    assert capsys.readouterr() == ("", "")


def test_a_bar_leaves_standard_output_alone(watch: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed while it is there goes where it should."""
    screen = StringIO()
    bar = Bar("checking", Console(file=screen, force_terminal=True), watch)
    watch.seconds = 100
    bar.expect(3)
    sys.stdout.write("a line\n")
    bar.close()
    assert capsys.readouterr().out == "a line\n"
    assert "a line" not in screen.getvalue()
