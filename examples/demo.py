"""What `make demo` shows: a flow that is killed with -9, resumed, and none the worse for it.

It writes an access log, runs `access_log.py` over it once with plain Bytewax, which nobody
disturbs, and once with `bytewax_state`, which it kills in the middle and resumes. Then it
compares the files. All of it happens in a temporary folder. Run by hand and by the tests.

    python examples/demo.py --lines 60000
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from access_log import OUTPUTS
from access_log_generator import write

FLOW = Path(__file__).with_name("access_log.py")
SEED = 42
BACKEND = os.environ.get("BYTEWAX_STATE_BACKEND", "rocksdb")
BATCH = 200  # lines
TAKES = 8.0  # seconds, at least, so that there is a middle to be killed in
VERSIONS_BEFORE_THE_KILL = 3
PATIENCE = 60.0  # seconds


def demo(folder: Path, lines: int) -> bool:
    """Run the whole story.

    :arg folder: Empty; everything is written here.

    :arg lines: Of the log.

    :returns: Whether the killed and resumed run left what the undisturbed one did.

    """
    write(folder / "logs", lines, SEED, files=4)
    print(f"{lines:,} lines of an access log, in 4 files")

    print("\nplain Bytewax, undisturbed:")
    _finish(_start(folder, "bytewax.run", "expected"))
    _print_counts(folder / "expected")

    print(f"\nbytewax_state, its state in the {BACKEND} store:")
    recovery = folder / "recovery"
    recovery.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
    flags = ("-r", str(recovery), "-s", "1", "-b", "0")
    process = _start(folder, "bytewax_state.run", "found", *flags, pause=TAKES * BATCH / lines)
    _wait_for_versions(process, folder)
    process.kill()
    process.wait()
    print("killed with -9; so far it left")
    _print_counts(folder / "found")

    print("\nthe same command again:")
    log = _finish(_start(folder, "bytewax_state.run", "found", *flags))
    print("\n".join(f"  {line}" for line in log.splitlines() if "restored" in line))
    _print_counts(folder / "found")

    different = [
        name for name in OUTPUTS if _by_client(folder / "expected" / name) != _by_client(folder / "found" / name)
    ]
    if different:
        print(f"\nDIFFERENT: {', '.join(different)}; see {folder}")
    else:
        print("\nEqual: the same lines in each file, for each client in the same order.")
    return not different and "restored" in log


def _start(folder: Path, module: str, out: str, *flags: str, pause: float = 0.0) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "BYTEWAX_STATE_BACKEND": BACKEND,
        "ACCESS_LOG_DIR": str(folder / "logs"),
        "ACCESS_LOG_OUT": str(folder / out),
        "ACCESS_LOG_BATCH": str(BATCH),
        "ACCESS_LOG_PAUSE": str(pause),
        "BYTEWAX_STATE_URI": str(folder / "snapshots"),
        "BYTEWAX_STATE_DIR": str(folder / "work"),
    }
    print(" ", " ".join(("python -m", module, "examples/access_log.py", *flags)))
    return subprocess.Popen(
        [sys.executable, "-m", module, str(FLOW), *flags],
        cwd=folder,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    _, log = process.communicate()
    if process.returncode != 0:
        sys.exit(f"the run ended with {process.returncode}:\n{log}")
    return log


def _wait_for_versions(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until some versions of the state are published, while the flow runs on."""
    deadline = time.monotonic() + PATIENCE
    while not list(folder.glob(f"snapshots/**/{VERSIONS_BEFORE_THE_KILL:012}.manifest")):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit(f"nothing to kill: the run did not get far enough:\n{process.communicate()[1]}")
        time.sleep(0.05)


def _print_counts(out: Path) -> None:
    counts = {name: len((out / name).read_text().splitlines()) for name in OUTPUTS}
    print("  " + ", ".join(f"{name}: {count:,} lines" for name, count in counts.items()))


def _by_client(path: Path) -> dict[str, list[str]]:
    """Order matters for each client; among clients plain Bytewax does not promise one."""
    lines: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text().splitlines():
        lines[line.partition(" ")[0]].append(line)
    return dict(lines)


def main() -> int:
    """Run the demo in a temporary folder, which is kept if anything went wrong.

    :returns: Exit code.

    """
    parser = argparse.ArgumentParser(description="Kill a flow with -9, resume it, compare.")
    parser.add_argument("--lines", type=int, default=60_000, help="of the access log")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bytewax-state-demo-"))
    if not demo(folder, args.lines):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
