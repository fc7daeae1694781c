"""Distances between two weighted clouds, on every resample at once.

Unlike in `ctflow.log_partition`, matrices over all pairs of rows of a sample are held in memory: hundreds of
resamples share each matrix in one product.
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse

from ctflow.embeddings.diagnosis.resampling import Resamples, Rows


def same_group(rows: Rows) -> sparse.csr_array:
    """Indicator matrix [groups, N]: 1 where the row belongs to the group."""
    size = len(rows.group)
    return sparse.csr_array((np.ones(size), (rows.group, np.arange(size))))


def without_groups(table: np.ndarray, rows: Rows, value: float) -> np.ndarray:
    """A copy of a table [N, N] over all pairs of rows, with `value` where both rows are of one group."""
    groups = same_group(rows)
    table = table.copy()
    table[(groups.T @ groups).nonzero()] = value
    return table


def mean_forms(
    kernel: np.ndarray, rows: Rows, resamples: Resamples, estimator: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E k(x, x'), E k(y, y') and E k(x, y) on every resample.

    Args:
        kernel: symmetric, [N, N], over the table's rows.
        rows: the table.
        resamples: weights.
        estimator: `u` uses pairs of rows of distinct groups only, so that it is unbiased even for clouds that
            are paired row by row; `v` uses all pairs of rows.
    """
    p, q = resamples.x, resamples.y
    if estimator == "u":
        kernel = without_groups(kernel, rows, 0.0)
    # Only relabelled columns have weight on rows of the other cloud.
    mixed = slice(1, 1 + resamples.relabelled)
    forms = np.empty((3, p.shape[1]))
    forms[:, mixed] = _mixed_forms(kernel, p[:, mixed], q[:, mixed])
    own = np.r_[0:1, 1 + resamples.relabelled : p.shape[1]]
    forms[:, own] = _own_forms(kernel, int((rows.x > 0).sum()), p[:, own], q[:, own])
    if estimator == "u":
        groups = same_group(rows)
        gp, gq = groups @ p, groups @ q
        apart = [1 - np.einsum("gc,gc->c", a, b) for a, b in ((gp, gp), (gq, gq), (gp, gq))]
        with np.errstate(divide="ignore", invalid="ignore"):  # no such pairs if a resample has one group
            forms = [form / share for form, share in zip(forms, apart, strict=True)]
    return forms[0], forms[1], forms[2]


