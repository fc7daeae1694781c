"""The gap during training: the same numbers for each of a series of checkpoints."""
