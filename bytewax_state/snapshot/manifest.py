"""A manifest: the immutable object that names every file of one version of one store.

Owns its fields, and that nothing of a manifest is used before all of it is checked. It does not own its bytes
(`envelope`), where manifests lie (`layout`, `storage`), nor the files they name. Called by the verbs that publish,
restore and delete.
"""

import re
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError
from bytewax_state.keygroups import MAX_KEY_GROUPS
from bytewax_state.registry import State
from bytewax_state.signing import UNSIGNED, Keys
from bytewax_state.snapshot.envelope import ADVICE, seal, unpack, unseal
from bytewax_state.snapshot.fields import (
    check,
    check_bytes,
    check_count,
    check_counts,
    check_each_bytes,
    check_list,
    check_map,
    check_once,
    check_seconds,
    check_text,
    check_time,
)
from bytewax_state.snapshot.layout import StepId, StoreId, is_local_name, is_store_id, parse_file_path

__all__ = [
    "CLAIM",
    "FileEntry",
    "Manifest",
    "Seconds",
    "Stats",
    "check_compatible",
    "decode",
    "encode",
    "name_of",
]

CLAIM = 0
"""The version that names the files that a store is about to read or to inherit, and no groups."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_INLINE = re.compile(r"CURRENT|MANIFEST-[0-9]{1,20}|OPTIONS-[0-9]{1,20}|rocksdict-config\.json")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a version."""

    local: str
    """Name in the table's folder."""
    path: str
    """Name below the step, in the folder of the store that wrote it."""
    size: int
    """Bytes."""
    sha256: str
    """In hexadecimal."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long each phase took, until the manifest was written."""

    flush: float
    """Writing the changed rows to the table."""
    freeze: float
    """Making the frozen image."""
    hash: float
    """Digesting the new files; the sum of all threads."""
    upload: float
    """Sending them; the sum of all threads."""
    publish: float
    """All that follows the freeze."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What a version cost."""

    rows: int
    """Keys that have a state. An estimate in format 1."""
    live_bytes: int
    """Of all its files: uploaded and reused. In format 1 of those that the table had a moment later."""
    changed_bytes: int
    """Of rows that changed since the version before."""
    uploaded_bytes: int
    """Of files; the manifest itself is not among them."""
    uploaded_files: int
    reused_bytes: int
    """Of files that were durable already."""
    reused_files: int
    seconds: Seconds
    manifest_bytes: int = field(default=0, compare=False)
    """Of the manifest itself. It is not in there, as it depends on all that is: who has the object can tell."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of one store."""

    flow_id: str
    step_id: str
    store_id: str
    version: int
    """0 is the claim."""
    created_at: datetime
    writer: Mapping[str, str]
    """Package name to version."""
    epoch: int
    """The newest epoch of which the step has seen something."""
    key_groups: int
    hash: str
    """Name of the hash that keys are put into groups by."""
    names: str
    """Digest of the table of names that groups are routed by."""
    backend: str
    worker_index: int
    worker_count: int
    groups: Mapping[int, int]
    """Every key group that the store owns, to the version in which its rows last changed; 0: never in this store."""
    rows: Mapping[int, int] | None
    """Each of these groups to the number of its keys that have a state; `None` in format 1."""
    files: tuple[FileEntry, ...]
    inline: Mapping[str, bytes]
    """The small mutable files of the table's folder: name to content."""
    changes: Mapping[bytes, bytes | None]
    """Rows that changed since the files were frozen, by row key; `None`: it was deleted. Empty in format 1 and 2."""
    states: Mapping[str, State]
    ancestors: tuple[str, ...]
    """Every store of which files may still be inherited, transitively."""
    stats: Stats

    @property
    def store(self) -> StoreId:
        """Which store."""
        return StoreId(StepId(self.flow_id, self.step_id), self.store_id)


def encode(manifest: Manifest, keys: Keys = UNSIGNED) -> bytes:
    """Make the bytes of a manifest.

    :arg keys: The first one signs it.

    :returns: Bytes that `decode` reads.

    :raises ValueError: If it breaks a rule, so would be refused when it is needed.

    """
    at = manifest.created_at
    utc = at.astimezone(timezone.utc) if at.tzinfo else at  # one without a zone is refused below
    stats = _plain(manifest.stats) | {"seconds": _plain(manifest.stats.seconds)}
    del stats["manifest_bytes"]
    files = [_plain(entry) for entry in manifest.files]
    data = seal(_plain(manifest) | {"created_at": utc.isoformat(), "files": files, "stats": stats}, keys)
    _manifest(data, *unseal(data, name_of(manifest), keys))
    return data


