"""Who visits a web server, and how: an access log in, hits per minute and sessions out.

A plain Bytewax flow. Nothing here knows of `bytewax_state`: `python -m bytewax_state.run` gives
its state a store without a change to it, and a run that was killed with -9 and resumed leaves
the same lines, in the same order for each client, as one that was left alone.

    python examples/access_log_generator.py logs
    mkdir recovery && python -m bytewax.recovery recovery 1
    export ACCESS_LOG_DIR=logs ACCESS_LOG_OUT=out
    python -m bytewax_state.run examples/access_log.py -r recovery -s 10 -b 60

Each of these is a line of the files in `ACCESS_LOG_OUT`:

    hits.txt       client minute hits bytes      by tumbling windows of a minute
    sessions.txt   client first last hits bytes  by windows that 30 minutes of silence end
    late.txt       client time bytes             too old for any window
    malformed.txt  the line as it came           not in the Combined Log Format

What makes its results repeat, whatever is killed and however many workers resume:

- All lines of a client are in one file, so each client's lines arrive in the file's order.
- A clock waits a day. `EventClock` adds the system time that has passed to its watermark, so
  a wait that a run (with its pauses between a crash and a resume) could outlast would make a
  line late in one run and not in another. Late lines here are weeks late, or not late at all.
- Windows are folded in the order of their timestamps (`fold_window`'s default), so a client's
  windows close in that order, at whatever moment the watermark passes them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.files import DirSource, FileSink
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream
from bytewax.operators.windowing import (
    UTC_MAX,
    UTC_MIN,
    EventClock,
    SessionWindower,
    TumblingWindower,
    fold_window,
)

MINUTE = timedelta(minutes=1)
SESSION_GAP = timedelta(minutes=30)
WAIT = timedelta(days=1)
ALIGN_TO = datetime(2024, 1, 1, tzinfo=timezone.utc)
OUTPUTS = ("hits.txt", "sessions.txt", "late.txt", "malformed.txt")

_COMBINED = re.compile(
    r"(?P<client>\S+) \S+ \S+ "
    r"\[(?P<time>\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\] "
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+|-) "[^"]*" "[^"]*"'
)


@dataclass(frozen=True)
class Hit:
    """One request, as far as the windows need it."""

    client: str
    at: datetime
    bytes: int


@dataclass(frozen=True)
class Malformed:
    """A line that is not in the Combined Log Format."""

    line: str

    @property
    def client(self) -> str:
        """The first word, which in a damaged line most often still is the client."""
        return self.line.partition(" ")[0]


@dataclass(frozen=True)
class Visit:
    """What a session amounts to so far."""

    first: datetime
    last: datetime
    hits: int
    bytes: int


NO_VISIT = Visit(UTC_MAX, UTC_MIN, 0, 0)


def parse(line: str) -> Hit | Malformed:
    """Read one line of a log.

    :arg line: Without its newline.

    :returns: The request, or the line itself where it is not in the Combined Log Format.

    """
    found = _COMBINED.fullmatch(line)
    if found is None:
        return Malformed(line)
    try:
        at = datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z").astimezone(timezone.utc)
    except ValueError:
        return Malformed(line)
    sent = 0 if found["bytes"] == "-" else int(found["bytes"])
    return Hit(found["client"], at, sent)


def access_log(logs: Path, out: Path, batch_size: int = 1000, pause: float = 0.0, live: bool = False) -> Dataflow:
    """Build the flow.

    :arg logs: Folder with `*.log` files; the same on all workers.

    :arg out: Folder for the results; the same on all workers. Made where it is missing.

    :arg batch_size: Lines to read at a time, from each file.

    :arg pause: Seconds to wait after each batch, to watch a short log go by.

    :arg live: Whether the log is still being written, so that the system clock closes windows,
        too. For a log of the past it would only wake every open window again and again.

    :returns: The flow, ready to run.

    """
    flow = Dataflow("access_log")
    # All workers see the same folder, so the file system's own id says nothing.
    source = DirSource(logs, "*.log", batch_size, get_fs_id=lambda _: "logs")
    lines = op.input("logs", flow, source)
    if pause > 0:
        lines = op.flat_map_batch("pause", lines, _paused(pause))
    parsed = op.map("parse", lines, parse)
    well_formed = op.filter_map("hit", parsed, lambda one: one if isinstance(one, Hit) else None)
    damaged = op.filter_map("rest", parsed, lambda one: one if isinstance(one, Malformed) else None)
    by_client = op.key_on("client", well_formed, lambda hit: hit.client)

    clock = EventClock(_at, WAIT) if live else EventClock(_at, WAIT, to_system_utc=_never)
    minutes = fold_window(
        "minutes",
        by_client,
        clock,
        TumblingWindower(length=MINUTE, align_to=ALIGN_TO),
        builder=lambda: (0, 0),
        folder=lambda sums, hit: (sums[0] + 1, sums[1] + hit.bytes),
        merger=lambda ours, theirs: (ours[0] + theirs[0], ours[1] + theirs[1]),
    )
    sessions = fold_window(
        "sessions",
        by_client,
        clock,
        SessionWindower(gap=SESSION_GAP),
        builder=lambda: NO_VISIT,
        folder=_lengthen,
        merger=_join,
    )

    _write("hits_file", op.map("hits_line", minutes.down, _hits_line), out / "hits.txt")
    _write("sessions_file", op.map("session_line", sessions.down, _session_line), out / "sessions.txt")
    # A line is late for both kinds of windows or for none; once is enough.
    _write("late_file", op.map("late_line", minutes.late, _late_line), out / "late.txt")
    _write(
        "malformed_file",
        op.map("malformed_line", damaged, lambda one: (one.client, one.line)),
        out / "malformed.txt",
    )
    return flow


def flow() -> Dataflow:
    """Build the flow from `ACCESS_LOG_DIR`, `_OUT`, `_BATCH` (lines), `_PAUSE` (seconds), `_LIVE`.

    :returns: The flow, ready to run.

    """
    env = os.environ
    return access_log(
        Path(env.get("ACCESS_LOG_DIR", "logs")),
        Path(env.get("ACCESS_LOG_OUT", "out")),
        int(env.get("ACCESS_LOG_BATCH", "1000")),
        float(env.get("ACCESS_LOG_PAUSE", "0")),
        env.get("ACCESS_LOG_LIVE", "0") == "1",
    )


def _write(step_id: str, lines: KeyedStream[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # FileSink opens only what is there
    op.output(step_id, lines, FileSink(path))


def _paused(seconds: float) -> Callable[[list[str]], list[str]]:
    def pass_on(lines: list[str]) -> list[str]:
        time.sleep(seconds)
        return lines

    return pass_on


def _at(hit: Hit) -> datetime:
    return hit.at


def _never(_at: datetime) -> None:
    """When to wake for a window of the past: every moment would do, and none is needed."""


def _lengthen(visit: Visit, hit: Hit) -> Visit:
    return _join(visit, Visit(hit.at, hit.at, 1, hit.bytes))


def _join(one: Visit, other: Visit) -> Visit:
    return Visit(
        min(one.first, other.first),
        max(one.last, other.last),
        one.hits + other.hits,
        one.bytes + other.bytes,
    )


def _hits_line(window: tuple[str, tuple[int, tuple[int, int]]]) -> tuple[str, str]:
    client, (number, (hits, sent)) = window
    return client, f"{client} {_stamp(ALIGN_TO + number * MINUTE)} {hits} {sent}"


def _session_line(window: tuple[str, tuple[int, Visit]]) -> tuple[str, str]:
    client, (_number, visit) = window
    return client, (f"{client} {_stamp(visit.first)} {_stamp(visit.last)} {visit.hits} {visit.bytes}")


def _late_line(late: tuple[str, tuple[int, Hit]]) -> tuple[str, str]:
    client, (_number, hit) = late
    return client, f"{client} {_stamp(hit.at)} {hit.bytes}"


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
