"""What a manifest tells of its version is so: its rows, its bytes; over restarts, rescales and changes of backend."""

import struct
from dataclasses import asdict
from pathlib import Path
from random import Random

import msgpack
import pytest

from bytewax_state.signing import UNSIGNED
from bytewax_state.snapshot.envelope import MAGIC
from bytewax_state.snapshot.manifest import Manifest, name_of
from bytewax_state.snapshot.ref import Ref
from tests.snapshot.test_restore import GROUPS, Writer

CAPACITIES = (None, 0, 2, 1_000)
"""Of a heap store, and of RocksDB stores that keep few or many objects live."""

Model = dict[int, set[str]]


def change(writer: Writer, model: Model, rng: Random) -> None:
    """Put and delete some keys."""
    for _ in range(rng.randrange(30)):
        group, key = rng.choice(writer.groups), f"k{rng.randrange(6)}"
        if key in model[group] and rng.random() < 0.4:
            writer.delete(group, key)
            model[group].remove(key)
        else:
            writer.put(group, key, rng.random())
            model[group].add(key)


def manifest_of(writer: Writer, refs: list[Ref]) -> Manifest:
    (version,) = {ref.version for ref in refs}
    step = writer.catalog.step("flow/steps/flow.s")
    return step.stores[writer.origin.store.store_id].manifests[version]


def check(manifest: Manifest, model: Model) -> None:
    assert manifest.rows == {group: len(model[group]) for group in manifest.groups}
    assert manifest.stats.rows == sum(manifest.rows.values())
    stats = manifest.stats
    assert stats.live_bytes == stats.uploaded_bytes + stats.reused_bytes == sum(one.size for one in manifest.files)


def age(writer: Writer, refs: list[Ref]) -> None:
    """Replace a manifest by what a version of the package that wrote format 1 would have written, which is one that
    leaves all rows to its files.
    """
    name = name_of(manifest_of(writer, refs))
    manifest = writer.catalog.read(name)
    if manifest.changes:
        return
    body = asdict(manifest) | {"created_at": manifest.created_at.isoformat()}
    del body["rows"], body["changes"], body["stats"]["manifest_bytes"]
    body["stats"]["rows"] = 999
    data = struct.pack(">8sH", MAGIC, 1) + msgpack.packb(body)
    writer.storage.delete([name])
    writer.storage.put(name, data + UNSIGNED.digest(data))


@pytest.mark.parametrize("seed", range(12))
def test_figures_are_those_of_a_plain_model(seed: int, tmp_path: Path) -> None:
    """However many workers each execution has, whichever stores, and whichever format it goes on from."""
    rng = Random(seed)
    model: Model = {group: set() for group in range(GROUPS)}
    refs: dict[int, Ref] = {}
    for _ in range(5):
        count = rng.choice([1, 2])
        own = {index: [group for group in range(GROUPS) if group % count == index] for index in range(count)}
        writers = [
            Writer(tmp_path, index, [refs[group] for group in own[index] if refs], capacity=rng.choice(CAPACITIES))
            for index in range(count)
        ]
        for writer in writers:
            if not refs:
                writer.add(*own[writer.origin.worker_index])
        for _ in range(rng.randrange(1, 5)):
            for writer in writers:
                change(writer, model, rng)
                published = writer.publish()
                check(manifest_of(writer, published), model)
                refs |= {ref.group: ref for ref in published}
        for writer in writers:
            writer.close()
            if rng.random() < 0.3:
                age(writer, [ref for ref in refs.values() if ref.store_id == writer.origin.store.store_id])
