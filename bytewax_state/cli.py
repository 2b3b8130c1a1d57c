"""`bytewax-state`: looks at the snapshots in a storage, from outside, and cleans up.

Owns the commands, their options, and what the exit codes mean. It does not own what is looked at (`survey`), nor how it
is shown (`views`). Called from the shell.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bytewax_state.admin import garbage
from bytewax_state.admin.garbage import Garbage
from bytewax_state.admin.roots import Roots, read_roots
from bytewax_state.admin.survey import Survey
from bytewax_state.admin.verify import check
from bytewax_state.admin.views import (
    Bar,
    error_text,
    finding_text,
    garbage_objects,
    garbage_sums,
    garbage_text,
    json_line,
    manifest_object,
    manifest_text,
    one_line,
    report_sums,
    step_text,
    unreadable_object,
    version_object,
    wait,
)
from bytewax_state.errors import BytewaxStateError, StorageError, UsageError
from bytewax_state.settings import Settings, keys_of, read_duration
from bytewax_state.snapshot.layout import is_chosen
from bytewax_state.storage.translation import TransientError
from bytewax_state.storage.uri import open_storage

DATA, INTERRUPTED = 1, 130
"""Exit codes, beside those of errors: something is wrong with the data; Ctrl-C."""

MIN_AGE = "1h"


@dataclass(frozen=True, slots=True)
class Clock:
    """What a command takes from outside, besides its options."""

    now: Callable[[], datetime]
    sleep: Callable[[float], None]


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(timezone.utc)


class _Commands(TyperGroup):
    """Commands whose errors end as one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BytewaxStateError as ex:
            _say(error_text(ex))
            raise typer.Exit(ex.exit_code) from ex
        except BrokenPipeError as ex:
            # The reader closed the pipe, as `head` does when it has enough. That is no error.
            raise typer.Exit from ex
        except OSError as ex:
            _say(f"{StorageError.kind}: {one_line(str(ex))}")
            raise typer.Exit(StorageError.exit_code) from ex
        except KeyboardInterrupt as ex:
            raise typer.Exit(INTERRUPTED) from ex


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    # These tracebacks show local variables, and some of them are secrets.
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _option(text: str, metavar: str, **more: Any) -> Any:
    """Declare an option that may be left out."""
    return typer.Option(help=text, metavar=metavar, show_default=False, **more)


Uri = Annotated[
    str | None,
    _option(
        "Where the snapshots are: a folder, or a URL such as file:///data/snapshots. If it is not given: "
        "BYTEWAX_STATE_URI, as for the flow.",
        "URI",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
Recovery = Annotated[
    list[Path],
    _option(
        "Bytewax's recovery directory (-r of the run), which tells what the next run resumes from. Repeat it for each "
        "folder, if the partitions lie in several: all of them are needed.",
        "DIR",
        exists=True,
        file_okay=False,
    ),
]
MinAge = Annotated[
    str,
    typer.Option(
        help="Keep all of a store whose newest version is younger than this: a run may be about to go on from it.",
        metavar="DURATION",
    ),
]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"bytewax-state {metadata.version('bytewax-state')}")
        raise typer.Exit


@app.callback()
def commands(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and exit.")
    ] = False,
) -> None:
    """Look at the snapshots of Bytewax flows whose state bytewax_state keeps, and clean up.

    A **flow** has stateful **steps**. Each run of it has a **store** for each step on each worker, and a store has
    **versions** 1, 2, 3, …: its snapshots. A version is a **manifest**, which names files that others may name too.
    Version 0 is the **claim**, which names what the store was restored from.

    Settings are those of the flow, from the same environment: BYTEWAX_STATE_URI, BYTEWAX_STATE_STORAGE_OPTIONS,
    BYTEWAX_STATE_SIGNING_KEY, BYTEWAX_STATE_UPLOAD_THREADS. A flow may be running meanwhile.

    Exit codes:

    - 0: fine
    - 1: something is wrong with the data
    - 2: the command, a setting or the recovery directory is not what it should be
    - 3: the storage, or the local disk, is out of reach

    Start with `bytewax-state list`.
    """
    ctx.obj = ctx.obj or Clock(utc_now, time.sleep)


