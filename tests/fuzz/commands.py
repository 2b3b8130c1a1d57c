"""What the command line says of damage: it names it, exits as documented, and shows no traceback.

Called for some of the inputs, as looking at everything takes longer than one restore.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from typer.testing import CliRunner

from bytewax_state.cli import DATA, app
from bytewax_state.errors import UsageError
from bytewax_state.snapshot.layout import parse_manifest_name
from tests.fuzz.jobs import KEY, Job
from tests.fuzz.worlds import Changes


def look(job: Job, uri: str, objects: Changes) -> Iterator[str]:
    """Run the commands over a storage.

    :arg job: Job.

    :arg uri: Its storage.

    :arg objects: What was damaged; without what is the same as before.

    :returns: What must not be, in words.

    """
    manifests = {name for name, data in objects.items() if data is not None and parse_manifest_name(name)}
    # What names a manifest that is gone, is gone with it; but another one still names a file.
    named = manifests | {name for name in objects if not parse_manifest_name(name)}
    yield from _run(job, ("verify", "--uri", uri, "--deep", "--json"), named, {DATA if named else 0})
    yield from _run(job, ("list", "--uri", uri, "--json"), manifests, {DATA if manifests else 0})
    gc = ("gc", "--uri", uri, "--recovery", str(job.recovery))
    yield from _run(job, gc, manifests, {DATA} if manifests else {0, DATA})


def look_with(job: Job, recovery: Path) -> Iterator[str]:
    """Run the commands with recovery partitions that were damaged; see `look`."""
    for command in ("verify", "gc"):
        yield from _run(
            job,
            (command, "--uri", str(job.snapshots), "--recovery", str(recovery)),
            (),
            {0, DATA, UsageError.exit_code},
        )


def _run(job: Job, args: tuple[str, ...], named: Collection[str], codes: Collection[int]) -> Iterator[str]:
    env = {"BYTEWAX_STATE_SIGNING_KEY": KEY} if job.signed else {}
    done = CliRunner().invoke(app, list(args), env=env)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        yield f"`{args[0]}` raised {done.exception!r}"
    elif done.exit_code not in codes:
        yield f"`{args[0]}` exited with {done.exit_code}, expected one of {sorted(codes)}: {done.output[-500:]}"
    missing = [name for name in named if name not in done.output]
    # Deletion stops at the first manifest that cannot be read.
    if missing and (args[0] != "gc" or len(missing) == len(named)):
        yield f"`{args[0]}` does not name {missing}: {done.output[-500:]}"
    if job.signed and KEY in done.output:
        yield f"`{args[0]}` shows the key"
