"""Snapshots from outside: what is there, is it sound, and what is garbage."""
