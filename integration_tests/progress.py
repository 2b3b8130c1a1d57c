"""How far a run has come, as its recovery partitions tell it while it goes on.

It owns the questions to Bytewax's tables, and changes nothing. Called by the kill harness.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def newest_execution(recovery: Path) -> int:
    """Tell the number of the newest execution.

    :arg recovery: Folder of Bytewax's recovery partitions.

    :returns: Number; -1 before the first.

    """
    return max((number for (number,) in _ask(recovery, "SELECT coalesce(max(ex_num), -1) FROM exs")), default=-1)


def committed_epochs(recovery: Path) -> int:
    """Count the epochs that the newest execution has committed, on all of its workers.

    :arg recovery: Folder of Bytewax's recovery partitions.

    :returns: How many; never more than were committed.

    """
    newest = newest_execution(recovery)
    started = _ask(recovery, f"SELECT worker_count, resume_epoch FROM exs WHERE ex_num = {newest}")
    if not started:
        return 0
    workers, resume_epoch = started[0]
    fronts = dict.fromkeys(range(workers), resume_epoch)
    for worker, front in _ask(recovery, f"SELECT worker_index, worker_frontier FROM fronts WHERE ex_num = {newest}"):
        fronts[worker] = max(fronts[worker], front)
    return int(min(fronts.values()) - resume_epoch)


def _ask(recovery: Path, query: str) -> list[tuple[int, ...]]:
    """Ask all partitions; one that is just being opened by Bytewax has nothing to say."""
    rows: list[tuple[int, ...]] = []
    for partition in sorted(recovery.glob("part-*.sqlite3")):
        try:
            with closing(sqlite3.connect(f"{partition.as_uri()}?mode=ro", uri=True)) as db:
                rows += db.execute(query).fetchall()
        except sqlite3.OperationalError:
            continue
    return rows