@app.command("list")
def list_(
    ctx: typer.Context,
    uri: Uri = None,
    flow: Annotated[str | None, _option("Only this flow.", "FLOW_ID")] = None,
    step: Annotated[str | None, _option("Only this step, or the steps inside of this operator.", "STEP_ID")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="All versions, not only a store's newest.")] = False,
    as_json: Json = False,
) -> None:
    """List flows, steps, stores and versions.

    Of each version: the epoch whose state it is, its age, how many keys have a state in it (its rows), how many bytes
    its files have, how many bytes were uploaded for it (files and the manifest), and how many were there already.
    With --json, always all versions.

    For example:

        bytewax-state list
        bytewax-state list --step my_flow.count --versions
        bytewax-state list --uri /data/snapshots --json
    """
    now = ctx.obj.now()
    with _opened(uri, "reading manifests") as survey:
        there = survey.steps(flow if step is None else step.partition(".")[0])
        looks = [survey.catalog.step(prefix) for prefix in there if is_chosen(prefix, flow, step)]
    steps = [one for one in looks if one.stores]
    if not steps and not survey.closed:
        _say(f"no snapshots {'' if flow is step is None else 'of that flow or step '}in {survey.url}")
    if as_json:
        _print(json_line(version_object(manifest)) for one in steps for manifest in one.manifests())
        _print(json_line(unreadable_object(name, why)) for one in steps for name, why in one.unreadable.items())
    else:
        _print(["\n\n".join(step_text(one, now, versions) for one in steps)] if steps else [])
    _end(survey, any(one.unreadable for one in steps), bool(steps))


@app.command()
def show(
    ctx: typer.Context,
    version: Annotated[
        str,
        typer.Argument(
            help="STORE@VERSION, as the log's `from=` and `bytewax-state list` have it; without @VERSION the newest. "
            "Or the name of the manifest, as `bytewax-state verify` has it.",
            metavar="VERSION",
        ),
    ],
    uri: Uri = None,
    as_json: Json = False,
) -> None:
    """Show all that one version says of itself.

    Its key groups, each with the version in which it last changed; its files, with sizes and SHA-256; the stores that
    it inherited files from; what it cost; and who wrote it.

    For example:

        bytewax-state show 20261124T081500123456Z-w000-ab12cd34@17
        bytewax-state show 20261124T081500123456Z-w000-ab12cd34 --json
    """
    clock: Clock = ctx.obj
    with _opened(uri, "looking for it") as survey:
        name = survey.find(version)
        try:
            manifest = survey.catalog.read(name)
        except FileNotFoundError:
            msg = f"{survey.url} has no {name}; `bytewax-state list --versions` says what is there"
            raise UsageError(msg) from None
    _print([json_line(manifest_object(manifest)) if as_json else manifest_text(manifest, clock.now())])


@app.command()
def verify(
    ctx: typer.Context,
    uri: Uri = None,
    recovery: Recovery = [],  # noqa: B006  # typer makes a new one
    deep: Annotated[bool, typer.Option("--deep", help="Read every file too, and compare its SHA-256.")] = False,
    min_age: MinAge = MIN_AGE,
    as_json: Json = False,
) -> None:
    """Check that everything that belongs to a snapshot is there, and sound.

    A finding is a line: what should hold, the object, and what was found.

    - `manifests_can_be_read`: every manifest is sound, and signed if there is a key
    - `named_files_exist`: every file that a manifest names is there, with its size
    - `named_files_are_sound`: and has its SHA-256 (with --deep)
    - `paths_mean_one_file`: no two manifests mean different files by one name
    - `versions_rise`: versions of a store follow from one another
    - `ancestry_is_sound`: no store is an ancestor of its ancestor
    - `refs_can_be_restored`: all that the next run loads is there (with --recovery)
    - `groups_have_rows`: and Bytewax knows of every key group (with --recovery)
    - `nothing_is_unreachable`: nothing is left for `bytewax-state gc` that no run would delete (with --recovery)

    For example:

        bytewax-state verify
        bytewax-state verify --recovery recovery --deep
    """
    clock: Clock = ctx.obj
    age = _duration("--min-age", min_age)
    with _opened(uri, "checking") as survey:
        look = lambda: read_roots(recovery, survey.keys) if recovery else Roots()  # noqa: E731
        report = check(survey, look, deep, age, clock.now)
    _print(json_line(asdict(finding)) if as_json else finding_text(finding) for finding in report.findings)
    if not as_json:
        _print([report_sums(report, deep)])
    _end(survey, bool(report.findings), bool(report.steps))


