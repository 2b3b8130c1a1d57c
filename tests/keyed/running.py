"""The core step of one operator, called as an execution calls it: on plain values, or by Bytewax's logics.

Owns the kinds of stores. It does not own which calls there are, nor what has to come of them. Called by the tests of
operators on plain values.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource

from bytewax_state import Settings
from bytewax_state.dataflow.attach import _stateful
from bytewax_state.dataflow.execution import utc_now
from bytewax_state.dataflow.swap import by_logics, choose
from bytewax_state.keyed.processor import Processor
from bytewax_state.store.store import Backend, Store, heap, rocksdb
from bytewax_state.store.table import Memory, Table
from tests.dataflow.runs import Step

GROUPS = 4
BACKENDS: dict[str, Backend | None] = {"none": None, "heap": heap}
BACKENDS |= {f"rocksdb-{size}": rocksdb(size, lambda count: None, lambda count: None) for size in (0, 2, 100)}
FREEZING = sorted({*BACKENDS} - {"none"})


class Running:
    """A processor of an operator, with its store."""

    def __init__(
        self,
        step: Step,
        plain: bool,
        backend: Backend | None,
        folder: Path,
        restored: bool,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Begin.

        :arg step: Makes the operator.

        :arg plain: Whether it runs on plain values, or by logics.

        :arg backend: `None`: of a heap store of which nothing is ever frozen.

        :arg folder: Of the table.

        :arg restored: Whether that is there, with rows of an earlier execution.

        """
        flow = Dataflow("flow")
        op.output("out", step(op.input("inp", flow, TestingSource([]))), TestingSink([]))
        ((_, core, outer),) = _stateful(flow.substeps)
        chosen = Settings(uri=None, key_groups=GROUPS)
        run = choose(core, outer, chosen) if plain else by_logics(core.step_id, core.builder, chosen)
        table = None if backend is None else Table.open(folder, Memory.of(8 << 20), create=not restored)
        groups = dict.fromkeys(range(GROUPS)) if restored else {}
        self.store = Store(table, backend or heap, GROUPS, range(GROUPS), groups)
        self.processor: Processor = run.make(self.store, uuid4().bytes[:8], now)
        self.processor.restore()
        self._backend = backend

    def end(self) -> list[Any]:
        """Tell of the end; where keys are spilled, their order is up to which ones are."""
        out = self.processor.on_end()
        return out if self._backend in (None, heap, BACKENDS["rocksdb-100"]) else sorted(out, key=lambda item: item[0])
