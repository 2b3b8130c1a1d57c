"""Views: what the command line shows of snapshots, as text for people and as JSON for programs.

Owns every line that is written to standard output, and the progress bar. It does not own what is shown, nor when.
Called by the command line; `run` ends with a line of its own in the same form.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from threading import Lock
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from bytewax_state.admin.garbage import Garbage
from bytewax_state.admin.invariants import Finding
from bytewax_state.admin.verify import Report
from bytewax_state.errors import BytewaxStateError
from bytewax_state.snapshot.catalog import StepListing, StoreListing
from bytewax_state.snapshot.layout import parse_manifest_name
from bytewax_state.snapshot.manifest import CLAIM, Manifest

BAR_DELAY = 1.0
"""Seconds after which a bar is worth its space."""

_WIDE = 1000
"""Columns where there is no terminal: nothing is wrapped or cut."""

_LONG = ("groups", "rows", "files", "inline", "changes", "states", "hash", "names")
"""Fields of a manifest that only `show` shows."""

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def json_line(value: Mapping[str, Any]) -> str:
    """Write a line for programs."""
    return json.dumps(value)


def manifest_object(manifest: Manifest) -> dict[str, Any]:
    """Take a manifest apart, under the names of its fields.

    :returns: All of it, but of the inline files only their sizes, in bytes, and of the changes only how many there are.

    """
    sizes = {name: len(data) for name, data in manifest.inline.items()}
    at, changes = manifest.created_at.isoformat(), len(manifest.changes)
    return asdict(manifest) | {"created_at": at, "inline": sizes, "changes": changes}


def version_object(manifest: Manifest) -> dict[str, Any]:
    """Take a manifest apart as far as a list shows it; see `manifest_object`."""
    return {name: value for name, value in manifest_object(manifest).items() if name not in _LONG}


def unreadable_object(name: str, why: BytewaxStateError) -> dict[str, Any]:
    """Tell of a manifest that cannot be read.

    :arg name: Of the object.

    :arg why: What is wrong with it.

    :returns: Its name, what its name says, and the kind and text of the error.

    """
    parsed = parse_manifest_name(name)
    says = {} if parsed is None else {"store_id": parsed.store_id, "version": parsed.version}
    return {"name": name, **says, "kind": why.kind, "text": one_line(str(why))}


def garbage_objects(garbage: Garbage, deleted: bool) -> Iterator[dict[str, Any]]:
    """Tell what goes of a step: a line for each object, and one with their sums.

    :arg garbage: What goes.

    :arg deleted: Whether it is gone.

    """
    plan = garbage.plan
    for name in plan.manifests:
        yield {"name": name, "size": garbage.sizes[name], "deleted": deleted}
    for name in plan.files:
        yield {"name": name, "size": garbage.sizes[name], "deleted": deleted}
    sums = {"manifests": len(plan.manifests), "files": len(plan.files), "bytes": garbage.bytes}
    yield {"step": plan.prefix, **sums, "deleted": deleted}


def step_text(step: StepListing, now: datetime, every_version: bool) -> str:
    """Show a step and its stores, or all their versions.

    :arg every_version: Whether to show more than the newest version of each store.

    """
    manifests = list(step.manifests())
    files = step.named().values()
    size = sum(entry.size for entry in files) + sum(manifest.stats.manifest_bytes for manifest in manifests)
    title = manifests[0].step_id if manifests else step.prefix
    sums = (
        f"{_count(len(step.stores), 'store')}, {_count(len(manifests), 'version')}, "
        f"{_count(len(files), 'file')}, {size_text(size)}"
    )
    table = _table("store", ">version", ">epoch", ">age", ">rows", ">live", ">uploaded", ">reused")
    for store in step.stores.values():
        for row in _rows(store, now, every_version):
            table.add_row(*row)
    lost = [f"cannot be read: {name}: {one_line(str(why))}" for name, why in step.unreadable.items()]
    return "\n".join((f"{plain(title)}: {sums}", *_lines(table), *lost))


def _rows(store: StoreListing, now: datetime, every_version: bool) -> Iterator[tuple[str, ...]]:
    newest = store.newest
    if newest is None:
        yield (store.store_id, "none", *[""] * 6)
        return
    for manifest in store.manifests.values() if every_version else [newest]:
        stats = manifest.stats
        version = f"{manifest.version} (claim)" if manifest.version == CLAIM else str(manifest.version)
        sizes = (stats.live_bytes, stats.uploaded_bytes + stats.manifest_bytes, stats.reused_bytes)
        epoch, age = str(manifest.epoch), age_text(manifest.created_at, now)
        yield (store.store_id, version, epoch, age, _rows_text(manifest), *map(size_text, sizes))


def _rows_text(manifest: Manifest) -> str:
    return f"{'' if manifest.rows is not None else '~'}{manifest.stats.rows}"


def manifest_text(manifest: Manifest, now: datetime) -> str:
    """Show all of a manifest, but the bytes of the inline files and of the changes."""
    stats = manifest.stats
    at = manifest.created_at.astimezone(timezone.utc).isoformat(timespec="seconds")
    facts = {
        "flow": manifest.flow_id,
        "step": manifest.step_id,
        "store": manifest.store_id,
        "version": str(manifest.version),
        "created at": f"{at} ({age_text(manifest.created_at, now)} ago)",
        "epoch": str(manifest.epoch),
        "backend": f"{manifest.backend}, worker {manifest.worker_index} of {manifest.worker_count}",
        "writer": ", ".join(f"{package} {number}" for package, number in manifest.writer.items()),
        "key groups": f"{len(manifest.groups)} of {manifest.key_groups} (hash {manifest.hash}, names {manifest.names})",
        "rows": f"{_rows_text(manifest)}, {size_text(stats.live_bytes)} live, {size_text(stats.changed_bytes)} changed",
        "uploaded": f"{_count(stats.uploaded_files, 'file')}, {size_text(stats.uploaded_bytes)}; "
        f"this manifest, {size_text(stats.manifest_bytes)}",
        "changes": f"{_count(len(manifest.changes), 'row')} since its files were frozen",
        "reused": f"{_count(stats.reused_files, 'file')}, {size_text(stats.reused_bytes)}",
        "seconds": ", ".join(f"{phase} {seconds:.3f}" for phase, seconds in asdict(stats.seconds).items()),
        "states": ", ".join(
            f"{name} (id {state['id']}, {state['kind']}, {state['codec']}, ttl {state['ttl']})"
            for name, state in manifest.states.items()
        ),
        "ancestors": ", ".join(manifest.ancestors),
    }
    width = max(map(len, facts))
    lines = [f"{name:{width}}  {plain(text) or 'none'}" for name, text in facts.items()]
    groups = _table(">last changed in version", "key groups")
    for version in sorted(set(manifest.groups.values()), reverse=True):
        groups.add_row(str(version), ranges_text(group for group, at in manifest.groups.items() if at == version))
    files = _table("file", ">bytes", "sha256")
    for entry in manifest.files:
        files.add_row(entry.path, str(entry.size), entry.sha256)
    for name, data in manifest.inline.items():
        files.add_row(name, str(len(data)), "inline")
    return "\n".join((*lines, "", *_lines(groups), "", *_lines(files)))


def garbage_text(garbage: Garbage) -> str:
    """Show what goes of a step, an object a line."""
    sizes = {name: size_text(garbage.sizes[name]) for name in garbage.plan.files}
    named = [*((name, "manifest") for name in garbage.plan.manifests), *sizes.items()]
    return "\n".join(f"{what:>10}  {name}" for name, what in named)


def garbage_sums(todo: Sequence[Garbage], done: Sequence[Garbage], deleted: bool) -> str:
    """Add up what goes of all steps, as a line.

    :arg todo: What was planned.

    :arg done: What was deleted, or would be.

    :arg deleted: Whether it was.

    """
    if not todo:
        return "nothing to delete"
    manifests = sum(len(one.plan.manifests) for one in done)
    files = sum(len(one.plan.files) for one in done)
    size = size_text(sum(one.bytes for one in done))
    sums = f"{_count(manifests, 'manifest')} and {_count(files, 'file')} ({size}) of {_count(len(done), 'step')}"
    if not deleted:
        return f"{sums} could go; nothing was deleted, as --delete was not given"
    claimed = sum(len(one.plan.files) for one in todo) - files
    return f"deleted {sums}" + (f"; left {_count(claimed, 'file')} that a run claimed meanwhile" if claimed else "")


def finding_text(finding: Finding) -> str:
    """Show a finding, as a line."""
    return one_line(f"{finding.invariant}: {finding.name}: {finding.text}")


def report_sums(report: Report, deep: bool) -> str:
    """Tell how much was looked at, and how much is wrong."""
    return (
        f"{_count(report.steps, 'step')}, {_count(report.manifests, 'manifest')}, {_count(report.files, 'file')}, "
        f"{size_text(report.bytes)}{' read' if deep else ''}, {_count(report.refs, 'ref')}: "
        f"{_count(len(report.findings), 'finding')}"
    )


def size_text(size: int | None) -> str:
    """Write bytes for people: `17 B`, `1.2 MiB`."""
    if size is None:
        return "gone"
    if size < 1024:
        return f"{size} B"
    number = float(size)
    for unit in _UNITS:
        number /= 1024
        if number < 1000 or unit == _UNITS[-1]:
            break
    return f"{number:.1f} {unit}"


def age_text(at: datetime, now: datetime) -> str:
    """Write how long ago something was: `12 s`, `5 m`, `3 h`, `2 d`."""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, length, most in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds < length * most:
            return f"{seconds // length} {unit}"
    return f"{seconds // 86_400} d"


def ranges_text(numbers: Iterable[int]) -> str:
    """Write whole numbers: `0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def plain(text: str) -> str:
    """Make what a user named fit for a terminal, where it could do anything."""
    return text if text.isprintable() else repr(text)


def error_text(ex: BytewaxStateError) -> str:
    """Make an error one line, as the programs end with it."""
    return f"{ex.kind}: {one_line(str(ex))}"


def one_line(text: str) -> str:
    """Make a text one line, fit for a terminal."""
    return plain(" ".join(text.split()))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _table(*columns: str) -> Table:
    """Make a table; `>` in front of a name puts a column to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table


def _lines(table: Table) -> list[str]:
    console = Console(width=None if sys.stdout.isatty() else _WIDE, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


class Bar:
    """A bar on standard error, if that is a terminal, and once it takes long."""

    def __init__(self, what: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Init.

        :arg what: What is done, in a word or two.

        :arg console: Terminal, if it is not that of standard error.

        :arg clock: Tells seconds.

        """
        self._what = what
        self._console = console or Console(stderr=True)
        self._shown = console is not None or sys.stderr.isatty()
        self._clock = clock
        self._began = clock()
        self._lock = Lock()
        self._bar: RichProgress | None = None
        self._total = 0
        self._done = 0

    def expect(self, more: int) -> None:
        """Hear how many more things there are to do."""
        with self._lock:
            self._total += more
            self._show()

    def advance(self) -> None:
        """Hear that one of them is done."""
        with self._lock:
            self._done += 1
            self._show()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        if not self._shown or self._clock() - self._began < BAR_DELAY:
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            # By default rich sends standard output to the bar's console too, where no program would read it.
            self._bar = RichProgress(*columns, console=self._console, transient=True, redirect_stdout=False)
            self._bar.add_task(self._what)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], total=self._total, completed=self._done)


def wait(grace: timedelta, sleep: Callable[[float], None]) -> None:
    """Wait, and show a bar meanwhile.

    :arg grace: How long.

    :arg sleep: Waits some seconds.

    """
    bar = Bar("waiting for the grace period")
    seconds = grace.total_seconds()
    whole = int(seconds)
    bar.expect(whole)
    try:
        for _ in range(whole):
            sleep(1.0)
            bar.advance()
        sleep(seconds - whole)
    finally:
        bar.close()
