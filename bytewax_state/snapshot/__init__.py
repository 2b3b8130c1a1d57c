"""Durable state: what is published, restored and deleted, and how it is named. Knows nothing of Bytewax."""
