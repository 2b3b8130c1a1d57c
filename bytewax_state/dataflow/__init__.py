"""Bytewax: what is put into a flow. The only folder that knows Bytewax's operators and their calls."""
