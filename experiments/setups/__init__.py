"""Settings of the longer experiments, and what they are made of: data, pairings, models, training."""
