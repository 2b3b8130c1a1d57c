"""The object store that the machine takes for the truth behaves as every storage does."""

import pytest

from bytewax_state.storage.storage import Storage
from tests.contracts.storage_contract import StorageContract
from tests.model.objects import Objects


class TestObjects(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return Objects()


def test_a_name_that_is_taken_again_with_other_bytes_is_noted() -> None:
    """Also when the first object was deleted in between."""
    objects = Objects()
    objects.put("flow/a", b"1")
    objects.delete(["flow/a"])
    objects.put("flow/a", b"2")
    assert len(objects.breaches) == 1


def test_a_version_that_is_left_out_is_noted() -> None:
    """Versions of a store rise by one."""
    objects = Objects()
    for version in (0, 1, 3):
        objects.put(f"flow/steps/flow.s/20260101-w000-00000001/{version:012}.manifest", b"")
    assert len(objects.breaches) == 1
