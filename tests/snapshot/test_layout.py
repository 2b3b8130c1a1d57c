"""Names of objects and folders: each id has its own, safe in any storage and on any disk."""

from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bytewax_state.snapshot.layout import (
    MAX_COMPONENT,
    ManifestName,
    StepId,
    StoreId,
    component,
    file_path,
    is_store_id,
    new_store_id,
    parse_file_path,
    parse_manifest_name,
)

NOW = datetime(2026, 11, 24, 8, 15, 0, 123456, tzinfo=timezone.utc)
STORE = new_store_id(NOW, 0, b"\xab\x12\xcd\x34")
OURS = StoreId(StepId("my flow", "my flow.sum"), STORE)
ROOT = Path("work")

ids = st.text() | st.text("./%=~ \\", max_size=4) | st.text(min_size=60).map(lambda text: text * 5)


@given(ids, ids)
@example("", "=")
@example(".", "%2E")
@example("a/b", "a%2Fb")
@example("x" * (MAX_COMPONENT + 1), "x" * (MAX_COMPONENT + 2))
@example(component("x" * (MAX_COMPONENT + 1)), "x" * (MAX_COMPONENT + 1))
@example("\ud800", "\ufffd")
def test_different_ids_have_different_names(one: str, other: str) -> None:
    """Or two flows would share a folder."""
    assert (component(one) == component(other)) == (one == other)


@given(ids)
@example("")
@example(".")
@example("..")
@example("../../etc")
@example(".tmp-1")
@example("流" * 100)
def test_a_name_is_one_visible_part_of_a_path(name: str) -> None:
    """Never another folder, nor too long for a file system, nor taken for a temporary file."""
    part = component(name)
    assert PurePosixPath(part).parts == (part,)
    assert not part.startswith(".")
    assert part.isascii()
    assert part.isprintable()
    assert 0 < len(part) <= MAX_COMPONENT


@pytest.mark.parametrize("name", ["flow", "flow.sum.stateful_batch", "my-flow_2~x"])
def test_a_plain_id_is_its_own_name(name: str) -> None:
    """People look for it."""
    assert component(name) == name


def test_objects_are_where_the_tree_says() -> None:
    """As drawn in the layout."""
    assert OURS.step.prefix == "my%20flow/steps/my%20flow.sum"
    assert OURS.prefix == f"my%20flow/steps/my%20flow.sum/{STORE}"
    assert OURS.manifest(7) == f"my%20flow/steps/my%20flow.sum/{STORE}/000000000007.manifest"
    assert OURS.file("000008.sst") == f"my%20flow/steps/my%20flow.sum/{STORE}/files/000008.sst"


def test_local_folders_are_where_the_tree_says() -> None:
    """As drawn in the layout."""
    assert OURS.live(ROOT) == ROOT / "my%20flow" / "my%20flow.sum" / STORE / "live"
    assert OURS.frozen(ROOT, 7) == OURS.folder(ROOT) / "frozen" / "000000000007"
    assert OURS.step.lock(ROOT, 12) == ROOT / "my%20flow" / "my%20flow.sum" / "worker-012.lock"


def test_the_full_id_of_a_step_tells_its_flow() -> None:
    """As recovery partitions hold nothing else."""
    assert StepId.of("my flow.sum.stateful_batch") == StepId("my flow", "my flow.sum.stateful_batch")


@given(st.builds(StepId, ids, ids), st.integers(0, 2**63 - 1))
def test_the_name_of_a_manifest_is_taken_apart(step: StepId, version: int) -> None:
    """Whatever the ids are."""
    name = StoreId(step, STORE).manifest(version)
    assert parse_manifest_name(name) == ManifestName(component(step.flow_id), component(step.step_id), STORE, version)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "flow",
        OURS.file("000008.sst"),
        f"flow/steps/flow.s/{STORE}/1.manifest",
        f"flow/steps/flow.s/{STORE}/0000000000001.manifest",
        f"flow/steps/flow.s/{STORE}/00000000000१.manifest",
        f"flow/steps/flow.s/{STORE}/000000000001.manifest.bak",
        f"flow/steps/flow.s/{STORE}/000000000001.manifest\n",
        "flow/steps/flow.s/store/000000000001.manifest",
        f"flow/stages/flow.s/{STORE}/000000000001.manifest",
        f"x/flow/steps/flow.s/{STORE}/000000000001.manifest",
    ],
)
def test_another_object_is_no_manifest(name: str) -> None:
    """What lies in the storage may be anybody's."""
    assert parse_manifest_name(name) is None


def test_names_of_manifests_sort_as_versions_do() -> None:
    """A list begins with the claim and ends with the newest."""
    names = [OURS.manifest(version) for version in (0, 1, 9, 10, 99_999, 100_000, 10**11)]
    assert sorted(names) == names


def test_the_path_of_a_file_is_taken_apart() -> None:
    """Into the store that wrote it and its number."""
    assert parse_file_path(file_path(STORE, "000008.sst")) == (STORE, "000008.sst")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "000008.sst",
        f"{STORE}/000008.sst",
        f"{STORE}/files/../000008.sst",
        f"{STORE}/files/000008.sst/",
        f"{STORE}/files/CURRENT",
        f"/{STORE}/files/000008.sst",
        f"../{STORE}/files/000008.sst",
        "../files/000008.sst",
    ],
)
def test_another_path_is_no_file(path: str) -> None:
    """Above all none that leads elsewhere."""
    assert parse_file_path(path) is None


def test_a_store_id_tells_when_and_who() -> None:
    """In UTC, whatever zone the time was in."""
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert new_store_id(there, 0, b"\xab\x12\xcd\x34") == "20261124T081500123456Z-w000-ab12cd34"


@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(timezone.utc))),
    st.integers(0, 10**9 - 1),
    st.binary(min_size=4, max_size=32),
)
def test_store_ids_sort_by_time(times: list[datetime], index: int, token: bytes) -> None:
    """And need no encoding."""
    made = [new_store_id(at, index, token) for at in sorted(times)]
    assert sorted(made) == made
    assert all(is_store_id(one) and component(one) == one for one in made)


def test_local_stores_are_those_of_one_worker_index(tmp_path: Path) -> None:
    """Oldest first; what else lies there is none."""
    step = OURS.step
    assert step.local_stores(tmp_path, 1) == []
    times = [(NOW + timedelta(days=day), index) for day in (2, 1) for index in (0, 1, 10)]
    made = [StoreId(step, new_store_id(at, index, bytes(4))) for at, index in times]
    for store in made:
        store.live(tmp_path).mkdir(parents=True)
    step.lock(tmp_path, 1).touch()
    assert step.local_stores(tmp_path, 1) == [made[4], made[1]]
