"""The time and the random bytes of a model's world: both only what the machine says."""

from datetime import datetime, timedelta, timezone


class Clock:
    """Tells the time, which passes only when told."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self._now

    def wait(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class Tokens:
    """Random bytes that count."""

    def __init__(self, first: int = 0) -> None:
        self._count = first

    def __call__(self, length: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(length, "big")
