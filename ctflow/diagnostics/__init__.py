"""Measures of the gap between two clouds, simulated or from embeddings.

Functions are imported on first use. Those for clouds need JAX; the helper modules for embeddings do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "centroid_gap": "distances",
    "energy_distance": "distances",
    "hubness": "retrieval",
    "recall": "retrieval",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ctflow.diagnostics' has no attribute {name!r}")
    return getattr(import_module(f"ctflow.diagnostics.{_HOMES.get(name, 'spread')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
