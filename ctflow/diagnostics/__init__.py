"""Measures of the gap between two clouds, simulated or a user's own embeddings."""

from ctflow.diagnostics.distances import centroid_gap, energy_distance

__all__ = ["centroid_gap", "energy_distance"]
