"""`python -m bytewax_state.run`: what `python -m bytewax.run` does, for a flow whose state bytewax_state keeps.

Owns the checks that can be made before a run begins, as only here the flow and the recovery directory are both known,
and the last line of a run that an error of bytewax_state ends. Flags are those of `bytewax.run`, and
`--ignore-unclaimed`. Called from the command line.
"""

import argparse
import atexit
import gc
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TextIO

from bytewax import run as bytewax_run
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.recovery import RecoveryConfig

from bytewax_state.admin.views import error_text
from bytewax_state.dataflow.attach import attach_steps, attached, stateful_steps
from bytewax_state.errors import BytewaxStateError, ConfigError
from bytewax_state.recovery.preflight import check, read
from bytewax_state.settings import Settings

logger = logging.getLogger("bytewax_state")

PROGRAM = "python -m bytewax_state.run"

_their_parser = bytewax_run._create_arg_parser


def main() -> None:
    """Run the flow that the shell named. The process ends here if an error of bytewax_state ends the run."""
    failure = run(sys.argv[1:])
    if failure is not None:
        _end(failure)


def run(argv: Sequence[str]) -> BytewaxStateError | None:
    """Run a flow.

    :arg argv: Arguments, without the program's name.

    :returns: The error of bytewax_state that ended the run; `None` if it came to its end. Whatever else there is, such
        as an exception of the flow's, comes out as Bytewax raises it.

    """
    try:
        _run(_parse(argv))
    except BaseException as ex:
        failure = _cause(ex)
        if not isinstance(failure, BytewaxStateError):
            raise
        if _is_logged_elsewhere():
            logger.error("the run ended: %s: %s", failure.kind, failure)
        return failure
    return None


def _run(args: dict[str, Any]) -> None:
    interval: timedelta | None
    backup: timedelta | None
    interval, backup = args.pop("snapshot_interval"), args.pop("backup_interval")
    folder: Path | None = args.pop("recovery_directory")
    ignore_unclaimed: bool = args.pop("ignore_unclaimed")
    interval = timedelta(seconds=10) if interval is None else interval
    flow = _import(args.pop("import_str"))
    if folder is None:
        logger.info("there is no recovery directory (-r), so nothing will ever resume: taking no snapshots")
    elif not ignore_unclaimed:
        check(read(folder), flow.flow_id, stateful_steps(flow))
    attach_steps(flow, Settings() if folder is not None else Settings(uri=None))
    for workers in attached(flow):
        settings = _settings_for_run(workers.step.id.step_id, workers.step.settings, folder, interval, backup)
        workers.step = replace(workers.step, settings=settings)
    addresses = args.pop("addresses")
    with _raising_our_error(flow):
        bytewax_run.cli_main(  # type: ignore[no-untyped-call]
            flow,
            **args,
            **({} if addresses is None else {"addresses": addresses.split(";")}),
            epoch_interval=interval,
            recovery_config=None if folder is None else _recovery(folder, backup),
        )


def _recovery(folder: Path, backup: timedelta | None) -> RecoveryConfig:
    return RecoveryConfig(folder, backup)  # type: ignore[no-untyped-call]


def _parse(argv: Sequence[str]) -> dict[str, Any]:
    """Read the flags as `bytewax.run` does, which reads them from `sys.argv`."""
    with _replaced(sys, "argv", [PROGRAM, *argv]), _replaced(bytewax_run, "_create_arg_parser", _parser):
        return dict(vars(bytewax_run._parse_args()))  # type: ignore[no-untyped-call]


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _their_parser()  # type: ignore[no-untyped-call]
    parser.prog = PROGRAM
    parser.description = "Run a Bytewax dataflow, and keep the state of its stateful steps in stores of bytewax_state."
    parser.epilog = "Everything else is set by the environment: BYTEWAX_STATE_URI, BYTEWAX_STATE_BACKEND and others."
    parser.add_argument(
        "--ignore-unclaimed",
        action="store_true",
        help="leave behind what the recovery directory has of steps that the flow does not have any more",
    )
    return parser


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _import(import_str: str) -> Dataflow:
    """Import the flow. A wrong setting is told before, as that may take long."""
    Settings()
    module, attribute = bytewax_run._prepare_import(import_str)
    try:
        flow: Dataflow = bytewax_run._locate_dataflow(module, attribute)  # type: ignore[no-untyped-call]
    finally:
        _show_log()
    return flow


