"""Bytewax's recovery store, as a plain model: a ref for each key group and epoch.

Owns what Bytewax does with rows (docs: facts-bytewax): where it resumes, what it loads, what it collects. Rows of an
execution that died before it committed an epoch stay, until the next execution's row of the same epoch replaces them.
"""

from bytewax_state.keygroups import names
from bytewax_state.recovery.partitions import RefRow, RefRows

BACKUP = 2
"""Epochs that Bytewax keeps beyond the newest, as `-b` asks for."""


class Recovery:
    """The rows of one step."""

    def __init__(self, step_id: str, key_groups: int) -> None:
        self.resume = 1
        """Where Bytewax would resume: all epochs below are committed."""
        self._step_id = step_id
        self._routes = names(key_groups)
        self._rows: dict[int, dict[int, bytes]] = {}
        self._oldest = 0

    def copy(self) -> "Recovery":
        other = Recovery(self._step_id, len(self._routes))
        other.resume, other._oldest = self.resume, self._oldest
        other._rows = {group: dict(rows) for group, rows in self._rows.items()}
        return other

    def write(self, epoch: int, refs: dict[int, bytes]) -> None:
        """Write the rows of one worker."""
        for group, ref in refs.items():
            self._rows.setdefault(group, {})[epoch] = ref

    def commit(self, epoch: int) -> None:
        """Note that all workers wrote an epoch, and collect what no epoch that may be resumed from needs."""
        self.resume = epoch + 1
        self._oldest = max(self._oldest, self.resume - BACKUP)
        for rows in self._rows.values():
            below = sorted(at for at in rows if at < self._oldest)
            for at in below[:-1]:
                del rows[at]

    def load(self) -> dict[int, bytes]:
        """Choose the newest row of each group below the epoch of resume."""
        found: dict[int, bytes] = {}
        for group, rows in self._rows.items():
            epochs = [epoch for epoch in rows if epoch < self.resume]
            if epochs:
                found[group] = rows[max(epochs)]
        return found

    def rows(self) -> RefRows:
        """Give what `read_refs` reads of the partitions."""
        rows = [
            RefRow(self._step_id, self._routes[group], epoch, ref)
            for group, by_epoch in self._rows.items()
            for epoch, ref in by_epoch.items()
        ]
        return RefRows(tuple(rows), self.resume, self._oldest)
