"""The access log example, unchanged, in a process that knows `faulty://`, and in which a grace period is short.

It owns how short: above the age of a stale list (`faulty_storage`), and below the life of an execution, so that a round
of deletion comes to its end. Run by the soak.
"""

from datetime import timedelta

import faulty_storage  # noqa: F401  # registers itself
from access_log import flow

from bytewax_state.snapshot import retention

__all__ = ["flow"]

retention.GRACE = timedelta(seconds=0.7)
