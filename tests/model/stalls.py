"""A deletion that hangs for long, while another execution takes over."""

from tests.model.races import Move, RacingWorld, another
from tests.model.world import Shape


def stall(
    world: RacingWorld, busy: int, before: int, seconds: int, lists: int, rounds: int, shape: Shape, key: str
) -> None:
    """Let what runs hang in a deletion, behind a list, and go on when another execution has long taken over.

    :arg world: With an execution that runs.

    :arg busy: For how many epochs one key changes first, so that its worker compacts away what it inherited.

    :arg before: For how many epochs all workers are at work then.

    :arg seconds: How long each of these takes.

    :arg lists: Which list it hangs behind.

    :arg rounds: For how many epochs the other one runs.

    :arg shape: Of the other one.

    :arg key: The key that changes first.

    """
    pause = world.choices.retain_for + 61
    _run(world, busy, 5, [key])
    _run(world, before, seconds, [another(key, number) for number in range(before)])
    if not world.running:
        return
    world.take_over()
    moves = [Move("zombie", 1000, until="list after")] * lists
    world.race([*moves, Move("main", 1000)], shape, 0, key, 6, pause, 0, "go on")
    _run(world, rounds, pause, [another(key, number) for number in range(rounds)])
    if world.zombie_runs:
        world.run_zombie(1, 0, key)


def _run(world: RacingWorld, epochs: int, seconds: int, keys: list[str]) -> None:
    """Change one key after the other, each in an epoch of its own."""
    for number in range(epochs):
        if world.running:
            world.put(keys[number % len(keys)], number)
            world.end_epoch()
            world.wait(seconds)
