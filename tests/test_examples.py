"""The examples do what they say: the generator, the access log flow, the user's own logic.

It owns an independent count of what the access log flow should find, in a dozen lines of plain
Python. Kills and resumes are the integration tests' part. Called by pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import access_log
import access_log_generator as generator
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LINE = '10.0.0.1 - - [04/Mar/2024:10:20:30 +0100] "GET / HTTP/1.1" 200 512 "-" "curl/8.6.0"'


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small log, in three files."""
    folder = tmp_path_factory.mktemp("logs")
    generator.write(folder, count=5_000, seed=3, files=3)
    return folder


@pytest.fixture(scope="module")
def results(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the flow over the small log, with plain Bytewax."""
    out = tmp_path_factory.mktemp("out")
    _run("-m", "bytewax.run", str(EXAMPLES / "access_log.py"), ACCESS_LOG_DIR=logs, ACCESS_LOG_OUT=out)
    return out


def test_the_same_seed_gives_the_same_log(logs: Path, tmp_path: Path) -> None:
    """The generator depends on nothing but its arguments."""
    for again in generator.write(tmp_path, count=5_000, seed=3, files=3):
        assert again.read_bytes() == (logs / again.name).read_bytes()


def test_another_seed_gives_another_log() -> None:
    """The seed is used."""
    assert list(generator.lines(100, seed=1)) != list(generator.lines(100, seed=2))


def test_the_log_is_as_long_as_asked_for(logs: Path) -> None:
    """No line is lost or added on the way to the files."""
    assert sum(1 for _ in _lines(logs)) == 5_000


def test_the_lines_of_a_client_are_in_one_file(logs: Path) -> None:
    """Else their order would depend on which file is read first."""
    files: dict[str, set[str]] = defaultdict(set)
    for path in logs.glob("*.log"):
        for line in path.read_text().splitlines():
            files[line.partition(" ")[0]].add(path.name)
    files.pop("", None)  # empty lines, all alike
    assert {len(names) for names in files.values()} == {1}


def test_late_lines_are_late_by_far_more_than_the_clocks_wait() -> None:
    """And nothing between a little and hopelessly late, which system time could tip over."""
    newest: dict[str, datetime] = {}
    late_by = []
    for client, line in generator.lines(20_000, seed=4):
        hit = access_log.parse(line)
        if isinstance(hit, access_log.Hit):
            late_by.append(newest.get(client, hit.at) - hit.at)
            newest[client] = max(newest.get(client, hit.at), hit.at)
    late = [by for by in late_by if by > timedelta(minutes=1)]
    assert len(late) > 20
    assert min(late) > access_log.WAIT + timedelta(days=30)


def test_a_line_is_parsed() -> None:
    """Client, time in UTC, and bytes."""
    at = datetime(2024, 3, 4, 9, 20, 30, tzinfo=timezone.utc)
    assert access_log.parse(LINE) == access_log.Hit("10.0.0.1", at, 512)


def test_a_response_without_a_body_counts_as_no_bytes() -> None:
    """The format writes `-` for it."""
    hit = access_log.parse(LINE.replace(" 512 ", " - "))
    assert isinstance(hit, access_log.Hit)
    assert hit.bytes == 0


@pytest.mark.parametrize(
    "line",
    ["", LINE[:-1], LINE.replace("04/Mar", "31/Feb"), LINE.replace('"GET', "GET"), LINE + " x"],
    ids=["empty", "cut", "no such day", "no quote", "too long"],
)
def test_a_damaged_line_is_malformed(line: str) -> None:
    """It is kept as it came."""
    assert access_log.parse(line) == access_log.Malformed(line)


def test_hits_per_minute_are_those_of_a_plain_count(logs: Path, results: Path) -> None:
    """Windows of a minute, counted without windows."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for hit in _hits_in_time(logs):
        entry = counts[hit.client, f"{hit.at:%Y-%m-%dT%H:%M:00Z}"]
        entry[0] += 1
        entry[1] += hit.bytes
    expected = [f"{client} {minute} {n} {sent}" for (client, minute), (n, sent) in counts.items()]
    assert _sorted(results / "hits.txt") == sorted(expected)


def test_sessions_are_those_of_a_plain_count(logs: Path, results: Path) -> None:
    """A client's hits in time's order, cut wherever there is a gap."""
    of_client: dict[str, list[access_log.Hit]] = defaultdict(list)
    for hit in _hits_in_time(logs):
        of_client[hit.client].append(hit)
    expected = []
    for client, hits in of_client.items():
        for session in _sessions(sorted(hits, key=lambda hit: hit.at)):
            first, last = (f"{hit.at:%Y-%m-%dT%H:%M:%SZ}" for hit in (session[0], session[-1]))
            sent = sum(hit.bytes for hit in session)
            expected.append(f"{client} {first} {last} {len(session)} {sent}")
    assert _sorted(results / "sessions.txt") == sorted(expected)


def test_every_line_ends_up_somewhere(logs: Path, results: Path) -> None:
    """Counted, late or malformed."""
    counted = sum(int(line.split(" ")[2]) for line in _sorted(results / "hits.txt"))
    late, malformed = _sorted(results / "late.txt"), _sorted(results / "malformed.txt")
    assert late
    assert malformed == sorted(
        line for line in _lines(logs) if isinstance(access_log.parse(line), access_log.Malformed)
    )
    assert counted + len(late) + len(malformed) == 5_000


def test_a_live_log_gives_the_same_as_one_of_the_past(logs: Path, results: Path, tmp_path: Path) -> None:
    """Whether the system clock closes windows, too, changes when, not what."""
    flow = ("-m", "bytewax.run", str(EXAMPLES / "access_log.py"))
    _run(*flow, ACCESS_LOG_DIR=logs, ACCESS_LOG_OUT=tmp_path, ACCESS_LOG_LIVE=1)
    for name in access_log.OUTPUTS:
        assert _sorted(tmp_path / name) == _sorted(results / name)


def test_a_logic_of_the_users_own_warns(tmp_path: Path) -> None:
    """One success in between forgets the failures before it."""
    places = {"BYTEWAX_STATE_URI": tmp_path / "snapshots", "BYTEWAX_STATE_DIR": tmp_path / "work"}
    said = _run("-m", "bytewax.run", str(EXAMPLES / "user_logic.py"), **places)
    assert said.splitlines() == ["bob: 3 failures in a row", "bob: 4 failures in a row"]


def _lines(logs: Path) -> Iterator[str]:
    for path in sorted(logs.glob("*.log")):
        yield from path.read_text().splitlines()


def _hits_in_time(logs: Path) -> Iterator[access_log.Hit]:
    """Leave out malformed and late lines; nothing before the first line's day can be in time."""
    for line in _lines(logs):
        hit = access_log.parse(line)
        if isinstance(hit, access_log.Hit) and hit.at > generator.START - timedelta(days=1):
            yield hit


def _sessions(hits: list[access_log.Hit]) -> Iterator[list[access_log.Hit]]:
    session = hits[:1]
    for hit in hits[1:]:
        if hit.at - session[-1].at > access_log.SESSION_GAP:
            yield session
            session = []
        session.append(hit)
    yield session


def _sorted(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


def _run(*arguments: str, **env: object) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **{name: str(value) for name, value in env.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
