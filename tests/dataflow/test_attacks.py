"""Somebody who can write to the storage and has no key: no code of theirs runs, and no state of theirs gets in.

An attacker makes snapshots with this very package, under the names of the job's own, and puts them in their place.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bytewax_state.errors import SnapshotCorruptError, SnapshotError, SnapshotMissingError
from bytewax_state.signing import DIGEST, UNSIGNED, Keys, read_keys
from bytewax_state.snapshot import retention
from bytewax_state.snapshot.envelope import seal
from bytewax_state.snapshot.layout import StepId
from bytewax_state.snapshot.manifest import Manifest, decode, encode
from bytewax_state.snapshot.ref import decode_ref
from tests.dataflow.executions import NOW, STEP, Execution, names, resume, storage, write
from tests.faults import FaultyStorage

TWIN = StepId("flow", "flow.t")
KEY, OTHER = "key-of-the-job-under-attack", "key-of-whoever-attacks-it"
BACKENDS = ("heap", "rocksdb")


@dataclass
class Bomb:
    """A state that runs code when it is unpickled."""

    mark: Path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def refused(folder: Path, ref: bytes, error: type[SnapshotError] = SnapshotCorruptError, **settings: Any) -> str:
    """See that nothing is resumed, and that no file came onto the local disk; return the message."""
    with pytest.raises(error) as caught:
        resume(folder, KEY, ref, **settings)
    assert type(caught.value) is error
    assert not list((folder / "work").rglob("*/live/*.sst"))
    return str(caught.value)


def replace_object(folder: Path, name: str, data: bytes) -> None:
    (folder / "snapshots" / name).write_bytes(data)


def plant(source: Path, target: Path, end: str = "") -> None:
    """Put the objects of an attacker in the place of others."""
    ours = names(target, end)
    assert ours == names(source, end)
    for name in ours:
        data = storage(source).get(name)
        assert data != storage(target).get(name)
        replace_object(target, name, data)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    return tmp_path / "victim"


@pytest.fixture
def attacker(tmp_path: Path) -> Path:
    return tmp_path / "attacker"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once a bomb went off."""
    return tmp_path / "mark"


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_key_the_attack_works(backend: str, victim: Path, attacker: Path, mark: Path) -> None:
    """Or the tests below would prove nothing."""
    write(attacker, None, Bomb(mark), backend=backend)
    (ref,) = write(victim, None, "good", backend=backend)
    assert not mark.exists()
    plant(attacker, victim)
    resume(victim, None, ref, backend=backend)
    assert mark.exists()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", [None, OTHER])
def test_a_snapshot_without_the_key_runs_no_code(
    key: str | None, backend: str, victim: Path, attacker: Path, mark: Path
) -> None:
    """The whole of it is replaced, manifest and files, not signed or signed with another key."""
    (ref,) = write(victim, KEY, "good", backend=backend)
    write(attacker, key, Bomb(mark), backend=backend)
    plant(attacker, victim)
    msg = refused(victim, ref, backend=backend)
    assert "000000000001.manifest" in msg
    assert ("another key" if key else "is not signed") in msg
    assert not mark.exists()


def test_while_a_key_is_brought_in_what_it_signed_stays_safe(victim: Path, attacker: Path, mark: Path) -> None:
    """`none` accepts what was there before the key: a signed ref still wants a signed manifest."""
    (ref,) = write(victim, f"{KEY},none", "good")
    write(attacker, None, Bomb(mark))
    plant(attacker, victim)
    with pytest.raises(SnapshotCorruptError, match="is not signed"):
        resume(victim, f"{KEY},none", ref)
    assert not mark.exists()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_in_the_place_of_another_runs_no_code(backend: str, victim: Path, attacker: Path, mark: Path) -> None:
    """It is found before RocksDB opens it, and so before a codec sees a row of it."""
    (ref,) = write(victim, KEY, "good", backend=backend)
    write(attacker, KEY, Bomb(mark), backend=backend)
    plant(attacker, victim, ".sst")
    (victim / "work").rename(victim / "lost")
    assert names(victim, ".sst")[0] in refused(victim, ref, backend=backend)
    assert not mark.exists()


