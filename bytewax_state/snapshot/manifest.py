"""A manifest: the immutable object that names every file of one version of one store.

Owns the format, and that nothing of a manifest is used before all of it is checked. It does not own where manifests lie
(`layout`, `storage`), nor the files they name. Called by the verbs that publish, restore and delete.

    8 bytes BWSTATE1 | format number, 2 bytes | msgpack: a map of the fields of `Manifest` | digest of all before it

The digest is SHA-256, or HMAC-SHA-256 where a signing key is set (`signing`).
"""

import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, TypedDict

import msgpack

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError
from bytewax_state.keygroups import MAX_KEY_GROUPS
from bytewax_state.signing import DIGEST, UNSIGNED, Keys
from bytewax_state.snapshot.checks import (
    check,
    check_bytes,
    check_count,
    check_list,
    check_map,
    check_once,
    check_seconds,
    check_text,
    check_time,
)
from bytewax_state.snapshot.layout import is_local_name, is_store_id, manifest_name, parse_file_path

__all__ = [
    "CLAIM",
    "FORMAT",
    "MAGIC",
    "FileEntry",
    "Manifest",
    "Seconds",
    "State",
    "Stats",
    "check_compatible",
    "decode",
    "encode",
    "name_of",
]

MAGIC = b"BWSTATE1"

FORMAT = 1
"""The newest format of a manifest; every one that was ever released is read."""

CLAIM = 0
"""The version that names the files that a store is about to read or to inherit, and no groups."""

_HEAD = struct.Struct(">8sH")
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
    """An estimate."""
    live_bytes: int
    changed_bytes: int
    """Of rows that changed since the version before."""
    uploaded_bytes: int
    uploaded_files: int
    reused_bytes: int
    """Of files that were durable already."""
    reused_files: int
    seconds: Seconds


class State(TypedDict):
    """A state of a step, as row keys point to it."""

    id: int
    kind: str
    codec: str
    ttl: float | None
    """Seconds."""


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
    files: tuple[FileEntry, ...]
    inline: Mapping[str, bytes]
    """The small mutable files of the table's folder: name to content."""
    states: Mapping[str, State]
    ancestors: tuple[str, ...]
    """Every store of which files may still be inherited, transitively."""
    stats: Stats


def encode(manifest: Manifest, keys: Keys = UNSIGNED) -> bytes:
    """Make the bytes of a manifest.

    :arg manifest: Manifest.

    :arg keys: The first one signs it.

    :returns: Bytes that `decode` reads.

    :raises ValueError: If it breaks a rule, so would be refused when it is needed.

    """
    at = manifest.created_at
    utc = at.astimezone(timezone.utc) if at.tzinfo else at  # one without a zone is refused below
    body = asdict(manifest) | {"created_at": utc.isoformat()}
    packed: bytes = msgpack.packb(body)
    _manifest(_unpack(packed))
    data = _HEAD.pack(MAGIC, FORMAT) + packed
    return data + keys.digest(data)


def decode(data: bytes, name: str, keys: Keys = UNSIGNED) -> Manifest:
    """Read a manifest, and check all of it.

    :arg data: What lies under its name.

    :arg name: Name of the object.

    :arg keys: One of them signed it.

    :returns: Manifest.

    :raises IncompatibleError: If its format is newer than this version of the package.

    :raises SnapshotCorruptError: If it is damaged, is not signed as it has to be, is not the one of that name, or
        breaks a rule.

    """
    body = _open(data, name, keys)
    try:
        manifest = _manifest(_unpack(body))
    except ValueError as ex:
        msg = f"the manifest {name} breaks a rule of its format: {ex}; {_ADVICE}"
        raise SnapshotCorruptError(msg) from ex
    if name_of(manifest) != name:
        msg = (
            f"the manifest {name} is another one's: found version {manifest.version} of store {manifest.store_id!r} of "
            f"step {manifest.step_id!r} of flow {manifest.flow_id!r}; expected the one of that name; {_ADVICE}"
        )
        raise SnapshotCorruptError(msg)
    return manifest


def name_of(manifest: Manifest) -> str:
    """Name the object that a manifest is kept in."""
    return manifest_name(manifest.flow_id, manifest.step_id, manifest.store_id, manifest.version)