def _plain(part: object) -> dict[str, Any]:
    """Take one part apart. `asdict` would copy what is in it, too, and take longer than all the rest of a manifest."""
    return {name: getattr(part, name) for name in _names(type(part))}


def decode(data: bytes, name: str, keys: Keys = UNSIGNED) -> Manifest:
    """Read a manifest, and check all of it.

    :arg data: What lies under its name.

    :arg name: Name of the object.

    :arg keys: One of them signed it.

    :raises IncompatibleError: If its format is newer than this version of the package.

    :raises SnapshotCorruptError: If it is damaged, is not signed as it has to be, is not the one of that name, or
        breaks a rule.

    """
    number, body = unseal(data, name, keys)
    try:
        manifest = _manifest(data, number, body)
    except ValueError as ex:
        msg = f"the manifest {name} breaks a rule of its format: {ex}; {ADVICE}"
        raise SnapshotCorruptError(msg) from ex
    if name_of(manifest) != name:
        msg = (
            f"the manifest {name} is another one's: found version {manifest.version} of store {manifest.store_id!r} of "
            f"step {manifest.step_id!r} of flow {manifest.flow_id!r}; expected the one of that name; {ADVICE}"
        )
        raise SnapshotCorruptError(msg)
    return manifest


def name_of(manifest: Manifest) -> str:
    """Name the object that a manifest is kept in."""
    return manifest.store.manifest(manifest.version)


def check_compatible(manifest: Manifest, key_groups: int, hash: str, names: str) -> None:  # noqa: A002
    """Refuse a manifest whose keys are in other key groups than this run would look for them in.

    :arg key_groups: How many key groups this run has.

    :arg hash: Name of its hash.

    :arg names: Digest of its table of names.

    :raises IncompatibleError: If one of them differs.

    """
    which = f"version {manifest.version} of store {manifest.store_id!r} of step {manifest.step_id!r}"
    if manifest.key_groups != key_groups:
        msg = (
            f"{which} has {manifest.key_groups} key groups, and BYTEWAX_STATE_KEY_GROUPS is {key_groups}; set it to "
            f"{manifest.key_groups}, as the number of a state's key groups cannot change"
        )
        raise IncompatibleError(msg)
    if (manifest.hash, manifest.names) != (hash, names):
        writer = ", ".join(f"{package} {version}" for package, version in sorted(manifest.writer.items()))
        msg = (
            f"{which} puts keys into groups by the hash {manifest.hash!r} and the table of names {manifest.names!r}, "
            f"expected {hash!r} and {names!r}; run the version of bytewax_state that wrote it ({writer})"
        )
        raise IncompatibleError(msg)


# The rules. Each raises `ValueError` with what was found and expected. No field is used that has not passed its own.


def _manifest(data: bytes, number: int, body: bytes) -> Manifest:
    get = _fields(unpack(number, body), "the body", _FIELDS[number])
    key_groups = check_count(get["key_groups"], "key_groups", 1, MAX_KEY_GROUPS)
    version = check_count(get["version"], "version")
    store_id = _store_id(get["store_id"], "store_id")
    ancestors = tuple(_store_id(one, "ancestors") for one in check_list(get["ancestors"], "ancestors"))
    check_once(ancestors, "ancestors")
    check(store_id not in ancestors, "ancestors", store_id, "not the store itself")
    worker_count = check_count(get["worker_count"], "worker_count", 1)
    writer, inline = (check_map(get[name], name) for name in ("writer", "inline"))
    groups = check_map(get["groups"], "groups")
    check_counts(groups, "groups: key group", 0, key_groups - 1)
    check_counts(groups.values(), "groups: version", 0, version)
    return Manifest(
        flow_id=check_text(get["flow_id"], "flow_id"),
        step_id=check_text(get["step_id"], "step_id"),
        store_id=store_id,
        version=version,
        created_at=check_time(get["created_at"], "created_at"),
        writer={check_text(name, "writer"): check_text(number, "writer") for name, number in writer.items()},
        epoch=check_count(get["epoch"], "epoch"),
        key_groups=key_groups,
        hash=check_text(get["hash"], "hash"),
        names=check_text(get["names"], "names"),
        backend=check_text(get["backend"], "backend"),
        worker_index=check_count(get["worker_index"], "worker_index", 0, worker_count - 1),
        worker_count=worker_count,
        groups=groups,
        rows=_rows(get["rows"], groups) if "rows" in get else None,
        files=_files(get["files"], {store_id, *ancestors}, claim=version == CLAIM),
        inline={_inline(name): check_bytes(data, f"inline[{name}]") for name, data in inline.items()},
        changes=_changes(get["changes"]) if "changes" in get else {},
        states=_states(get["states"]),
        ancestors=ancestors,
        stats=_stats(get["stats"], len(data)),
    )


