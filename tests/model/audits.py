"""Audits of a world: what can be restored, what retention leaves, and what is left when all garbage is collected.

They cost more than a list, so the machine calls them at some steps and at the end only.
"""

import shutil
from datetime import timedelta

from bytewax_state.errors import SnapshotMissingError
from bytewax_state.keygroups import group_of
from bytewax_state.snapshot.manifest import name_of
from bytewax_state.snapshot.sources import serving
from tests.model.clock import Tokens
from tests.model.execution import GROUPS, Execution, notified
from tests.model.points import Points
from tests.model.races import RacingWorld
from tests.model.tally import Tally
from tests.model.world import Shape

KEY_OF = {group_of(key, GROUPS): key for key in map("k{}".format, range(20))}
"""A key of each group."""


def settle(world: RacingWorld) -> None:
    """Let retention come to its end: what a running execution can tell to be garbage is gone then."""
    assert world.main.execution is not None
    world.main.execution.points.due_at = None
    for number in range(5):
        _change_all(world, number)
    # A round takes two versions: the manifests go at one, their files at the next.
    left = _left(world)
    _change_all(world, 5)
    left &= _left(world)
    assert not left, f"retention left {sorted(left)}"
    world.tally.add("outcomes", "retention came to its end")


def _change_all(world: RacingWorld, number: int) -> None:
    for group in range(GROUPS):
        world.put(KEY_OF[group], number)
    world.end_epoch()
    world.wait(world.choices.retain_for + 61)


def _left(world: RacingWorld) -> set[str]:
    """Name what there is that the running execution does not need."""
    step, execution = world.guard.look(), world.main.execution
    assert execution is not None
    own = {store_id: step.stores[store_id] for store_id in sorted(execution.stores()) if store_id in step.stores}
    # Whoever has published, and was not gone on from, may have committed as far as anybody here can tell.
    spared = [
        listing
        for store_id, listing in step.stores.items()
        if store_id not in own.keys() | execution.came_from and listing.versions and listing.versions[-1]
    ]
    manifests = [one for listing in (*own.values(), *spared) for one in listing.manifests.values()]
    named = set(step.named(lambda manifest: manifest in manifests))
    named.update(name for listing in spared for name in listing.files)
    # Two that have to stay, and one more as a round comes at every other version.
    most = max(world.choices.keep, 3) + 1
    old = [one for listing in own.values() for one in [*listing.manifests.values()][:-most]]
    others = [one for one in step.manifests() if one not in manifests]
    files = {name for listing in step.stores.values() for name in listing.files if name not in named}
    return files.union(name_of(one) for one in (*old, *others))


def collect_garbage(world: RacingWorld) -> None:
    """Stop everything, collect garbage, and see that just what can be resumed from is left."""
    world.kill_zombie()
    world.kill_gc()
    if world.running:
        world.kill()
    world.wait(max(world.choices.lag, world.choices.retain_for))  # nothing but the newest epoch is kept then
    world.gc(nothing_runs=True)
    step = world.guard.look()
    refs = {ref for at in world.roots() for ref in world.main.epochs[at].refs(world.keys)}
    if world.guard.lost(refs):
        return
    served = {name_of(one) for ref in refs for one in serving(step, ref)}
    newest = {name_of(listing.newest) for listing in step.stores.values() if listing.newest is not None}
    left = [name_of(one) for one in step.manifests() if name_of(one) not in served | newest]
    named = step.named()
    left += [name for listing in step.stores.values() for name in listing.files if name not in named]
    left += [
        store for store in step.stores if store not in {ref.store_id for ref in refs} and step.stores[store].manifests
    ]
    assert not left, "gc left\n" + "\n".join(left)
    world.tally.add("outcomes", "all garbage was collected, and nothing was left")


def restore_aside(world: RacingWorld, back: int, shape: Shape, timers: bool) -> None:
    """Restore an epoch aside, on a copy of the storage, and compare it with the model.

    :arg back: How many epochs before the newest.

    :arg shape: How.

    :arg timers: Whether to look at the schedule before any object is read.

    """
    roots = world.roots()
    resume = roots[max(0, len(roots) - 1 - back)]
    epoch = world.main.epochs[resume]
    folder = world.new_disk()
    settings = world.settings.model_copy(update={"backend": shape.backend, "cache_entries": shape.cache, "dir": folder})
    refs = epoch.recovery.load()
    points, copy = Points(Tally()), world.objects.copy()
    aside = Execution(shape.workers, settings, refs, resume, world.clock, Tokens(1 << 31), lambda _: copy, points)
    try:
        came = aside.open()
    except SnapshotMissingError:
        if not world.guard.lost(epoch.refs(world.keys)):
            raise
        world.tally.add("outcomes", "restored aside: legally lost")
        return
    else:
        far = world.clock() + timedelta(days=1000)
        state = notified(epoch.state, [key for key, _ in came])
        due = sorted(key for key, (_, at) in state.items() if at is not None)
        if timers:
            assert aside.pop_due(far) == due
            assert {key: value for key, (value, _) in aside.content().items()} == {
                key: value for key, (value, _) in state.items()
            }
        else:
            assert aside.content() == state
        world.tally.add("outcomes", "restored aside, and compared")
    finally:
        aside.close()
        shutil.rmtree(folder, ignore_errors=True)
