"""Probing: whether what is taken out of memory comes back the same, where code of the user's rebuilds it.

Owns the verdict on a step, which its first spills lead to, and the warnings that say what is wrong. It does not own
what a snapshot is, nor how something is rebuilt. Called by whatever spills objects of the user's.
"""

from collections.abc import Callable
from typing import Any

from bytewax_state.codecs import decode
from bytewax_state.errors import BytewaxStateError
from bytewax_state.keyed.step_codec import StepCodec
from bytewax_state.likeness import Likeness, compare

PROBES = 16
"""How many of a step's first spills are rebuilt and serialised again, to see whether they come back the same."""


class Probing:
    """What is known of the objects of one step on one worker."""

    def __init__(self, codec: StepCodec, new: Callable[[], Any] | None = None) -> None:
        """Init.

        :arg codec: Names the step.

        :arg new: Returns the snapshot of an object in its initial state; `None`: none is spilled that is.

        """
        self._codec = codec
        self._new = new
        self._probes = PROBES
        # Bytes of an object in its initial state, once a probe showed that they rebuild it. They need no further probe.
        self._initial_bytes: bytes | None = None
        self.never_spill = False
        """Whether an object did not come back the same."""

    def comes_back(self, data: bytes, again: Callable[[Any], Any], snapshot: Callable[[], Any]) -> bool:
        """Tell whether an object may leave memory: unless it was shown that another one would come back.

        :arg data: Bytes of its snapshot.

        :arg again: Rebuilds an object from a snapshot, and returns the snapshot of that.

        :arg snapshot: Takes another one of the object.

        """
        if self._probes > 0 and not self._try(data, again, snapshot):
            self.never_spill = True
        return not self.never_spill

    def _try(self, data: bytes, again: Callable[[Any], Any], snapshot: Callable[[], Any]) -> bool:
        if data == self._initial_bytes:
            return True
        try:
            before = decode(data)
        except BytewaxStateError as ex:
            self._codec.warn("stays in memory, as a stored snapshot of it cannot be read back", ex)
            return False
        try:
            after = again(decode(data))
        except Exception as ex:  # the user's code may raise anything
            self._codec.warn("stays in memory, as its builder fails on its own snapshot; so will a resume", ex)
            return False
        found = compare(before, after)
        # A snapshot that is another one at each call, as it holds the time, says nothing of the builder.
        if found is Likeness.DIFFERENT and compare(before, snapshot()) is Likeness.SAME:
            self._codec.warn(
                "stays in memory, as its builder does not rebuild what its snapshot says; nor will a resume"
            )
            return False
        if found is not Likeness.SAME:
            self._codec.warn(
                "is taken out of memory, though it cannot be told whether it comes back the same: its snapshot is "
                "another one at each call, or its builder changes an order, or it cannot be looked into"
            )
        if found is Likeness.SAME and self._is_new(before):
            self._initial_bytes = data  # a builder that ignores its state has passed too
        else:
            self._probes -= 1
        return True

    def _is_new(self, snapshot: Any) -> bool:
        try:
            return self._new is not None and compare(self._new(), snapshot) is Likeness.SAME
        except Exception:  # the user's code may raise anything
            return False
