"""Comparison of corrections on rows that were not used for fitting, with a recommendation."""
