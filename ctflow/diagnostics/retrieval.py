"""Retrieval by cosine: how often the partner is among the k nearest, ties counted at their expectation."""

from typing import Any

import numpy as np
from scipy import special, stats

from ctflow.checks import check_count
from ctflow.clouds import check_cloud

_BLOCK = 1024


def recall(queries: Any, gallery: Any, k: int, *, pairs: Any = None) -> float:
    """Recall@k: the share of queries with a partner among the k gallery points of largest cosine, in [0, 1].

    Points of equal cosine are taken in random order, and the expectation over it is returned: a collapsed
    gallery scores k/m, not 1. Cosines within rounding, 4 eps, are equal.

    Args:
        queries: unit rows, [n, d].
        gallery: unit rows, [m, d].
        k: >= 1.
        pairs: index pairs (query, gallery), [p, 2]; several partners a query count as one hit. Queries
            without a partner are left out. Row i with row i by default.

    Raises:
        ValueError: unequal numbers of rows without `pairs`; indices out of range.
    """
    x, y = (np.asarray(check_cloud(name, z)) for name, z in (("queries", queries), ("gallery", gallery)))
    check_count("k", k)
    indices = _pairs(pairs, len(x), len(y))
    asked = np.unique(indices[:, 0])
    rounding = 4 * float(np.finfo(x.dtype).eps)
    hits = 0.0
    for first in range(0, len(asked), _BLOCK):
        block = asked[first : first + _BLOCK]
        cosine = x[block] @ y.T
        mine = indices[np.isin(indices[:, 0], block)]
        partner = np.zeros(cosine.shape, bool)
        partner[np.searchsorted(block, mine[:, 0]), mine[:, 1]] = True
        best = np.where(partner, cosine, -np.inf).max(axis=1, keepdims=True)
        above = (cosine > best + rounding).sum(axis=1)
        level = np.abs(cosine - best) <= rounding
        hits += _chance(k - above, (level & partner).sum(axis=1), level.sum(axis=1)).sum()
    return float(hits / len(asked))


def _chance(places: np.ndarray, good: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Chance that, of `level` points in random order, one of the `good` comes in the first `places`."""
    places = np.clip(places, 0, level)
    others = level - good
    log_none = np.where(
        places > others,
        -np.inf,
        special.gammaln(others + 1)
        - special.gammaln(np.maximum(others - places, 0) + 1)
        - special.gammaln(level + 1)
        + special.gammaln(level - places + 1),
    )
    return -np.expm1(log_none)


def hubness(queries: Any, gallery: Any, k: int = 10) -> float:
    """Skewness of how often a gallery point is among the k nearest of a query.

    0 for a symmetric law of counts; large where a few points are near everything (Radovanović, Nanopoulos
    and Ivanović 2010). NaN where all counts are equal. Which of several equal cosines counts is arbitrary.

    Args:
        queries: unit rows, [n, d].
        gallery: unit rows, [m, d], m > k.
        k: >= 1.
    """
    x, y = (np.asarray(check_cloud(name, z)) for name, z in (("queries", queries), ("gallery", gallery)))
    check_count("k", k)
    if k >= len(y):
        raise ValueError(f"k must be below the gallery's size {len(y)}, got {k}")
    counts = np.zeros(len(y))
    for first in range(0, len(x), _BLOCK):
        cosine = x[first : first + _BLOCK] @ y.T
        nearest = np.argpartition(cosine, -k, axis=1)[:, -k:]
        counts += np.bincount(nearest.ravel(), minlength=len(y))
    return float(stats.skew(counts)) if np.ptp(counts) > 0 else float("nan")


def _pairs(pairs: Any, n: int, m: int) -> np.ndarray:
    """Index pairs [p, 2], checked."""
    if pairs is None:
        if n != m:
            raise ValueError(
                f"without pairs, queries and gallery must have equally many rows, got {n} and {m}"
            )
        return np.column_stack([np.arange(n)] * 2)
    indices = np.asarray(pairs)
    if indices.ndim != 2 or indices.shape[1] != 2 or len(indices) == 0 or indices.dtype.kind not in "iu":
        raise ValueError(f"pairs must be integers [p, 2], got {indices.dtype.name} {indices.shape}")
    (bad,) = np.nonzero(np.any((indices < 0) | (indices >= [n, m]), axis=1))
    if bad.size:
        raise ValueError(
            f"pairs must lie in {n} queries and {m} gallery points: {bad.size} of {len(indices)} do not, "
            f"row {bad[0]} is {indices[bad[0]].tolist()}"
        )
    return indices
