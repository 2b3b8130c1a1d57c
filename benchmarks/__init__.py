"""Pairs: Bytewax alone and Bytewax with its state in a store of bytewax_state, in one run, printed as ratios."""