def _settings_for_run(
    step_id: str, settings: Settings, folder: Path | None, interval: timedelta, backup: timedelta | None
) -> Settings:
    """Return the settings of a step as a run needs them, which has to keep every epoch that Bytewax may resume from.

    :raises ConfigError: If they say otherwise.

    """
    if folder is None:
        return settings.model_copy(update={"uri": None})
    if settings.uri is None:
        msg = (
            f"BYTEWAX_STATE_URI is none for the step {step_id!r}, and there is a recovery directory (-r): a resume "
            "would go on from the offsets of the sources, without the state; set BYTEWAX_STATE_URI, or leave -r out"
        )
        raise ConfigError(msg)
    settings = _keep_epochs(settings, interval, backup)
    if backup is None or backup <= settings.retain_for:
        return settings
    if "retain_for" in settings.model_fields_set:
        msg = (
            f"BYTEWAX_STATE_RETAIN_FOR is {settings.retain_for} for the step {step_id!r}, which is less than the "
            f"backup interval (-b) of {backup}: Bytewax could resume from an epoch whose state is deleted; raise the "
            "one or lower the other"
        )
        raise ConfigError(msg)
    return settings.model_copy(update={"retain_for": backup})


def _keep_epochs(settings: Settings, interval: timedelta, backup: timedelta | None) -> Settings:
    """Keep as many versions as Bytewax keeps epochs: it counts these, however long they take in the end."""
    if not backup or not interval:
        return settings
    epochs = -(-backup // interval) + 1
    return settings.model_copy(update={"retain_snapshots": max(settings.retain_snapshots, epochs)})


@contextmanager
def _raising_our_error(flow: Dataflow) -> Iterator[None]:
    """Raise our own error where Bytewax hides it: a process of a cluster ends over a connection that broke."""
    try:
        yield
    except BaseException as ex:
        failures = [failure for workers in attached(flow) for failure in workers.step.failures]
        if failures and _is_of_bytewax(_cause(ex)):
            raise failures[0] from ex
        raise


def _cause(ex: BaseException) -> BaseException:
    """Take off what Bytewax, or the logic of a key group, wrapped an exception in."""
    while isinstance(ex, BytewaxRuntimeError) and ex.__cause__ is not None:
        ex = ex.__cause__
    return ex


def _is_of_bytewax(ex: BaseException) -> bool:
    """Whether Bytewax made an exception itself: over a panic of one of its threads, or a signal."""
    return not isinstance(ex, Exception) or str(ex).startswith("(src/")


class _Log(logging.StreamHandler[TextIO]):
    """Shows what bytewax_state says, where the flow has set up no logging."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._failed = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the first error through, in case the run does not come to its end: the last line tells it again."""
        shown = record.levelno < logging.ERROR or not self._failed
        self._failed = self._failed or record.levelno >= logging.ERROR
        return shown


def _show_log() -> None:
    """Show what bytewax_state says, unless the flow's module, which was just imported, has set up logging."""
    # A `dictConfig` in the flow's module disables all loggers that there are by then. Here this one is among them;
    # under `bytewax.run` it is made later.
    logger.disabled = False
    if not logger.hasHandlers():
        logger.addHandler(_Log())
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _is_logged_elsewhere() -> bool:
    return logger.hasHandlers() and not any(isinstance(handler, _Log) for handler in logger.handlers)


def _end(failure: BytewaxStateError) -> NoReturn:
    """End the process as Python does, but with our line as the last one, and with our exit code.

    The interpreter itself does not come to its end: in a cluster it would abort the process, over threads of Bytewax's
    that are still there.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    finally:
        _flush_files()
        _print_last(f"bytewax-state: {error_text(failure)}")
        os._exit(failure.exit_code)


def _flush_files() -> None:
    """Write out what files that the flow left open have yet to write, as the interpreter does when it frees them."""
    for thing in gc.get_objects():
        if issubclass(type(thing), io.IOBase):
            with suppress(Exception):
                thing.flush()


def _print_last(line: str) -> None:
    """Write to where standard error was at the start, whatever the flow has put in its place; it may be closed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    last: TextIO | None = sys.__stderr__
    if last is None:
        return
    with suppress(OSError, ValueError):  # there may be no descriptor left
        last = _taken_over(last)
    with suppress(OSError, ValueError):
        print(line, file=last, flush=True)


def _taken_over(stream: TextIO) -> TextIO:
    """Take a stream from all others: threads of Bytewax's write to its descriptor when a connection breaks."""
    own = os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors=stream.errors)
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return own


if __name__ == "__main__":
    main()
