"""Bytewax's recovery partitions, read from outside."""
