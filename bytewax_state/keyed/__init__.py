"""State and time of a key: what a step does with its keys. Knows neither Bytewax nor snapshots."""
