"""A model-based machine: snapshots without Bytewax, run at random against plain dicts."""
