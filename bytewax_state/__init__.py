"""Keyed-state stores for Bytewax, with snapshots that cost what changed rather than what exists.

The public door: what users import. It owns no code but the check of Python's version, which has to come first, since
Bytewax has no wheels for others and would fail with a less helpful message.
"""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 12):  # pragma: no cover
    msg = f"bytewax_state needs Python 3.10, 3.11 or 3.12, as Bytewax does; this is Python {sys.version.split()[0]}"
    raise ImportError(msg)

from bytewax_state import errors
from bytewax_state.dataflow.attach import attach
from bytewax_state.settings import Settings

__all__ = ["Settings", "attach", "errors"]
