"""A storage that real flows write, with its recovery directory, and the command line on it: what tests of it need."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main
from typer.testing import CliRunner

from bytewax_state import Settings, attach
from bytewax_state.cli import Clock, app
from bytewax_state.snapshot.catalog import Catalog
from bytewax_state.snapshot.manifest import Manifest, name_of
from bytewax_state.storage.uri import open_storage
from tests.snapshot.listings import PREFIX

STEP = "flow.s.stateful_flat_map.stateful.stateful_batch"
OTHER = STEP.replace(".s.", ".t.")
KEY = "a key of the tests that is long enough"
NOTHING_RUNS = ("--min-age", "0s")


class Shop:
    """A storage that flows have written, with their recovery directory, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder / "snapshots"
        self.recovery = folder / "recovery"
        self.recovery.mkdir()
        init_db_dir(self.recovery, 3)
        self.later = timedelta(hours=2)
        self.slept: list[float] = []
        self.while_waiting: Callable[[], object] = lambda: None

    def run(
        self,
        *values: int,
        flow_id: str = "flow",
        steps: str = "s",
        key: str | None = None,
        backup: timedelta = timedelta(0),
        recovery: Path | None = None,
        plain: bool = False,
    ) -> list[Any]:
        """Run a flow of sums, in epochs of one item, on top of what was run before."""
        settings = Settings(
            uri=str(self.uri),
            dir=self.folder / "work",
            key_groups=8,
            memory="8MiB",
            **({} if key is None else {"signing_key": key}),
        )
        out: list[Any] = []
        flow = Dataflow(flow_id)
        items = op.input("in", flow, TestingSource([(f"k{value}", value) for value in values], 1))
        for step in steps:
            items = op.stateful_map(step, items, lambda total, value: ((total or 0) + value,) * 2)
        op.output("out", items, TestingSink(out))
        config = RecoveryConfig(str(recovery or self.recovery), backup)
        if not plain:
            attach(flow, settings)
        cluster_main(flow, [], 0, epoch_interval=timedelta(0), recovery_config=config)
        return out

    def lay(self, *there: Manifest, files: bool = True) -> None:
        """Write manifests, and the files that they name."""
        catalog = self.catalog
        for one in there:
            catalog.write(one)
            for entry in one.files if files else ():
                catalog.storage.put(f"{PREFIX}/{entry.path}", b"0123456789")

    def other(self, partitions: int = 1) -> Path:
        """Make another recovery directory."""
        folder = self.folder / f"other-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        init_db_dir(folder, partitions)
        return folder

    def lose_the_newest(self) -> None:
        """Run, and lose the version that the next run would load."""
        self.run(1, 2)
        self.catalog.storage.delete([name_of(self.manifests()[-1])])

    @property
    def catalog(self) -> Catalog:
        return Catalog(open_storage(str(self.uri), {}, 4))

    def manifests(self, flow_id: str = "flow") -> list[Manifest]:
        catalog = self.catalog
        return [one for prefix in catalog.steps() for one in catalog.step(prefix).manifests() if one.flow_id == flow_id]

    def objects(self) -> dict[str, bytes]:
        """Read all there is."""
        return {str(path.relative_to(self.uri)): path.read_bytes() for path in self.uri.rglob("*") if path.is_file()}

    def cli(self, *arguments: object, code: int = 0, uri: bool = True) -> Any:
        """Run a command, two hours later, and expect an exit code."""
        line = [str(one) for one in (*arguments, *(("--uri", self.uri) if uri else ()))]
        done = CliRunner().invoke(app, line, obj=Clock(self.now, self.sleep), catch_exceptions=False)
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done

    def lines(self, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
        """Run a command, and parse each line."""
        return [json.loads(line) for line in self.cli(*arguments, "--json", code=code).stdout.splitlines()]

    def gc(self, *arguments: object, code: int = 0) -> list[dict[str, Any]]:
        return self.lines("gc", "--recovery", self.recovery, *arguments, code=code)

    def verify(self, *arguments: object, code: int = 0) -> Any:
        return self.cli("verify", "--recovery", self.recovery, *arguments, code=code)

    def is_clean(self, *arguments: object) -> bool:
        """Verify everything, and expect to find nothing."""
        return self.verify("--deep", *arguments).stdout.endswith(": 0 findings\n")

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.later

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.while_waiting()
