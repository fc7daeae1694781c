"""Checks of a user's pairs and groups: index pairs, couplings and group labels."""

from typing import Any

import numpy as np
from scipy import sparse


def check_pairs(pairs: Any, n: int, m: int) -> np.ndarray:
    """Index pairs [p, 2] into n and m rows; raise ValueError for a wrong dtype, shape or range."""
    indices = np.asarray(pairs)
    if indices.ndim != 2 or indices.shape[1] != 2 or len(indices) == 0 or indices.dtype.kind not in "iu":
        raise ValueError(f"pairs must be integers [p, 2], got {indices.dtype.name} {indices.shape}")
    (bad,) = np.nonzero(np.any((indices < 0) | (indices >= [n, m]), axis=1))
    if bad.size:
        raise ValueError(
            f"pairs must lie in {n} rows of the first cloud and {m} of the second: {bad.size} of "
            f"{len(indices)} do not, row {bad[0]} is {indices[bad[0]].tolist()}"
        )
    return indices


def listed_pairs(pairs: Any, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs [p, 2] and weights [p] of a coupling or an array; pairs with weight 0 are dropped."""
    if not hasattr(pairs, "rows"):
        indices = check_pairs(pairs, n, m)
        return indices, np.full(len(indices), 1.0)
    if pairs.shape != (n, m):
        raise ValueError(f"pairs must couple {n} rows with {m}, got a coupling of shape {pairs.shape}")
    weights = np.asarray(pairs.weights, float)
    kept = weights > 0
    return np.column_stack([pairs.rows, pairs.cols])[kept], weights[kept]


def group_labels(groups: Any, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The group of each row of x [n] and of y [m]."""
    x, y = (np.asarray(g) for g in (groups if isinstance(groups, tuple) else (groups, groups)))
    if (x.shape, y.shape) != ((n,), (m,)):
        raise ValueError(f"groups must label {n} rows of x and {m} of y, got shapes {x.shape} and {y.shape}")
    if any(g.dtype.kind not in "iuUS" for g in (x, y)):
        raise ValueError(f"groups must be integers or text, got {x.dtype.name} and {y.dtype.name}")
    return x, y


def components(indices: np.ndarray, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Component labels of the n and m rows in the bipartite graph whose edges are the pairs."""
    ones = np.ones(len(indices), np.int8)
    graph = sparse.coo_array((ones, (indices[:, 0], n + indices[:, 1])), shape=(n + m, n + m))
    labels = sparse.csgraph.connected_components(graph, directed=False)[1]
    return labels[:n], labels[n:]
