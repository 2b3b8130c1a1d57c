"""Manifests and steps in a few words, for tests of what may go and of what is wrong.

Stores are named by a letter: `a` is older than `b`. A file is written as its store and number: `a8`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from bytewax_state.snapshot.catalog import StepListing, StoreListing
from bytewax_state.snapshot.layout import file_path
from bytewax_state.snapshot.manifest import FileEntry, Manifest, Seconds, Stats

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
PREFIX = "flow/steps/flow.s"

_STATS = Stats(0, 0, 0, 0, 0, 0, 0, Seconds(0, 0, 0, 0, 0))
_MANIFEST = Manifest(
    flow_id="flow",
    step_id="flow.s",
    store_id="",
    version=0,
    created_at=NOW,
    writer={},
    epoch=0,
    key_groups=8,
    hash="",
    names="",
    backend="heap",
    worker_index=0,
    worker_count=1,
    groups={},
    rows={},
    files=(),
    inline={},
    changes={},
    states={},
    ancestors=(),
    stats=_STATS,
)


def store(letter: str) -> str:
    """Make the id of a store; they sort as their letters do."""
    day = ord(letter) - ord("a") + 1
    return f"202501{day:02}T000000000000Z-w000-{ord(letter):08x}"


def path(file: str) -> str:
    """Name a file below its step: `a8` is file 8 of store `a`."""
    return file_path(store(file[0]), f"{file[1:]:0>6}.sst")


def named(*files: str) -> list[str]:
    """Name objects."""
    return [f"{PREFIX}/{path(file)}" for file in files]


def manifest(
    at: str,
    files: str = "",
    groups: Mapping[int, int] | Iterable[int] = (),
    ancestors: str = "",
    created_at: datetime = NOW,
) -> Manifest:
    """Make a manifest: `a1` is version 1 of store `a`; files are separated by spaces, ancestors are letters."""
    version = int(at[1:])
    entries = [FileEntry(path(file).rpartition("/")[2], path(file), 10, "ab" * 32) for file in files.split()]
    changes = dict(groups) if isinstance(groups, Mapping) else dict.fromkeys(groups, version)
    return replace(
        _MANIFEST,
        store_id=store(at[0]),
        version=version,
        created_at=created_at,
        groups=changes,
        rows=dict.fromkeys(changes, 0),
        files=tuple(entries),
        ancestors=tuple(store(letter) for letter in ancestors),
    )


def step(*manifests: Manifest, more: str = "") -> StepListing:
    """List a step that has some manifests, the files that they name, and more files."""
    paths = {entry.path for one in manifests for entry in one.files} | {path(file) for file in more.split()}
    ids = sorted({one.store_id for one in manifests} | {one.partition("/")[0] for one in paths})
    stores = {
        store_id: StoreListing(
            store_id,
            tuple(sorted(one.version for one in manifests if one.store_id == store_id)),
            {one.version: one for one in sorted(manifests, key=lambda it: it.version) if one.store_id == store_id},
            tuple(sorted(f"{PREFIX}/{one}" for one in paths if one.startswith(store_id))),
        )
        for store_id in ids
    }
    return StepListing(PREFIX, stores, {}, ())