def _own_forms(kernel: np.ndarray, split: int, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """pᵀKp, qᵀKq and pᵀKq, [3, columns], where p has no weight from row `split` on and q none before it."""
    p, q = p[:split], q[split:]
    products = (
        (p, kernel[:split, :split] @ p),
        (q, kernel[split:, split:] @ q),
        (p, kernel[:split, split:] @ q),
    )
    return np.stack([np.einsum("nc,nc->c", a, b) for a, b in products])


def _mixed_forms(kernel: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The same three forms for any weights."""
    kp, total = kernel @ p, p + q
    # For rows paired one to one, p + q is the same in every column, so one product replaces `kernel @ q`.
    constant = total.shape[1] > 0 and np.ptp(total, axis=1).max() < 1e-12 * total.max()
    kq = (kernel @ total[:, :1]) - kp if constant else kernel @ q
    return np.stack([np.einsum("nc,nc->c", a, b) for a, b in ((p, kp), (q, kq), (p, kq))])


def distances(cosine: np.ndarray) -> np.ndarray:
    """‖x - y‖ = √(2 - 2cos) of unit rows; the diagonal, which has rounding errors, is set to 0."""
    return _root(2 - 2 * cosine)


def centred_distances(rows: Rows, distance: np.ndarray) -> np.ndarray:
    """`distance` [N, N] after both means are moved to 0: only distances between x and y change.

    The means come from the same rows, which lowers every squared distance between x and y by the variance of
    the means' difference. Distances are scaled up to compensate, so that the energy distance of two clouds
    that differ only by a shift is 0 to first order in 1/n.
    """
    x, y = rows.x, rows.y
    of_x, means = x > 0, (x @ rows.points, y @ rows.points)
    shift = means[0] - means[1]
    residual = rows.points - np.where(of_x[:, None], *means)
    each = same_group(rows) @ ((x - y)[:, None] * residual)
    size = len(each)
    lost = np.sum(each**2) * size / (size - 1) / np.sum((x + y) @ residual**2)
    # ‖(z - z̄) - (w - w̄)‖² from ‖z - w‖².
    along = rows.points @ shift
    square = distance[np.ix_(of_x, ~of_x)] ** 2 - 2 * (along[of_x][:, None] - along[~of_x]) + shift @ shift
    across = np.sqrt(np.maximum(square, 0) / (1 - lost))
    centred = distance.copy()
    centred[np.ix_(of_x, ~of_x)], centred[np.ix_(~of_x, of_x)] = across, across.T
    return centred


def _root(square: np.ndarray) -> np.ndarray:
    distance = np.sqrt(np.maximum(square, 0))
    np.fill_diagonal(distance, 0)
    return distance


def energy_distance(distance: np.ndarray, rows: Rows, resamples: Resamples, estimator: str) -> np.ndarray:
    """2E‖x-y‖ - E‖x-x'‖ - E‖y-y'‖, [columns]."""
    return energy_and_cross(distance, rows, resamples, estimator)[0]


def energy_and_cross(
    distance: np.ndarray, rows: Rows, resamples: Resamples, estimator: str
) -> tuple[np.ndarray, np.ndarray]:
    """The energy distance and E‖x-y‖, [columns] each."""
    xx, yy, xy = mean_forms(distance, rows, resamples, estimator)
    return _beyond_rounding(2 * xy - xx - yy, xy), xy


def _beyond_rounding(difference: np.ndarray, size: np.ndarray) -> np.ndarray:
    """A difference of numbers of magnitude `size`, set to 0 where it is within their rounding."""
    return np.where(np.abs(difference) > 1e-13 * np.abs(size), difference, 0.0)


def mmd_squared(kernel: np.ndarray, rows: Rows, resamples: Resamples, estimator: str) -> np.ndarray:
    """MMD², E k(x, x') + E k(y, y') - 2E k(x, y), [columns], for a kernel [N, N] of at most 1."""
    xx, yy, xy = mean_forms(kernel, rows, resamples, estimator)
    return _beyond_rounding(xx + yy - 2 * xy, np.ones_like(xy))


def median_cross_distance(distance: np.ndarray, rows: Rows) -> float:
    """Median distance between a row of x and a row of y."""
    return float(np.median(distance[np.ix_(rows.x > 0, rows.y > 0)]))


def directions(d: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random unit vectors [count, d]. Each set of d is orthogonal, which spreads them more evenly."""
    bases = [np.linalg.qr(rng.standard_normal((d, min(d, count))))[0].T for _ in range(0, count, d)]
    return np.concatenate(bases)[:count]


def sliced_wasserstein(rows: Rows, resamples: Resamples, lines: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean over lines of the Wasserstein-1 distance of the projections, [columns], and its error.

    The error is the standard deviation of the difference between two choices of lines, estimated from the
    scatter among the lines.

    Args:
        rows: the table.
        resamples: weights.
        lines: unit vectors [k, d].
    """
    difference = np.ascontiguousarray((resamples.x - resamples.y).T)
    found = np.empty((len(lines), len(difference)))
    for line, shadow in enumerate(lines @ rows.points.T):
        order = np.argsort(shadow)
        # ∫|F - G|: between neighbours, F - G is the sum of the weight differences so far.
        steps = np.take(difference, order[:-1], axis=1)
        np.cumsum(steps, axis=1, out=steps)
        found[line] = np.abs(steps, out=steps) @ np.diff(shadow[order])
    return found.mean(axis=0), float(np.sqrt(2 / len(lines)) * found[:, 0].std(ddof=1))


class Separator(NamedTuple):
    """Scores of the held-out rows along a direction that was fitted on the other half of the groups."""

    scores: np.ndarray
    held_out: np.ndarray


def separator(rows: Rows, first: np.ndarray) -> Separator:
    """Fit Fisher's linear discriminant on half of the groups, and score the rows of the others.

    The pooled covariance is shrunk a tenth of the way to its mean variance, to be invertible when d > n.

    Args:
        rows: the table.
        first: whether to fit on a group, [groups]; both clouds need rows in both halves.
    """
    train = first[rows.group]
    points = rows.points - (rows.x + rows.y) @ rows.points / 2
    scatter, means = 0, []
    for weights in (rows.x, rows.y):
        w = np.where(train, weights, 0)
        chosen = w > 0
        w, z = w[chosen] / w.sum(), points[chosen]
        means.append(w @ z)
        scatter = scatter + (z - means[-1]).T @ ((z - means[-1]) * w[:, None])
    d = points.shape[1]
    variance = np.trace(scatter) / d
    direction = means[0] - means[1]
    if variance > 0:  # it is 0 if the half holds only one row of each cloud
        covariance = 0.9 * scatter + 0.1 * variance * np.eye(d)
        direction = linalg.solve(covariance, direction, assume_a="pos")
    scores = points[~train] @ direction
    # Rounding the scores gives equal rows equal scores, in whatever order their products were summed.
    step = 1e-12 * max(np.abs(scores).max(), np.finfo(float).tiny)
    return Separator(np.round(scores / step), ~train)


def separability(fit: Separator, resamples: Resamples) -> np.ndarray:
    """Area under the ROC curve on held-out rows, [columns]: P(a row of x scores above a row of y).

    It is 0.5 without a gap. The direction is not refitted, so the null on held-out rows is exact.
    """
    p, q = (w[fit.held_out] / w[fit.held_out].sum(axis=0) for w in (resamples.x, resamples.y))
    levels, level = np.unique(fit.scores, return_inverse=True)
    # Tied scores count as one half.
    onto = sparse.csr_array(
        (np.ones(len(level)), (level, np.arange(len(level)))), shape=(len(levels), len(level))
    )
    at_p, at_q = onto @ p, onto @ q
    below = np.cumsum(at_q, axis=0) - at_q / 2
    return np.einsum("lc,lc->c", at_p, below)
