"""The values of a step as bytes and back: a codec whose errors name the step and the key.

Owns what is said where a value cannot be written or read. It does not own the format (`codecs`).
Called by whatever makes rows of values.
"""

import logging
from collections.abc import Sequence
from typing import Any

from bytewax_state.codecs import Codec, decode
from bytewax_state.errors import BytewaxStateError, UsageError

logger = logging.getLogger("bytewax_state")


class StepCodec:
    """Turns the values of one step on one worker into bytes and back."""

    def __init__(self, step_id: str, codec: Codec) -> None:
        """Init.

        :arg step_id: Full id of the core step.

        :arg codec: Writes values; those of any codec are read.

        """
        self.step_id = step_id
        self._codec = codec
        self._warned: set[str] = set()

    def encode(self, key: str, value: Any) -> bytes:
        """Serialise a value.

        :raises UsageError: If it cannot be.

        """
        try:
            return self._codec.encode(value)
        except UsageError as ex:
            msg = f"the snapshot of step {self.step_id!r} for key {key!r} cannot be stored: {ex}"
            raise UsageError(msg) from ex

    def encode_many(self, keys: Sequence[str], values: Sequence[Any]) -> list[bytes]:
        """Serialise values; see `encode`."""
        try:
            return [*map(self._codec.encode, values)]
        except UsageError:
            return [*map(self.encode, keys, values)]  # which names the key

    def try_encode_many(self, values: Sequence[Any]) -> Sequence[bytes | None]:
        """Serialise values; see `try_encode`."""
        try:
            return [*map(self._codec.encode, values)]
        except UsageError:
            return [*map(self.try_encode, values)]

    def try_encode(self, value: Any) -> bytes | None:
        """Serialise a value that could as well stay in memory.

        :returns: `None` if it cannot be, of which a warning tells once.

        """
        try:
            return self._codec.encode(value)
        except UsageError as ex:
            self.warn("stays in memory for some keys, as their snapshots cannot be stored", ex)
            return None

    def decode(self, key: str, data: bytes) -> Any:
        """Read a value.

        :raises SnapshotError: If what was stored cannot be read back.

        """
        try:
            return decode(data)
        except BytewaxStateError as ex:
            msg = f"the state of step {self.step_id!r} for key {key!r} cannot be read back: {ex}"
            raise type(ex)(msg) from ex

    def decode_many(self, keys: Sequence[str], data: Sequence[bytes]) -> list[Any]:
        """Read values; see `decode`."""
        try:
            return [*map(decode, data)]
        except BytewaxStateError:
            return [*map(self.decode, keys, data)]  # which names the key

    def warn(self, what: str, ex: Exception | None = None) -> None:
        """Warn, once, of what the state of the step does.

        :arg what: In words that continue "the state of step".

        :arg ex: Why.

        """
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("the state of step %r %s%s", self.step_id, what, f": {ex!r}" if ex else "")
