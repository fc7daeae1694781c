"""Runs: steps in a loop, what they save, when they stop, many at once."""