def _rows(value: object, groups: Mapping[int, int]) -> dict[int, int]:
    rows = check_map(value, "rows")
    check(rows.keys() == groups.keys(), "rows: key groups", sorted(map(str, rows)), "those of groups")
    check_counts(rows.values(), "rows")
    return rows


def _files(value: object, stores: Collection[str], claim: bool) -> tuple[FileEntry, ...]:
    files = tuple(_file(one, stores) for one in check_list(value, "files"))
    # A claim names files of several tables, which may have the same local names there.
    check_once([entry.path if claim else entry.local for entry in files], "files: local")
    return files


def _file(value: object, stores: Collection[str]) -> FileEntry:
    get = _fields(value, "files", _names(FileEntry))
    local, path = check_text(get["local"], "files: local"), check_text(get["path"], "files: path")
    sha256 = check_text(get["sha256"], "files: sha256")
    check(is_local_name(local), "files: local", local, "a name such as 000008.sst")
    parsed = parse_file_path(path)
    known = parsed is not None and parsed[0] in stores
    check(known, "files: path", path, "<store_id>/files/<number>.sst of this store or an ancestor")
    check(_SHA256.fullmatch(sha256) is not None, "files: sha256", sha256, "64 hexadecimal digits")
    return FileEntry(local, path, check_count(get["size"], "files: size"), sha256)


def _inline(value: object) -> str:
    name = check_text(value, "inline")
    known = _INLINE.fullmatch(name) is not None
    check(known, "inline", name, "CURRENT, MANIFEST-…, OPTIONS-… or rocksdict-config.json")
    return name


def _changes(value: object) -> dict[bytes, bytes | None]:
    changes = check_map(value, "changes")
    check_each_bytes(changes, "changes: row key")
    check_each_bytes((row for row in changes.values() if row is not None), "changes: row")
    return changes


def _states(value: object) -> dict[str, State]:
    states = {check_text(name, "states"): _state(one) for name, one in check_map(value, "states").items()}
    check_once([state["id"] for state in states.values()], "states: id")
    return states


def _state(value: object) -> State:
    get = _fields(value, "states", _names(State))
    ttl = get["ttl"]
    return State(
        id=check_count(get["id"], "states: id", 0, 0xFFFF),
        kind=check_text(get["kind"], "states: kind"),
        codec=check_text(get["codec"], "states: codec"),
        ttl=None if ttl is None else check_seconds(ttl, "states: ttl"),
    )


def _stats(value: object, manifest_bytes: int) -> Stats:
    get = _fields(value, "stats", _names(Stats) - {"manifest_bytes"})
    seconds = _fields(get.pop("seconds"), "stats: seconds", _names(Seconds))
    return Stats(
        **{name: check_count(number, f"stats: {name}") for name, number in get.items()},
        seconds=Seconds(**{name: check_seconds(number, f"stats: seconds: {name}") for name, number in seconds.items()}),
        manifest_bytes=manifest_bytes,
    )


def _store_id(value: object, what: str) -> str:
    store_id = check_text(value, what)
    check(is_store_id(store_id), what, store_id, "a store's id")
    return store_id


def _fields(value: object, what: str, names: AbstractSet[str]) -> dict[str, Any]:
    """Read a map that has exactly the fields of these names."""
    found = dict(check_map(value, what))
    check(found.keys() == names, what, sorted(map(str, found)), f"the fields {sorted(names)}")
    return found


def _names(kind: type) -> AbstractSet[str]:
    return kind.__annotations__.keys()


_FIELDS = {1: _names(Manifest) - {"rows", "changes"}, 2: _names(Manifest) - {"changes"}, 3: _names(Manifest)}
"""By number of the format."""
