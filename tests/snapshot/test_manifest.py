"""Manifests: what was written is read, and nothing else is: no damage, no other name, no rule broken."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytewax_state.errors import IncompatibleError, SnapshotCorruptError, SnapshotError
from bytewax_state.signing import UNSIGNED, Keys
from bytewax_state.snapshot import manifest as manifests
from bytewax_state.snapshot.envelope import FORMAT, MAGIC
from bytewax_state.snapshot.layout import StepId, StoreId
from bytewax_state.snapshot.manifest import (
    FileEntry,
    Manifest,
    Seconds,
    Stats,
    check_compatible,
    encode,
)

DATA = Path(__file__).parents[1] / "data"

OWN = "20261124T081500123456Z-w001-ab12cd34"
PARENT = "20261123T081500123456Z-w000-00112233"
GRANDPARENT = "20261122T081500123456Z-w000-44556677"

MANIFEST = Manifest(
    flow_id="access log",
    step_id="access log.hits.window.stateful_batch",
    store_id=OWN,
    version=7,
    created_at=datetime(2026, 11, 24, 8, 20, 0, 5, tzinfo=timezone.utc),
    writer={"bytewax-state": "0.1.0", "bytewax": "0.21.1", "rocksdict": "0.3.29"},
    epoch=12,
    key_groups=128,
    hash="crc32-utf8",
    names="0123456789abcdef",
    backend="rocksdb",
    worker_index=1,
    worker_count=3,
    groups={1: 7, 4: 0, 127: 3},
    rows={1: 600_000, 4: 0, 127: 400_000},
    files=(
        FileEntry("000008.sst", f"{GRANDPARENT}/files/000008.sst", 1000, "ab" * 32),
        FileEntry("000012.sst", f"{PARENT}/files/000012.sst", 0, "cd" * 32),
        FileEntry("000031.sst", f"{OWN}/files/000031.sst", 5_000_000_000, "ef" * 32),
    ),
    inline={
        "CURRENT": b"MANIFEST-000005\n",
        "MANIFEST-000005": bytes(range(256)),
        "OPTIONS-000007": b"[Version]\n",
        "rocksdict-config.json": b"{}",
    },
    changes={bytes(range(20)): b"\x01\x00row", b"deleted": None},
    states={
        "logic": {"id": 0, "kind": "logic", "codec": "msgpack", "ttl": None},
        "seen": {"id": 1, "kind": "value", "codec": "pickle", "ttl": 3600.0},
    },
    ancestors=(GRANDPARENT, PARENT),
    stats=Stats(
        rows=1_000_000,
        live_bytes=5_000_001_000,
        changed_bytes=2_000_000,
        uploaded_bytes=5_000_000_000,
        uploaded_files=1,
        reused_bytes=1000,
        reused_files=2,
        seconds=Seconds(flush=0.5, freeze=0.01, hash=3.0, upload=20.25, publish=21.0),
    ),
)
IDENTITY: dict[str, Any] = {
    "flow_id": MANIFEST.flow_id,
    "step_id": MANIFEST.step_id,
    "store_id": OWN,
    "version": 7,
}
BYTES = encode(MANIFEST)
HEAD = struct.Struct(">8sH")


def decode(data: bytes, keys: Keys = UNSIGNED, *, flow_id: str, step_id: str, store_id: str, version: int) -> Manifest:
    """Read what lies under the name that an identity gives."""
    return manifests.decode(data, StoreId(StepId(flow_id, step_id), store_id).manifest(version), keys)


def digest(data: bytes) -> bytes:
    return UNSIGNED.digest(data)


def sealed(body: object, number: int = FORMAT) -> bytes:
    """Make a manifest of any body, with a digest that matches."""
    packed = msgpack.packb(body)
    data = HEAD.pack(MAGIC, number) + (packed if number == 1 else zlib.compress(packed))
    return data + digest(data)


def body(number: int = FORMAT) -> dict[str, Any]:
    """Return the body of a good manifest, to be changed."""
    whole = asdict(MANIFEST) | {"created_at": MANIFEST.created_at.isoformat()}
    del whole["stats"]["manifest_bytes"]
    if number == 1:
        del whole["rows"]
    if number < 3:
        del whole["changes"]
    return whole


def test_a_manifest_comes_back() -> None:
    """All of it."""
    assert decode(BYTES, **IDENTITY) == MANIFEST


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_a_manifest_of_every_format_is_still_read(number: int) -> None:
    """Each that was ever released; the files are never written again."""
    found = decode((DATA / f"format-{number}.manifest").read_bytes(), **IDENTITY)
    rows, changes = None if number == 1 else MANIFEST.rows, {} if number < 3 else MANIFEST.changes
    assert found == replace(MANIFEST, rows=rows, changes=changes)


def test_a_manifest_knows_its_size() -> None:
    """Though that is not in it: it would change it."""
    assert decode(BYTES, **IDENTITY).stats.manifest_bytes == len(BYTES)


def test_a_claim_comes_back() -> None:
    """Version 0 names files, and owns no groups."""
    nothing = {"groups": {}, "rows": {}, "inline": {}, "changes": {}}
    claim = replace(MANIFEST, version=0, epoch=0, files=MANIFEST.files[:2], **nothing)
    assert decode(encode(claim), **IDENTITY | {"version": 0}) == claim


@given(
    st.text(st.characters(codec="utf-8")),
    st.dictionaries(st.integers(0, 4095), st.integers(0, 2**40)),
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()),
)
def test_any_manifest_comes_back(flow_id: str, groups: dict[int, int], created_at: datetime) -> None:
    """Of any flow, owning any groups, at any time, which comes back in UTC."""
    manifest = replace(MANIFEST, flow_id=flow_id, groups=groups, rows=groups, key_groups=4096, version=2**40)
    manifest = replace(manifest, created_at=created_at)
    again = decode(encode(manifest), **IDENTITY | {"flow_id": flow_id, "version": 2**40})
    assert again == replace(manifest, created_at=created_at.astimezone(timezone.utc))
    assert again.created_at.utcoffset() == timedelta(0)


def test_a_flipped_bit_is_found() -> None:
    """Wherever it is; in the format number it may look like a newer one."""
    for at in range(len(BYTES)):
        bad = bytearray(BYTES)
        bad[at] ^= 1 << (at % 8)
        newer = at in {8, 9} and HEAD.unpack_from(bad)[1] > FORMAT
        with pytest.raises(IncompatibleError if newer else SnapshotCorruptError, match=r"000000000007\.manifest"):
            decode(bytes(bad), **IDENTITY)


def test_a_manifest_that_was_cut_is_found() -> None:
    """However much of it is left, and what was added too."""
    for length in range(len(BYTES)):
        with pytest.raises(SnapshotCorruptError, match=r"000000000007\.manifest is damaged"):
            decode(BYTES[:length], **IDENTITY)
    with pytest.raises(SnapshotCorruptError):
        decode(BYTES + b"\0", **IDENTITY)


@pytest.mark.parametrize("number", [FORMAT + 1, 99, 0xFFFF])
def test_a_newer_format_is_named(number: int) -> None:
    """Rather than called damaged, whatever is in it."""
    for data in (sealed(body(), number), sealed(["new"], number)):
        with pytest.raises(IncompatibleError, match=f"has format {number}.*up to {FORMAT}"):
            decode(data, **IDENTITY)


def test_a_format_that_never_was_is_refused() -> None:
    """Even with a digest that matches."""
    with pytest.raises(SnapshotCorruptError, match="has format 0"):
        decode(sealed(body(), 0), **IDENTITY)


@pytest.mark.parametrize("field", IDENTITY)
def test_a_manifest_under_another_name_is_refused(field: str) -> None:
    """Somebody copied it there."""
    other = {"flow_id": "f", "step_id": "f.s", "store_id": PARENT, "version": 8}
    with pytest.raises(SnapshotCorruptError, match=r"is another one's: found .*access log.*expected"):
        decode(BYTES, **IDENTITY | {field: other[field]})


def change(path: tuple[Any, ...], value: object) -> Callable[[], dict[str, Any]]:
    """Make a body in which one thing is changed."""

    def changed() -> dict[str, Any]:
        whole: Any = body()
        part = whole
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        return whole  # type: ignore[no-any-return]

    return changed


BROKEN: list[tuple[tuple[Any, ...], object]] = [
    *((("flow_id",), value) for value in (None, 7, b"access log")),
    *((("store_id",), value) for value in ("", "..", "../x", "store")),
    *((("version",), value) for value in (-1, True, 7.0, "7", None, 2**63)),
    *((("created_at",), value) for value in (0, "", "yesterday", "2026-11-24T08:20:00")),
    *((("writer",), value) for value in ([], {"a": 1}, {1: "a"})),
    *((("epoch",), value) for value in (-1, 1.5)),
    *((("key_groups",), value) for value in (0, 4097, True)),
    *((("worker_index",), value) for value in (-1, 3)),
    (("worker_count",), 0),
    *((("groups",), value) for value in ([], {128: 1}, {-1: 1}, {"1": 1}, {1: 8}, {1: -1}, {True: 1}, {1: None})),
    *((("files",), value) for value in (None, {}, [[]], [{"local": "000008.sst"}])),
    *(
        (("files", 0, "local"), value)
        for value in (
            "",
            "..",
            "../000008.sst",
            "a/000008.sst",
            "/000008.sst",
            "CURRENT",
            "000012.sst",
            "8.sst\n",
            "x.sst",
        )
    ),
    *(
        (("files", 0, "path"), value)
        for value in (
            "",
            "000008.sst",
            f"{OWN}/000008.sst",
            f"{OWN}/files/../000008.sst",
            f"../{OWN}/files/000008.sst",
            f"/{OWN}/files/000008.sst",
            f"{OWN}/files/CURRENT",
            "20261121T081500123456Z-w000-44556677/files/000008.sst",
        )
    ),
    *((("files", 0, "size"), value) for value in (-1, True, 1.0, None)),
    *((("files", 0, "sha256"), value) for value in ("", "ab" * 31, "AB" * 32, "zz" * 32, b"ab" * 32)),
    *(
        (("inline",), {name: b""})
        for name in (
            "",
            "..",
            "../CURRENT",
            "/etc/passwd",
            "MANIFEST-",
            "MANIFEST-1/x",
            "LOCK",
            "000008.sst",
            "CURRENT\n",
        )
    ),
    *((("inline",), value) for value in ([], {"CURRENT": "text"}, {"CURRENT": None}, {b"CURRENT": b""})),
    *((("changes",), value) for value in (None, [], {"text": b""}, {b"row": "text"}, {b"row": 1}, {None: b""})),
    *((("states", "logic", "id"), value) for value in (-1, 1, 1 << 16, "0")),
    *((("states", "logic", "ttl"), value) for value in (-1, float("nan"), float("inf"), "1h", True)),
    (("states", "logic", "codec"), None),
    (("states", "more"), {}),
    *((("ancestors",), value) for value in (None, PARENT, [PARENT, GRANDPARENT, OWN], [PARENT, PARENT, GRANDPARENT])),
    *((("ancestors",), value) for value in ([".."], [GRANDPARENT, PARENT, 7])),
    *((("stats", "rows"), value) for value in (-1, 1.5, None)),
    *((("stats", "seconds", "upload"), value) for value in (-0.1, float("nan"), None, True)),
    (("stats", "seconds", "nap"), 1.0),
    (("more",), 1),
    (("files",), [asdict(MANIFEST.files[0])] * 2),
    *((("rows",), value) for value in (None, [], {}, {1: 5, 4: 0}, {1: 5, 4: 0, 127: -1}, {1: 5, 4: 0, 127: True})),
]


@pytest.mark.parametrize(("path", "value"), BROKEN, ids=str)
def test_a_broken_rule_is_found_before_anything_is_used(path: tuple[Any, ...], value: object) -> None:
    """Though the digest matches: names lead out of a folder, and a wrong group or version to another state."""
    with pytest.raises(SnapshotCorruptError, match=f"000000000007.manifest breaks a rule.*{path[0]}"):
        decode(sealed(change(path, value)()), **IDENTITY)


NUMBERED = [(number, field) for number in range(1, FORMAT + 1) for field in body(number)]


@pytest.mark.parametrize(("number", "field"), NUMBERED)
def test_a_missing_field_is_found(number: int, field: str) -> None:
    """All that the format has are needed."""
    less = body(number)
    del less[field]
    with pytest.raises(SnapshotCorruptError, match="breaks a rule"):
        decode(sealed(less, number), **IDENTITY)


def test_a_field_of_a_later_format_is_found() -> None:
    """What calls itself an old manifest has to be one."""
    with pytest.raises(SnapshotCorruptError, match="breaks a rule"):
        decode(sealed(body(), 1), **IDENTITY)


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
@given(garbage=st.binary() | st.binary().map(zlib.compress))
def test_garbage_is_no_manifest(number: int, garbage: bytes) -> None:
    """Nor is garbage with a good beginning, or a good digest."""
    data = HEAD.pack(MAGIC, number) + garbage
    for one in (garbage, garbage + digest(garbage), data, data + digest(data)):
        with pytest.raises(SnapshotError):
            decode(one, **IDENTITY)


@pytest.mark.parametrize(
    "broken",
    [
        replace(MANIFEST, groups={1: 8}),
        replace(MANIFEST, ancestors=()),
        replace(MANIFEST, created_at=datetime(2026, 11, 24)),
        replace(MANIFEST, inline={"LOCK": b""}),
    ],
)
def test_what_could_not_be_read_is_not_written(broken: Manifest) -> None:
    """Rather fail today than at the restore."""
    with pytest.raises(ValueError, match="expected"):
        encode(broken)


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
@pytest.mark.parametrize("more", [b"\x01", b"\xc4x"])
def test_an_error_does_not_show_what_is_inside(number: int, more: bytes) -> None:
    """The first and last keys of a file, which may be anybody's, lie in the inline files."""
    packed = msgpack.packb(body(number) | {"inline": {"CURRENT": b"somebody's key"}}) + more
    data = HEAD.pack(MAGIC, number) + (packed if number == 1 else zlib.compress(packed))
    with pytest.raises(SnapshotCorruptError, match="cannot be read") as caught:
        decode(data + digest(data), **IDENTITY)
    assert "somebody" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_same_key_groups_are_compatible() -> None:
    """And nothing else is asked."""
    check_compatible(MANIFEST, 128, "crc32-utf8", "0123456789abcdef")


def test_other_key_groups_are_incompatible() -> None:
    """The message names both, and what to set."""
    with pytest.raises(IncompatibleError, match=r"has 128 key groups.*KEY_GROUPS is 64; set it to 128"):
        check_compatible(MANIFEST, 64, "crc32-utf8", "0123456789abcdef")


@pytest.mark.parametrize(("hashed", "names"), [("md5", "0123456789abcdef"), ("crc32-utf8", "0")])
def test_another_hash_or_table_of_names_is_incompatible(hashed: str, names: str) -> None:
    """Keys would be looked for in other groups; the message names the version that can read it."""
    with pytest.raises(IncompatibleError, match=r"crc32-utf8.*0123456789abcdef.*expected.*bytewax-state 0\.1\.0"):
        check_compatible(MANIFEST, 128, hashed, names)
