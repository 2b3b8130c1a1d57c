"""A user's own `StatefulLogic`, and the one line that gives its state a store.

It watches logins and speaks up when an account fails too often in a row. The logic is plain
Bytewax: it keeps what it needs, hands it over in `snapshot`, and forgets an account that is of
no interest any more. `attach` at the end is all that there is of `bytewax_state`.

    python -m bytewax.run examples/user_logic.py
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulLogic
from bytewax.testing import TestingSource

from bytewax_state import attach

TOO_MANY = 3

LOGINS = [
    ("ada", "ok"),
    ("bob", "failed"),
    ("ada", "failed"),
    ("bob", "failed"),
    ("ada", "ok"),
    ("bob", "failed"),
    ("ada", "failed"),
    ("bob", "failed"),
]


@dataclass
class FailedLogins(StatefulLogic[str, str, int]):
    """The failures of one account since its last success."""

    in_a_row: int = 0

    def on_item(self, value: str) -> tuple[Iterable[str], bool]:
        """Count a login.

        :arg value: `"ok"` or `"failed"`.

        :returns: A warning where one is due, and whether the account may be forgotten.

        """
        if value == "ok":
            return (), StatefulLogic.DISCARD
        self.in_a_row += 1
        warnings = (f"{self.in_a_row} failures in a row",) if self.in_a_row >= TOO_MANY else ()
        return warnings, StatefulLogic.RETAIN

    def snapshot(self) -> int:
        """Hand over what a resumed run needs.

        :returns: The failures so far.

        """
        return self.in_a_row


def _build(failures: int | None) -> FailedLogins:
    return FailedLogins(failures or 0)


flow = Dataflow("user_logic")
logins = op.input("logins", flow, TestingSource(LOGINS))
warnings = op.stateful("failed_logins", logins, _build)
op.output("out", op.map("line", warnings, ": ".join), StdOutSink())
attach(flow)
