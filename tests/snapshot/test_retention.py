"""What retention lets go, as plans: pure functions of what was published, the policy and the time."""

from datetime import datetime, timedelta, timezone

import pytest

from bytewax_state.snapshot.retention import Plan, Published, note_freeze, plan

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def past(*files: str) -> list[Published]:
    """Versions 1, 2, 3 … with the files that each letter names."""
    return [Published(version, frozenset(names)) for version, names in enumerate(files, 1)]


def test_nothing_goes_before_a_newer_version_is_known_to_be_committed() -> None:
    """The one that was just published may belong to an epoch that never commits."""
    versions = note_freeze(past("a", "b"), 3, NOW)
    assert [one.superseded_at for one in versions] == [NOW, None]
    assert plan(past("a", "b"), keep=1, retain_for=timedelta(0), now=NOW) == Plan((), ())


def test_a_version_stays_for_the_retention_after_it_was_superseded() -> None:
    """Bytewax may resume from any epoch in its backup interval."""
    versions = note_freeze(past("a", "b", "c"), 4, NOW)
    assert plan(versions, keep=1, retain_for=HOUR, now=NOW + HOUR - timedelta(seconds=1)) == Plan((), ())
    assert plan(versions, keep=1, retain_for=HOUR, now=NOW + HOUR) == Plan((1, 2), ("a", "b"))


def test_the_newest_versions_stay_in_any_case() -> None:
    """However old they are."""
    versions = note_freeze(past("a", "b", "c", "d"), 5, NOW)
    assert plan(versions, keep=3, retain_for=timedelta(0), now=NOW + 1000 * HOUR) == Plan((1,), ("a",))


def test_a_file_stays_while_any_version_that_stays_names_it() -> None:
    """An SST lives for as many versions as it is not compacted away."""
    versions = note_freeze(past("ab", "bc", "cd"), 4, NOW)
    assert plan(versions, keep=1, retain_for=timedelta(0), now=NOW) == Plan((1, 2), ("a", "b"))


def test_the_time_that_counts_is_that_of_the_first_proof() -> None:
    """A later freeze does not make an old version younger."""
    versions = note_freeze(note_freeze(past("a", "b"), 3, NOW), 4, NOW + HOUR)
    assert versions[0].superseded_at == NOW


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_committed_version_never_goes(keep: int) -> None:
    """Whatever the policy says."""
    versions = past("a", "b", "c", "d", "e")
    for frozen in range(2, 7):
        versions = note_freeze(versions, frozen, NOW)
    gone = plan(versions, keep=keep, retain_for=timedelta(0), now=NOW + HOUR).versions
    assert 5 not in gone
