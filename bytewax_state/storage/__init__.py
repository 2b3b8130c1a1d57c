"""Objects in a place, each written once: folders, and whatever fsspec has a driver for."""