def check_compatible(manifest: Manifest, key_groups: int, hash: str, names: str) -> None:  # noqa: A002
    """Refuse a manifest whose keys are in other key groups than this run would look for them in.

    :arg manifest: Manifest.

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


_ADVICE = "bring back a sound copy, or resume from an older copy of the recovery directory"


def _open(data: bytes, name: str, keys: Keys) -> bytes:
    """Take the body of a manifest out of what surrounds it, which is the same in every format."""
    if len(data) < _HEAD.size + DIGEST or not data.startswith(MAGIC):
        msg = f"the manifest {name} is damaged: found {len(data)} bytes that are no manifest; {_ADVICE}"
        raise SnapshotCorruptError(msg)
    _, number = _HEAD.unpack_from(data)
    if number > FORMAT:
        msg = (
            f"the manifest {name} has format {number}, and this version of bytewax_state reads formats up to {FORMAT}; "
            "run the version that wrote it, or a later one, unless the object is damaged"
        )
        raise IncompatibleError(msg)
    if not keys.accept(data[:-DIGEST], data[-DIGEST:]):
        raise SnapshotCorruptError(_unaccepted(data, name, keys))
    if number != FORMAT:
        msg = f"the manifest {name} has format {number}, which never was; {_ADVICE}"
        raise SnapshotCorruptError(msg)
    return data[_HEAD.size : -DIGEST]


def _unaccepted(data: bytes, name: str, keys: Keys) -> str:
    """Say what may be wrong with a manifest whose digest is not what it should be."""
    if UNSIGNED.accept(data[:-DIGEST], data[-DIGEST:]):
        return (
            f"the manifest {name} is not signed, and BYTEWAX_STATE_SIGNING_KEY asks for a signature: somebody else "
            "wrote it, or this job did before it had a key; to go on from the latter, set BYTEWAX_STATE_SIGNING_KEY to "
            "KEY,none until the next snapshots are there"
        )
    signed = "was signed with another key" if keys.sign else "is signed, and BYTEWAX_STATE_SIGNING_KEY is not set"
    change = "; where the key was changed, set BYTEWAX_STATE_SIGNING_KEY to NEW,OLD" if keys.sign else ""
    damaged = f"the manifest {name} is damaged, or {signed}: its digest is not that of its {len(data)} bytes"
    return f"{damaged}{change}; {_ADVICE}"


def _unpack(body: bytes) -> object:
    try:
        value: object = msgpack.unpackb(body, strict_map_key=False)
    except Exception as ex:  # msgpack raises many
        msg = f"its body cannot be read: {type(ex).__name__}: {ex}"  # its repr may hold all of the body
        raise ValueError(msg) from ex
    return value


# The rules. Each raises `ValueError` with what was found and expected. Nothing is read but by them.


def _manifest(value: object) -> Manifest:
    get = _fields(value, "the body", Manifest)
    key_groups = check_count(get["key_groups"], "key_groups", 1, MAX_KEY_GROUPS)
    version = check_count(get["version"], "version")
    store_id = _store_id(get["store_id"], "store_id")
    ancestors = tuple(_store_id(one, "ancestors") for one in check_list(get["ancestors"], "ancestors"))
    check_once(ancestors, "ancestors")
    check(store_id not in ancestors, "ancestors", store_id, "not the store itself")
    worker_count = check_count(get["worker_count"], "worker_count", 1)
    writer, groups, inline = (check_map(get[name], name) for name in ("writer", "groups", "inline"))
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
        groups={
            check_count(group, "groups", 0, key_groups - 1): check_count(changed, f"groups[{group}]", 0, version)
            for group, changed in groups.items()
        },
        files=_files(get["files"], {store_id, *ancestors}, claim=version == CLAIM),
        inline={_inline(name): check_bytes(data, f"inline[{name}]") for name, data in inline.items()},
        states=_states(get["states"]),
        ancestors=ancestors,
        stats=_stats(get["stats"]),
    )


def _files(value: object, stores: Collection[str], claim: bool) -> tuple[FileEntry, ...]:
    files = tuple(_file(one, stores) for one in check_list(value, "files"))
    # A claim names files of several tables, which may have the same local names there.
    check_once([entry.path if claim else entry.local for entry in files], "files: local")
    return files


def _file(value: object, stores: Collection[str]) -> FileEntry:
    get = _fields(value, "files", FileEntry)
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


def _states(value: object) -> dict[str, State]:
    states = {check_text(name, "states"): _state(one) for name, one in check_map(value, "states").items()}
    check_once([state["id"] for state in states.values()], "states: id")
    return states


def _state(value: object) -> State:
    get = _fields(value, "states", State)
    ttl = get["ttl"]
    return State(
        id=check_count(get["id"], "states: id", 0, 0xFFFF),
        kind=check_text(get["kind"], "states: kind"),
        codec=check_text(get["codec"], "states: codec"),
        ttl=None if ttl is None else check_seconds(ttl, "states: ttl"),
    )


def _stats(value: object) -> Stats:
    get = _fields(value, "stats", Stats)
    seconds = _fields(get.pop("seconds"), "stats: seconds", Seconds)
    return Stats(
        **{name: check_count(number, f"stats: {name}") for name, number in get.items()},
        seconds=Seconds(**{name: check_seconds(number, f"stats: seconds: {name}") for name, number in seconds.items()}),
    )


def _store_id(value: object, what: str) -> str:
    store_id = check_text(value, what)
    check(is_store_id(store_id), what, store_id, "a store's id")
    return store_id


def _fields(value: object, what: str, kind: type) -> dict[str, Any]:
    """Read a map that has exactly the fields of a class."""
    found = dict(check_map(value, what))
    names = set(kind.__annotations__)
    check(found.keys() == names, what, sorted(map(str, found)), f"the fields {sorted(names)}")
    return found