def test_a_file_in_a_frozen_image_is_not_trusted_either(victim: Path, attacker: Path, mark: Path) -> None:
    """The local copy is verified as one from the storage is, and fetched again."""
    (ref,) = write(victim, KEY, "good")
    write(attacker, KEY, Bomb(mark))
    copies = sorted(path.relative_to(victim) for path in (victim / "work").rglob("frozen/*/*"))
    assert copies
    for path in copies:
        (victim / path).write_bytes((attacker / path).read_bytes())
    assert resume(victim, KEY, ref) == "good"
    assert not mark.exists()


@pytest.mark.usefixtures("image_each")
def test_a_signed_file_that_is_older_is_refused(victim: Path) -> None:
    """Its digest is not that of the version."""
    refs = write(victim, KEY, "old", "new")
    first, second = names(victim, ".sst")[-2:]
    replace_object(victim, second, storage(victim).get(first))
    (victim / "work").rename(victim / "lost")
    assert second in refused(victim, refs[-1])


CHANGES: dict[str, Callable[[Manifest], Manifest]] = {
    "epoch": lambda old: replace(old, epoch=old.epoch + 1),
    "groups": lambda old: replace(old, groups={0: 0}, rows={0: 0}),
    "files": lambda old: replace(old, files=tuple(replace(one, sha256="ab" * 32) for one in old.files)),
    "inline": lambda old: replace(old, inline={**old.inline, "CURRENT": b"MANIFEST-000009\n"}),
    "nothing": lambda old: old,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_manifest_that_was_changed_is_refused(what: str, victim: Path) -> None:
    """With a digest that matches, as anybody can make it without a key, and with the signature that was there."""
    (ref,) = write(victim, KEY, "good")
    (name,) = names(victim, ".manifest")
    data = storage(victim).get(name)
    changed = encode(CHANGES[what](decode(data, name, read_keys(KEY))))
    replace_object(victim, name, changed)
    assert f"{name} is not signed" in refused(victim, ref)
    if what != "nothing":
        replace_object(victim, name, changed[:-DIGEST] + data[-DIGEST:])
        assert name in refused(victim, ref)


@pytest.mark.parametrize(
    "other",
    [
        {"step": TWIN},
        {"step": StepId("other", "flow.s")},
        {"at": NOW - timedelta(hours=1)},
    ],
    ids=["step", "flow", "store"],
)
def test_a_signed_manifest_of_something_else_is_refused(other: dict[str, Any], victim: Path) -> None:
    """Of another step, flow or store: it says which one it is."""
    (ref,) = write(victim, KEY, "good")
    (own,) = names(victim, ".manifest")
    write(victim, KEY, "other", **other)
    (elsewhere,) = set(names(victim, ".manifest")) - {own}
    replace_object(victim, own, storage(victim).get(elsewhere))
    assert "is another one's" in refused(victim, ref)


def test_an_older_signed_manifest_under_a_newer_name_is_refused(victim: Path) -> None:
    """A roll-back, which the name tells."""
    refs = write(victim, KEY, "old", "new")
    old, new = names(victim, ".manifest")
    replace_object(victim, new, storage(victim).get(old))
    assert "is another one's" in refused(victim, refs[1])
    assert resume(victim, KEY, refs[0]) == "old"


def test_deleting_the_newest_versions_rolls_nothing_back(victim: Path) -> None:
    """A ref names its version, so what is missing is missing."""
    refs = write(victim, KEY, "old", "new")
    storage(victim).delete([names(victim, ".manifest")[1]])
    assert "version 2" in refused(victim, refs[1], SnapshotMissingError)


def test_a_manifest_that_lies_about_changes_nothing(
    victim: Path, attacker: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes on, and deletes nothing as long as it does not know what that one names."""
    monkeypatch.setattr(retention, "GRACE", timedelta(0))
    (ref,) = write(victim, KEY, "good")
    write(attacker, None, "bad", at=NOW - timedelta(hours=1))
    (strange,) = names(attacker, ".manifest")
    storage(victim).put(strange, storage(attacker).get(strange))
    before = set(storage(victim).list(""))
    run = Execution(victim, KEY, ref, at=NOW + timedelta(hours=1), retain_for="0s", retain_snapshots=1)
    assert run.get() == "good"
    for value in range(5):
        run.put(value)
    run.close()
    assert before <= set(storage(victim).list(""))
    assert any(strange in message and "is not signed" in message for message in caplog.messages)


def reseal(ref: bytes, **changes: Any) -> bytes:
    """Make a ref with a digest that matches, as anybody can without a key."""
    return replace(decode_ref(ref, STEP, read_keys(KEY)), **changes).encode(STEP)


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "unsigned": reseal,
    "another version": lambda ref: reseal(ref, version=1),
    "signed with another key": lambda ref: decode_ref(ref, STEP, read_keys(KEY)).encode(STEP, read_keys(OTHER)),
    "with the signature of before": lambda ref: reseal(ref, version=1)[:-8] + ref[-8:],
    "of another step": lambda ref: decode_ref(ref, STEP, read_keys(KEY)).encode(TWIN, read_keys(KEY)),
    "without a signature": lambda ref: ref[:-8],
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_ref_is_refused(how: str, victim: Path) -> None:
    """Before anything is looked for in the storage; the step is named."""
    refs = write(victim, KEY, "old", "new")
    with pytest.raises(SnapshotCorruptError, match=r"'flow\.s'"):
        resume(victim, KEY, FORGED[how](refs[1]))
    assert resume(victim, KEY, refs[1]) == "new"


STORE = "20260101T000000000000Z-w000-01010101"
LEADS_OUT = [
    f"../flow.t/{STORE}/files/000008.sst",
    f"../../../other/steps/flow.s/{STORE}/files/000008.sst",
    f"/{STORE}/files/000008.sst",
    f"%2e%2e/flow.t/{STORE}/files/000008.sst",
    f"{STORE}%2F..%2F..%2Fx/files/000008.sst",
    f"{STORE}\\..\\files/000008.sst",
    f"{STORE}/files/../../../flow.t/{STORE}/files/000008.sst",
    f"{STORE}/files/000008.sst\n",
    f"{STORE}/files/\0.sst",
    f"{STORE}/files/٠٠٠٠٠٨.sst",
    "20250101T000000000000Z-w000-01010101/files/000008.sst",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("path", LEADS_OUT)
def test_no_path_leads_out_of_the_step(path: str, key: str | None, victim: Path) -> None:
    """Nor to a store that is no ancestor; not even if the signature is good."""
    (ref,) = write(victim, key, "good")
    (name,) = names(victim, ".manifest")
    keys = UNSIGNED if key is None else read_keys(key)
    good = decode(storage(victim).get(name), name, keys)
    assert good.store_id == STORE
    replace_object(victim, name, _signed(good, keys, files=[asdict(replace(good.files[0], path=path))]))
    with pytest.raises(SnapshotCorruptError, match="breaks a rule of its format: files: path"):
        resume(victim, key, ref)


@pytest.mark.parametrize(
    "local", ["../live.sst", "/tmp/000008.sst", "a/000008.sst", "CURRENT", "%2e%2e", "000008.sst\0"]
)
@pytest.mark.parametrize("field", ["files", "inline"])
def test_no_local_name_leads_out_of_the_table(field: str, local: str, victim: Path) -> None:
    """Neither of a file that is fetched, nor of one that the manifest holds."""
    (ref,) = write(victim, KEY, "good")
    (name,) = names(victim, ".manifest")
    good = decode(storage(victim).get(name), name, read_keys(KEY))
    if (field, local) == ("inline", "CURRENT"):
        local = "LOCK"
    value = [asdict(replace(good.files[0], local=local))] if field == "files" else {local: b""}
    replace_object(victim, name, _signed(good, read_keys(KEY), **{field: value}))
    assert f"breaks a rule of its format: {field}" in refused(victim, ref)


def test_a_restore_reads_within_its_step_only(victim: Path) -> None:
    """Whatever else lies in the storage."""
    (ref,) = write(victim, KEY, "good")
    write(victim, KEY, "other", step=TWIN)
    spy = FaultyStorage(storage(victim), ())
    resume(victim, KEY, ref, storage=lambda index: spy)
    assert len(spy.calls) > 3
    assert {name.partition("/2026")[0] for _, name in spy.calls} == {STEP.prefix}


def _signed(manifest: Manifest, keys: Keys, **changes: object) -> bytes:
    """Sign what `encode` would refuse."""
    body = asdict(manifest) | {"created_at": manifest.created_at.isoformat()} | changes
    del body["stats"]["manifest_bytes"]
    return seal(body, keys)
