"""Figures of the experiments, drawn from saved tables alone."""
