"""Writes access logs in the Combined Log Format, of any size, from a seed.

It owns what a visit looks like, and the share of late and of malformed lines; it knows
nothing of the flow that reads them. All lines of one client go to one file, in the order in
which a web server would have written them. Called by hand, by the demo and by the tests.
"""

from __future__ import annotations

import argparse
import heapq
import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from zlib import crc32

START = datetime(2024, 3, 4, tzinfo=timezone.utc)
"""The time of the first line."""

SPAN = timedelta(days=30)
"""From the first line to about the last, however many lines there are."""

LATE_BY = (timedelta(days=45), timedelta(days=60))
"""How much older than its neighbours a late line is, at least and at most."""

LATE_SHARE = 0.003
"""Of all lines: lines that a log forwarder held back for weeks."""

MALFORMED_SHARE = 0.005
"""Of all lines: lines that no parser of the format should accept."""

_VISIT = 8  # requests in a visit, in the mean
_STAMPED_EARLIER = 2.0  # seconds: a line is stamped when its request begins, written at its end

_PAGES = (
    "/",
    "/about",
    "/blog/",
    "/blog/2024/02/streams-and-tables",
    "/blog/2024/03/state-that-survives",
    "/cart",
    "/docs/getting-started",
    "/docs/reference?q=window",
    "/favicon.ico",
    "/login",
    "/robots.txt",
    "/static/app.3f9c1d.js",
    "/static/site.css",
)
_REFERERS = ("-", "-", "https://www.example.com/", "https://search.example.org/?q=keyed+state")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:123.0) Gecko/20100101 Firefox/123.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_3) AppleWebKit/605.1.15 Version/17.3 Safari/605.1.15",
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example.net/)",
    "curl/8.6.0",
)
_STATUSES = ("200",) * 16 + ("304", "304", "404", "302", "500")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def lines(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Make up the lines of a web server's log.

    Late lines belong to clients that were seen a moment before, so that what is late does not
    depend on anything but the order of a client's lines.

    :arg count: How many lines.

    :arg seed: The same seed gives the same lines.

    :returns: `(client, line)`, without the newline, in the order of writing.

    """
    rng = Random(seed)
    for client, seconds, first_of_visit in _requests(count, rng):
        at = START + timedelta(seconds=seconds - rng.random() * _STAMPED_EARLIER)
        chance = rng.random()
        if chance < LATE_SHARE and not first_of_visit:
            least, most = LATE_BY
            yield client, _line(client, at - least - rng.random() * (most - least), rng)
        elif chance > 1 - MALFORMED_SHARE:
            yield client, _spoil(_line(client, at, rng), rng)
        else:
            yield client, _line(client, at, rng)


def write(out: Path, count: int, seed: int, files: int) -> list[Path]:
    """Write a log as `access-0.log`, `access-1.log`, … into a folder.

    :arg out: The folder; made where it is missing.

    :arg count: How many lines, in all files together.

    :arg seed: The same seed gives the same files.

    :arg files: How many files. A client's lines are all in one of them.

    :returns: The files.

    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"access-{index}.log" for index in range(files)]
    with ExitStack() as stack:
        opened = [stack.enter_context(path.open("w", encoding="ascii")) for path in paths]
        for client, line in lines(count, seed):
            opened[crc32(client.encode()) % files].write(line + "\n")
    return paths


def _requests(count: int, rng: Random) -> Iterator[tuple[str, float, bool]]:
    """Let visits begin, overlap and end: `(client, second, first of its visit)` in time's order."""
    clients = _clients(max(20, count // 60), rng)
    between_visits = SPAN.total_seconds() * _VISIT / max(count, 1)
    visits: list[tuple[float, str, int]] = []
    arrival = rng.expovariate(1 / between_visits)
    for _ in range(count):
        if not visits or arrival <= visits[0][0]:
            # A square favours the front: a few clients come every day, most come once or twice.
            client = clients[int(rng.random() ** 2 * len(clients))]
            seconds, left, first = arrival, int(rng.expovariate(1 / _VISIT)), True
            arrival += rng.expovariate(1 / between_visits)
        else:
            seconds, client, left = heapq.heappop(visits)
            first = False
        yield client, seconds, first
        if left > 0:
            heapq.heappush(visits, (seconds + rng.expovariate(1 / 25), client, left - 1))


def _clients(count: int, rng: Random) -> list[str]:
    """Make up private addresses, one in eight of them IPv6."""
    return [_ipv6(rng) if index % 8 == 7 else _ipv4(rng) for index in range(count)]


def _ipv4(rng: Random) -> str:
    return str(ipaddress.IPv4Address((10 << 24) + rng.getrandbits(24)))


def _ipv6(rng: Random) -> str:
    return str(ipaddress.IPv6Address((0xFD00 << 112) + rng.getrandbits(64)))


def _line(client: str, at: datetime, rng: Random) -> str:
    stamp = f"{at.day:02}/{_MONTHS[at.month - 1]}/{at.year}:{at.hour:02}:{at.minute:02}:{at.second:02} +0000"
    status = _pick(_STATUSES, rng)
    agent = _AGENTS[crc32(client.encode()) % len(_AGENTS)]
    sent = "-" if status == "304" else str(int(rng.expovariate(1 / 9_000)) + 120)
    return (
        f'{client} - - [{stamp}] "GET {_pick(_PAGES, rng)} HTTP/1.1" {status} {sent}'
        f' "{_pick(_REFERERS, rng)}" "{agent}"'
    )


def _spoil(line: str, rng: Random) -> str:
    """Damage a line as disks, proxies and clocks do; its client stays in front."""
    client, rest = line.split(" ", 1)
    kind = rng.randrange(5)
    if kind == 0:
        return f"{client} {rest[: rng.randrange(1, len(rest))]}"
    if kind == 1:
        return f"{client} {rest.replace('[', '[3', 1)}"
    if kind == 2:
        return f"{client} {rest.replace(' HTTP/1.1', '', 1).replace(chr(34), '', 1)}"
    if kind == 3:
        return f"{client} {rest.replace('] ', '] -> upstream timed out: ', 1)}"
    return ""


def _pick(choices: tuple[str, ...], rng: Random) -> str:
    return choices[int(rng.random() * len(choices))]


def main() -> None:
    """Write a log as the command line says."""
    parser = argparse.ArgumentParser(description="Write access logs in the Combined Log Format.")
    parser.add_argument("out", type=Path, help="folder for access-0.log, access-1.log, …")
    parser.add_argument("--lines", type=int, default=200_000, help="in all files together")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same files")
    parser.add_argument("--files", type=int, default=4, help="a client's lines are all in one")
    args = parser.parse_args()
    for path in write(args.out, args.lines, args.seed, args.files):
        print(path)


if __name__ == "__main__":
    main()