@app.command()
def gc(
    ctx: typer.Context,
    recovery: Recovery,
    uri: Uri = None,
    flow: Annotated[
        str | None,
        _option("The flow, if nothing in the recovery directory tells: all its snapshots go.", "FLOW_ID"),
    ] = None,
    min_age: MinAge = MIN_AGE,
    grace: Annotated[
        str,
        typer.Option(
            help="How long to wait between manifests and files, so that a run which was just about to restore from one "
            "of them keeps its files.",
            metavar="DURATION",
        ),
    ] = "1m",
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; otherwise it is only shown.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what nobody can resume from any more, of the flow that a recovery directory belongs to.

    A running flow cleans up behind itself; this is for what no run does: runs that died before a commit, recovery
    directories that were deleted. Snapshots of other flows stay as they are.

    **Only what this recovery directory needs is kept.** If another one, or an older copy of it, is to be resumed from
    the same URI, do not delete. A flow may be running; then --min-age has to be longer than it takes to restore and to
    upload a first snapshot. 0s says that nothing runs.

    Nothing is deleted if a manifest cannot be read, or something that is needed is not there.

    For example:

        bytewax-state gc --recovery recovery
        bytewax-state gc --recovery recovery --delete
    """
    clock: Clock = ctx.obj
    age, pause = _duration("--min-age", min_age), _duration("--grace", grace)
    with _opened(uri, "looking for garbage") as survey:
        todo = garbage.plan(survey, recovery, flow, age, clock.now)
        survey.progress.close()
        if not as_json:
            _print(map(garbage_text, todo))
        done = _delete(survey, todo, pause, clock.sleep) if delete else todo
    if as_json:
        _print(json_line(line) for one in done for line in garbage_objects(one, delete))
    else:
        _print([garbage_sums(todo, done, delete)])


def main() -> None:
    """Run the command that the shell gave."""
    try:
        app()
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            # The error was shown. At its exit the interpreter would write the buffer, fail, and set its own exit code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _opened(uri: str | None, doing: str) -> Iterator[Survey]:
    """Open the storage, and show a bar while it is looked at."""
    settings = Settings() if uri is None else Settings(uri=uri)
    if settings.uri is None:
        msg = "BYTEWAX_STATE_URI is none, so there are no snapshots; say where they are with --uri"
        raise UsageError(msg)
    storage = open_storage(settings.uri, settings.storage_options, settings.upload_threads)
    folder = storage.url.removeprefix("file://")
    if folder != storage.url and not Path(folder).is_dir():
        msg = f"there is no folder {folder}; say where the snapshots are with --uri, or BYTEWAX_STATE_URI"
        raise UsageError(msg)
    bar = Bar(doing)
    survey = Survey(storage, keys_of(settings), settings.upload_threads, bar)
    try:
        yield survey
    finally:
        survey.close()
        bar.close()
        for name, why in sorted(survey.closed.items()):
            _say(f"{name} was left out, as it cannot be read, and may be somebody else's: {one_line(str(why))}")


def _end(survey: Survey, is_wrong: bool, is_something: bool) -> None:
    """Choose the exit code: where there is no data, all of it may be in folders that cannot be read."""
    if is_wrong:
        raise typer.Exit(DATA)
    if any(not is_something or isinstance(why, TransientError) for why in survey.closed.values()):
        raise typer.Exit(StorageError.exit_code)


def _duration(option: str, text: str) -> timedelta:
    try:
        return read_duration(text)
    except ValueError as ex:
        msg = f"{option}: {ex}"
        raise UsageError(msg) from ex


def _delete(
    survey: Survey, todo: Sequence[Garbage], grace: timedelta, sleep: Callable[[float], None]
) -> Sequence[Garbage]:
    manifests = sum(len(one.plan.manifests) for one in todo)
    try:
        return garbage.delete(survey.catalog, todo, lambda: wait(grace, sleep))
    except KeyboardInterrupt:
        _say(
            f"interrupted: of {manifests} manifests some or all are deleted, and their files are still there; a later "
            "gc finds these with --min-age 0s, when nothing runs"
        )
        raise


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _say(text: str) -> None:
    typer.echo(f"bytewax-state: {text}", err=True)


if __name__ == "__main__":
    main()
