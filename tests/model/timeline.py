"""A timeline: what a recovery store, and whoever writes to it, take to have happened.

There is one timeline as long as nobody resumes while an execution is still running; then there are two, and that of the
zombie goes on with a recovery store of its own. Owns the model: the state of each epoch that may be resumed from.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from bytewax_state.signing import Keys
from bytewax_state.snapshot.ref import Ref, decode_ref
from tests.model.execution import GROUPS, STEP, Content, Execution, due_by, notified
from tests.model.recovery import Recovery


@dataclass(slots=True)
class Epoch:
    """An epoch that can be resumed from."""

    recovery: Recovery
    """The recovery store as it was."""
    state: Content
    superseded_at: datetime | None = None
    """When a newer one was committed."""
    _refs: list[Ref] | None = None

    def refs(self, keys: Keys) -> list[Ref]:
        """Decode what Bytewax would load."""
        if self._refs is None:
            self._refs = [decode_ref(value, STEP, keys) for value in self.recovery.load().values()]
        return self._refs


@dataclass(slots=True)
class Timeline:
    """A recovery store, its copies, and the model of what lies behind them."""

    folder: Path
    """Local disk of those who write to it."""
    epochs: dict[int, Epoch] = field(default_factory=dict)
    """By the epoch where Bytewax would resume, rising."""
    recovery: Recovery = field(default_factory=lambda: Recovery(STEP.step_id, GROUPS))
    current: Content = field(default_factory=dict)
    """As the execution that runs has it."""
    execution: Execution | None = None
    stores: set[str] = field(default_factory=set)
    """All that it made since it parted from another timeline."""

    def __post_init__(self) -> None:
        self.epochs = self.epochs or {self.recovery.resume: Epoch(self.recovery.copy(), {})}

    def fork(self, folder: Path) -> "Timeline":
        """Part: what is running goes on with this one."""
        return Timeline(folder, {at: replace(epoch) for at, epoch in self.epochs.items()}, self.recovery.copy())

    def open(self, clock: Callable[[], datetime]) -> None:
        """Open the execution; what is due comes at once, before any item."""
        execution = self.execution
        assert execution is not None
        due = due_by(clock(), self.current)
        keys = [key for key, _ in execution.open()]
        assert set(due) <= set(keys) <= set(due_by(clock(), self.current))
        self.current = notified(self.current, keys)

    def put(self, key: str, value: int | None, due: datetime | None, now: datetime) -> None:
        """Hand an item over. A restored key that is due may be notified first: its object is asked for its time as it
        comes into memory, and plain Bytewax, which has it there, would have notified it before the item came.
        """
        assert self.execution is not None
        keys = [one for one, _ in self.execution.put(key, value, due)]
        assert keys in ([], [key])
        assert set(keys) <= set(due_by(now, self.current))
        self.current = notified(self.current, keys)

    def commit(self, epoch: int, now: datetime) -> None:
        """All workers have written an epoch."""
        newest = self.epochs[self.recovery.resume]
        newest.superseded_at = now
        self.recovery.commit(epoch)
        self.epochs[self.recovery.resume] = Epoch(self.recovery.copy(), dict(self.current))

    def go_back(self, resume: int) -> None:
        """Bring back the copy of the recovery store that resumes at some epoch."""
        self.epochs = {at: epoch for at, epoch in self.epochs.items() if at <= resume}
        self.epochs[resume].superseded_at = None
        self.recovery = self.epochs[resume].recovery.copy()

    def forget(self, now: datetime, retain_for: timedelta) -> None:
        """Drop the epochs that retention no longer promises."""
        self.epochs = {at: epoch for at, epoch in self.epochs.items() if kept(epoch, now, retain_for)}

    def roots(self, keys: Keys) -> dict[int, list[Ref]]:
        """Decode the refs of each epoch that may be resumed from."""
        return {at: epoch.refs(keys) for at, epoch in self.epochs.items()}


def kept(epoch: Epoch, now: datetime, retain_for: timedelta) -> bool:
    return epoch.superseded_at is None or epoch.superseded_at + retain_for > now
