"""Measures of the gap between two clouds, simulated or a user's own embeddings."""

from ctflow.diagnostics.distances import centroid_gap, energy_distance
from ctflow.diagnostics.retrieval import hubness, recall
from ctflow.diagnostics.spread import alignment, effective_rank, mean_cosine, mmd_squared, uniformity

__all__ = [
    "alignment",
    "centroid_gap",
    "effective_rank",
    "energy_distance",
    "hubness",
    "mean_cosine",
    "mmd_squared",
    "recall",
    "uniformity",
]
