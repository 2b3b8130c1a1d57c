"""`python -m bytewax_state.run`: what `python -m bytewax.run` does, for a flow whose state bytewax_state keeps.

Owns the checks that can be made before a run begins, as only here the flow and the recovery directory are both known.
Flags are those of `bytewax.run`, and `--ignore-unclaimed`. Called from the command line.
"""

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax import run as bytewax_run
from bytewax.recovery import RecoveryConfig

from bytewax_state.dataflow.attach import attach, stateful_steps
from bytewax_state.errors import BytewaxStateError, ConfigError, UsageError
from bytewax_state.settings import Settings
from bytewax_state.snapshot.recovery import check, read

logger = logging.getLogger("bytewax_state")

IGNORE_UNCLAIMED = "--ignore-unclaimed"

USAGE = 2
"""Exit code for a wrong setting or a wrong flow."""


def main(argv: list[str]) -> int:
    """Run a flow.

    :arg argv: Arguments, without the program's name.

    :returns: Exit code.

    """
    _show_log()
    try:
        _run([argument for argument in argv if argument != IGNORE_UNCLAIMED], IGNORE_UNCLAIMED in argv)
    except (ConfigError, UsageError) as ex:
        logger.error("%s", ex)
        return USAGE
    except BaseException as ex:
        cause = _ours(ex)
        if cause is not None:
            logger.error("the run ended: %s: %s", cause.kind, cause)
        raise
    return 0


def _run(argv: list[str], ignore_unclaimed: bool) -> None:
    args = _parse(argv)
    interval: timedelta | None
    backup: timedelta | None
    interval, backup = args.pop("snapshot_interval"), args.pop("backup_interval")
    folder: Path | None = args.pop("recovery_directory")
    interval = timedelta(seconds=10) if interval is None else interval
    settings = _settings(folder, interval, backup)
    module, attribute = bytewax_run._prepare_import(args.pop("import_str"))
    flow = bytewax_run._locate_dataflow(module, attribute)  # type: ignore[no-untyped-call]
    if folder is not None and not ignore_unclaimed:
        check(read(folder), flow.flow_id, stateful_steps(flow))
    attach(flow, settings)
    addresses = args.pop("addresses")
    bytewax_run.cli_main(  # type: ignore[no-untyped-call]
        flow,
        **args,
        **({} if addresses is None else {"addresses": addresses.split(";")}),
        epoch_interval=interval,
        recovery_config=None if folder is None else _recovery(folder, backup),
    )


def _recovery(folder: Path, backup: timedelta | None) -> RecoveryConfig:
    return RecoveryConfig(folder, backup)  # type: ignore[no-untyped-call]


def _parse(argv: list[str]) -> dict[str, Any]:
    """Read the flags as `bytewax.run` does, which reads them from `sys.argv`."""
    before = sys.argv
    sys.argv = ["python -m bytewax_state.run", *argv]
    try:
        return dict(vars(bytewax_run._parse_args()))  # type: ignore[no-untyped-call]
    finally:
        sys.argv = before


def _settings(folder: Path | None, interval: timedelta, backup: timedelta | None) -> Settings:
    """Read the settings, which have to keep every epoch that Bytewax may resume from."""
    settings = Settings()
    if folder is None:
        logger.info("there is no recovery directory (-r), so nothing will ever resume: taking no snapshots")
        return settings.model_copy(update={"uri": None})
    if settings.uri is None:
        msg = (
            "BYTEWAX_STATE_URI is none, and there is a recovery directory (-r): a resume would go on from the offsets "
            "of the sources, without the state; set BYTEWAX_STATE_URI, or leave -r out"
        )
        raise ConfigError(msg)
    settings = _keep_epochs(settings, interval, backup)
    if backup is None or backup <= settings.retain_for:
        return settings
    if "retain_for" in settings.model_fields_set:
        msg = (
            f"BYTEWAX_STATE_RETAIN_FOR is {settings.retain_for}, which is less than the backup interval (-b) of "
            f"{backup}: Bytewax could resume from an epoch whose state is deleted; raise the one or lower the other"
        )
        raise ConfigError(msg)
    return settings.model_copy(update={"retain_for": backup})


def _keep_epochs(settings: Settings, interval: timedelta, backup: timedelta | None) -> Settings:
    """Keep as many versions as Bytewax keeps epochs: it counts these, however long they take in the end."""
    if not backup or not interval:
        return settings
    epochs = -(-backup // interval) + 1
    return settings.model_copy(update={"retain_snapshots": max(settings.retain_snapshots, epochs)})


def _ours(ex: BaseException | None) -> BytewaxStateError | None:
    """Find our own error among the causes of what Bytewax raised."""
    while ex is not None and not isinstance(ex, BytewaxStateError):
        ex = ex.__cause__ or ex.__context__
    return ex


def _show_log() -> None:
    """Show what bytewax_state says, unless the user has set up logging; the flow's module may still do so."""
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
