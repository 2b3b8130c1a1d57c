"""Stories that the machine found, told again: each was a bug of the package once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults import Fault
from tests.model.audits import KEY_OF, collect_garbage, restore_aside
from tests.model.races import RacingWorld
from tests.model.stalls import stall
from tests.model.tally import Tally
from tests.model.world import Choices, Shape

Begin = Callable[[Choices], RacingWorld]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Makes a world, and sees at the end that all of it can be restored."""
    made: list[RacingWorld] = []

    def make(choices: Choices) -> RacingWorld:
        made.append(RacingWorld(choices, Tally()))
        return made[-1]

    yield make
    for world in made:
        world.close()


def end_epoch(world: RacingWorld, value: int) -> None:
    """Change a key of every group, and end the epoch."""
    for key in KEY_OF.values():
        world.put(key, value)
    world.end_epoch()
    world.check()


def look_at_all(world: RacingWorld) -> None:
    for back in range(len(world.roots())):
        restore_aside(world, back, Shape(1 + back, "rocksdb", 8), timers=False)
    collect_garbage(world)
    world.check()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_zombie_beside_the_one_that_runs_deletes_nothing(begin: Begin, workers: int) -> None:
    """Both resumed from the same versions, so neither descends from the other; it took those for its own past."""
    world = begin(Choices(retain_for=30))
    world.resume(Shape(1))
    end_epoch(world, 1)
    world.kill()
    world.resume(Shape(1))
    world.take_over()
    world.resume(Shape(workers))
    world.end_epoch(fault=Fault("put", "full", transient=False, skip=workers - 1))
    assert not world.running
    world.run_zombie(rounds=4, seconds=40, key="k0")
    world.check()
    world.resume(Shape(workers))
    look_at_all(world)


def test_what_was_before_stays_until_the_first_epoch_is_long_committed(begin: Begin) -> None:
    """A version is made when its upload begins; the epoch is committed when all workers have come to the end of it."""
    world = begin(Choices(retain_for=30))
    world.resume(Shape(1))
    end_epoch(world, 1)
    world.kill()
    world.resume(Shape(1))
    world.put("k0", 2)
    world.end_epoch(fault=Fault("put_file", "slow"))
    world.kill()
    world.resume(Shape(1))
    end_epoch(world, 3)
    look_at_all(world)


def test_files_stay_while_the_claims_on_them_may_not_be_listed_yet(begin: Begin) -> None:
    """The store that they are in had no manifest any more, and its files were taken for left-overs of long ago."""
    world = begin(Choices(retain_for=0, lag=20))
    world.resume(Shape(2))
    end_epoch(world, 1)
    world.wait(20)
    world.kill()
    world.resume(Shape(3))
    for value in (2, 3):
        end_epoch(world, value)
    world.kill()
    world.resume(Shape(3))
    end_epoch(world, 4)
    look_at_all(world)


def test_a_deletion_that_hung_behind_its_list_spares_what_was_inherited_meanwhile(begin: Begin) -> None:
    """All manifests that it had listed were gone by then, and what had been restored from them was not in the list."""
    world = begin(Choices(retain_for=30, keep=1))
    world.resume(Shape(1, "rocksdb", 0))
    for number in range(2):
        for key in range(20):
            world.put(f"k{key}", number)
        world.end_epoch()
        world.wait(5)
    world.kill()
    shape = Shape(2, "rocksdb", 0)
    world.resume(shape)
    stall(world, 40, 5, 400, 1, 5, shape, "k1")
    look_at_all(world)


@pytest.mark.parametrize("backend", ["heap", "rocksdb"])
@pytest.mark.parametrize("gone", [True, False])
def test_what_was_due_before_an_item_came_may_come_before_it(begin: Begin, backend: Any, gone: bool) -> None:
    """A store on disk asks a restored object for its time only as it comes into memory; the worker stood still."""
    world = begin(Choices())
    world.resume(Shape(1))
    world.put("k0", 1, after=60)
    world.end_epoch()
    world.kill()
    world.resume(Shape(1, backend))
    world.wait(61)
    if gone:
        world.delete("k0")
    else:
        world.put("k0", 2)
    world.look()
    world.notify()
    world.look()
    look_at_all(world)
