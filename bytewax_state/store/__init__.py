"""Live state: the stores, and the tables behind them. Knows nothing of snapshots or of Bytewax."""
