"""`python -m benchmarks.large_state [--keys N] [--plain-keys N] [--dir DIR]`: memory and resume time of a large state.

Owns which runs follow each other, and the limits: a RocksDB store with a small cache is built, resumed, and resumed
once more without its local folder; one line of JSON each. It does not own a run (`large_run`).
Called from the command line; exit code 1 if a limit is passed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from benchmarks.large_run import Result, Run, run_large

PEAK_AT_MOST = 1 << 30
FIRST_ITEM_AT_MOST = 10.0
"""Seconds."""


def measure(keys: int, folder: Path) -> Iterator[tuple[str, Result]]:
    """Build a store and resume it twice.

    :arg keys: Keys in it.

    :arg folder: Empty folder.

    :returns: What each run is called, and gave.

    """
    build, *resumes = plan(keys)
    yield "build", run_large(Run("ours", keys, build, 0, str(folder)))
    yield "resume", run_large(Run("ours", keys, resumes[0], 1, str(folder)))
    rmtree(folder / "work")
    yield "resume_without_dir", run_large(Run("ours", keys, resumes[1], 1, str(folder)))


def measure_plain(keys: int, folder: Path) -> Iterator[tuple[str, Result]]:
    """Do the same with Bytewax alone, which has one folder only.

    :arg keys: Keys.

    :arg folder: Empty folder.

    :returns: As `measure`.

    """
    build, resume, _ = plan(keys)
    yield "build", run_large(Run("theirs", keys, build, 0, str(folder)))
    yield "resume", run_large(Run("theirs", keys, resume, 1, str(folder)))


def plan(keys: int) -> tuple[int, int, int]:
    """Say where each run stops: the first has met every key, and each of the others a tenth of them again."""
    return keys, keys + keys // 10, keys + keys // 10 * 2


def main(argv: list[str]) -> int:
    """Run the command.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    args = _parser().parse_args(argv)
    holds = True
    with TemporaryDirectory(prefix="large-state-", dir=args.dir) as folder:
        for name, result in measure(args.keys, Path(folder)):
            _print("ours", name, args.keys, result)
            holds = holds and result.peak_bytes <= PEAK_AT_MOST and result.first_item_seconds <= FIRST_ITEM_AT_MOST
    if args.plain_keys:
        with TemporaryDirectory(prefix="large-state-", dir=args.dir) as folder:
            for name, result in measure_plain(args.plain_keys, Path(folder)):
                _print("theirs", name, args.plain_keys, result)
    if not holds:
        limits = f"{PEAK_AT_MOST} bytes, and {FIRST_ITEM_AT_MOST} s until the first item"
        print(f"expected of each run of ours at most {limits}", file=sys.stderr)
    return 0 if holds else 1


def _print(side: str, name: str, keys: int, result: Result) -> None:
    print(json.dumps({"case": "large_state", "run": name, "side": side, "keys": keys, **asdict(result)}), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_state")
    parser.add_argument("--keys", type=int, default=5_000_000, metavar="N", help="keys in the store (default: 5000000)")
    parser.add_argument("--plain-keys", type=int, default=0, metavar="N", help="also resume Bytewax alone on N keys")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where some GB of files go (default: the system's)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
