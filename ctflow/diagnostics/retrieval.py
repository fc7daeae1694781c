"""Retrieval by cosine: recall@k, where ties count with their expected value, and hubness."""

from typing import Any

import numpy as np
from scipy import special, stats

from ctflow._base.checks import check_count
from ctflow.diagnostics.index_pairs import check_pairs

_BLOCK = 1024


def recall(queries: Any, gallery: Any, k: int, *, pairs: Any = None) -> float:
    """Recall@k: the share of queries with a partner among the k gallery points of largest cosine, in [0, 1].

    Points of equal cosine count in random order, and the expectation over the order is returned: a collapsed
    gallery scores k/m, not 1. Cosines within 4 eps of each other count as equal.

    Args:
        queries: unit rows, [n, d].
        gallery: unit rows, [m, d].
        k: number of nearest gallery points, >= 1.
        pairs: index pairs (query, gallery), [p, 2]; row i with row i by default. A query with several
            partners can score at most one hit. Queries without a partner are left out.

    Raises:
        ValueError: the numbers of rows differ and `pairs` is missing, or an index is out of range.
    """
    x, y = _checked(queries, gallery)
    check_count("k", k)
    return float(hits(x, y, (k,), _pairs(pairs, len(x), len(y)))[1].mean())


def hits(
    x: np.ndarray, y: np.ndarray, ks: tuple[int, ...], pairs: np.ndarray, *, without: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Queries with a partner [q], and the probability of a hit among the k nearest of each, [q, len(ks)].

    `without` [n] gives one gallery row per query that is left out, such as the query itself.
    """
    return hits_and_nearest(x, y, ks, pairs, without=without)[:2]


def hits_and_nearest(
    x: np.ndarray,
    y: np.ndarray,
    ks: tuple[int, ...],
    pairs: np.ndarray,
    *,
    without: np.ndarray | None = None,
    near: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `hits`, with the `near` nearest gallery rows of each of these queries, [q, near], unordered."""
    pairs = np.unique(pairs, axis=0)
    asked = np.unique(pairs[:, 0])
    rounding = 4 * float(np.finfo(x.dtype).eps)
    found, neighbours = [], []
    for first in range(0, len(asked), _BLOCK):
        block = asked[first : first + _BLOCK]
        cosine = x[block] @ y.T
        if without is not None:
            cosine[np.arange(len(block)), without[block]] = -np.inf
        mine = pairs[np.isin(pairs[:, 0], block)]
        query = np.searchsorted(block, mine[:, 0])
        partners = cosine[query, mine[:, 1]]
        best = np.full(len(block), -np.inf)
        np.maximum.at(best, query, partners)
        # Count the candidates above the best partner's cosine, and those level with it.
        good = np.bincount(query[np.abs(partners - best[query]) <= rounding], minlength=len(block))
        above = (cosine > best[:, None] + rounding).sum(axis=1)
        level = (cosine >= best[:, None] - rounding).sum(axis=1) - above
        found.append(np.stack([chance(k - above, good, level) for k in ks], axis=1))
        neighbours.append(_nearest(cosine, near))
    return asked, np.concatenate(found), np.concatenate(neighbours)


def chance(places: np.ndarray, good: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Probability that one of `good` among `level` points in random order is in the first `places`."""
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
    """Skewness of the count of queries that have a gallery point among their k nearest.

    It is 0 for a symmetric distribution of counts, and large if a few points are near most queries
    (Radovanović, Nanopoulos and Ivanović 2010). It is NaN if all counts are equal. Ties break arbitrarily.

    Args:
        queries: unit rows, [n, d].
        gallery: unit rows, [m, d], m > k.
        k: number of nearest gallery points, >= 1.
    """
    x, y = _checked(queries, gallery)
    check_count("k", k)
    if k >= len(y):
        raise ValueError(f"k must be < the gallery's size {len(y)}, got {k}")
    return skewness(nearest(x, y, k), np.ones(len(x)), len(y))


def nearest(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Indices [n, k] of the k gallery rows of largest cosine per query, unordered."""
    blocks = (x[first : first + _BLOCK] @ y.T for first in range(0, len(x), _BLOCK))
    return np.concatenate([_nearest(cosine, k) for cosine in blocks])


def _nearest(cosine: np.ndarray, k: int) -> np.ndarray:
    """Columns [n, k] of the k largest cosines of each row, unordered."""
    if k == 0:
        return np.zeros((len(cosine), 0), int)
    return np.argpartition(cosine, -k, axis=1)[:, -k:]


def skewness(near: np.ndarray, weights: np.ndarray, m: int) -> float:
    """Skewness of the weighted counts of m gallery rows in `near` [n, k]; NaN if all counts are equal."""
    counts = np.bincount(near.ravel(), np.repeat(weights, near.shape[1]), m)
    return float(stats.skew(counts)) if np.ptp(counts) > 0 else float("nan")


def _checked(queries: Any, gallery: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both arguments as NumPy arrays, checked as clouds; only this function needs JAX."""
    from ctflow.clouds import check_cloud

    x, y = (np.asarray(check_cloud(name, z)) for name, z in (("queries", queries), ("gallery", gallery)))
    return x, y


def _pairs(pairs: Any, n: int, m: int) -> np.ndarray:
    """Checked index pairs [p, 2]; row i with row i by default."""
    if pairs is None:
        if n != m:
            raise ValueError(
                f"queries and gallery must have equally many rows without pairs, got {n} and {m}; give pairs"
            )
        return np.column_stack([np.arange(n)] * 2)
    return check_pairs(pairs, n, m)
