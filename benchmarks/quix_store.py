"""The store of Quix Streams, alone: `python -m benchmarks.quix_store KEYS ITEMS`, in an environment that has it.

Owns what it does: for each line of standard input it reads, adds to and writes a number for so many random keys, and
commits each 10,000. It prints a line of JSON when it has met all keys, and for each turn. Called by `quix`; imports
nothing of this project, whose other modules need Bytewax.
"""

import json
import sys
import time
from collections.abc import Iterable
from itertools import islice
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from quixstreams.state.rocksdb import RocksDBStore

COMMIT = 10_000


def add(partition: Any, numbers: Iterable[int]) -> float:
    """Add to the totals of keys.

    :arg partition: Of the store.

    :arg numbers: Of the keys.

    :returns: CPU seconds.

    """
    items = iter([(f"key-{number:08d}".encode(), index % 100) for index, number in enumerate(numbers)])
    began = time.process_time()
    while chunk := list(islice(items, COMMIT)):
        with partition.begin() as transaction:
            for key, value in chunk:
                state = transaction.as_state(key)
                state.set("total", state.get("total", 0) + value)
    return time.process_time() - began


def main(keys: int, items: int) -> None:
    """Run.

    :arg keys: Keys.

    :arg items: Of a turn.

    """
    with TemporaryDirectory(prefix="benchmark-") as folder:
        store = RocksDBStore("totals", "items", folder)
        partition = store.assign_partition(0)
        print(json.dumps({"cpu_seconds": add(partition, range(keys))}), flush=True)
        for line in sys.stdin:
            random = Random(int(line))
            print(json.dumps({"cpu_seconds": add(partition, random.choices(range(keys), k=items))}), flush=True)
        store.revoke_partition(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
