"""Experiment scripts: each is a config, a run and its figures; run them with `python experiments/NAME.py`."""
