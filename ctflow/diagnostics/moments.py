"""First and second moments of two clouds of any size, in one pass over blocks of rows."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from ctflow.diagnostics.pairing import Pairing
from ctflow.diagnostics.resampling import Resamples, Rows
from ctflow.embeddings import Embeddings

MAX_UNITS = 4096
_MAX_FOLDS = 16
_BLOCK = 8192


class Moments(NamedTuple):
    """Sums over all rows, kept for units of consecutive groups, so that they can be resampled."""

    units: Rows
    """A row a unit and modality: the weighted mean of its rows. A pair a unit."""
    paired: np.ndarray
    """[units] mean cosine of each unit's pairs; empty if unpaired."""
    folds: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    """For x and y: masses [k], sums of rows [k, d] and of z zᵀ [k, d, d], over k folds of units."""
    num_groups: int
    rounding: float
    """Of the rows' dtype."""


def moments(
    x: Embeddings, y: Embeddings, pairing: Pairing, d: int, progress: Callable[[int], Any]
) -> Moments:
    """Read every row once.

    Args:
        x: rows of the first cloud.
        y: rows of the second.
        pairing: their groups.
        d: dimension.
        progress: told how many groups have been read, a block at a time.
    """
    merged = -(-pairing.num_groups // MAX_UNITS)
    size = -(-pairing.num_groups // merged)
    sums, masses = {c: np.zeros((size, d)) for c in "xy"}, {c: np.zeros(size) for c in "xy"}
    paired, pair_mass = np.zeros(size), np.zeros(size)
    # At d = 4096 a fold's second moments are 128 MiB.
    count = max(4, min(_MAX_FOLDS, 2**24 // d**2))
    folds = {c: (np.zeros(count), np.zeros((count, d)), np.zeros((count, d, d))) for c in "xy"}
    rounding = 0.0
    for groups in _blocks(pairing.num_groups):
        block = pairing.take(groups)
        parts = {
            "x": (x.rows(block.x), block.x_group // merged, block.x_weight),
            "y": (y.rows(block.y), block.y_group // merged, block.y_weight),
        }
        for c, (rows, unit, weight) in parts.items():
            rounding = max(rounding, float(np.finfo(rows.dtype).eps))
            masses[c] += np.bincount(unit, weight, size)
            _add_at(sums[c], unit, rows * weight[:, None].astype(rows.dtype))
            for fold in range(count):
                mine = unit % count == fold
                _add_moments(folds[c], fold, rows[mine], weight[mine])
        (zx, unit, _), (zy, *_) = parts["x"], parts["y"]
        i, j = block.pairs.T
        cosine = np.einsum("pd,pd->p", zx[i], zy[j])
        paired += np.bincount(unit[i], block.pair_weight * cosine, size)
        pair_mass += np.bincount(unit[i], block.pair_weight, size)
        progress(len(groups))
    have = [np.flatnonzero(masses[c]) for c in "xy"]
    blank = [np.zeros(len(part)) for part in have]
    weight = [masses[c][part] / masses[c].sum() for c, part in zip("xy", have, strict=True)]
    with_pairs = np.flatnonzero(pair_mass)
    position = {c: np.searchsorted(part, with_pairs) for c, part in zip("xy", have, strict=True)}
    units = Rows(
        points=np.concatenate(
            [sums[c][part] / masses[c][part, None] for c, part in zip("xy", have, strict=True)]
        ),
        x=np.concatenate([weight[0], blank[1]]),
        y=np.concatenate([blank[0], weight[1]]),
        group=np.unique(np.concatenate(have), return_inverse=True)[1],
        pairs=np.column_stack([position["x"], len(have[0]) + position["y"]]),
        pair_weight=pair_mass[with_pairs] / max(pair_mass.sum(), 1e-300),
    )
    return Moments(units, paired[with_pairs] / pair_mass[with_pairs], folds, pairing.num_groups, rounding)


def _blocks(size: int) -> Iterator[np.ndarray]:
    for first in range(0, size, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, size))


def _add_at(total: np.ndarray, unit: np.ndarray, rows: np.ndarray) -> None:
    """Add rows to their units, which come in increasing order."""
    if len(unit):
        starts = np.flatnonzero(np.diff(unit, prepend=unit[0] - 1))
        total[unit[starts]] += np.add.reduceat(rows, starts, axis=0, dtype=float)


def _add_moments(fold_sums: tuple, fold: int, rows: np.ndarray, weight: np.ndarray) -> None:
    mass, first, second = fold_sums
    weighted = rows * weight[:, None].astype(rows.dtype)
    mass[fold] += weight.sum()
    first[fold] += weighted.sum(axis=0, dtype=float)
    second[fold] += rows.T @ weighted


def means(moments: Moments, resamples: Resamples) -> tuple[np.ndarray, np.ndarray]:
    """Means of x and y, [columns, d] each."""
    points = moments.units.points
    return resamples.x.T @ points, resamples.y.T @ points


def cone(moments: Moments, resamples: Resamples, cloud: str) -> np.ndarray:
    """Mean cosine of two rows of one cloud, of distinct units, [columns]."""
    weights = resamples.x if cloud == "x" else resamples.y
    mean = weights.T @ moments.units.points
    own = np.einsum("nd,nd->n", moments.units.points, moments.units.points)
    same = (weights**2).T @ own
    return (np.einsum("cd,cd->c", mean, mean) - same) / (1 - (weights**2).sum(axis=0))


def mean_paired_cosine(moments: Moments, resamples: Resamples) -> np.ndarray:
    """Mean cosine of the pairs, [columns]."""
    drawn = resamples.group[moments.units.group[moments.units.pairs[:, 0]]]
    weight = moments.units.pair_weight[:, None] * drawn
    return moments.paired @ (weight / weight.sum(axis=0))


def repaired_cosine(moments: Moments) -> tuple[float, float]:
    """Mean and standard deviation of the mean paired cosine over random re-pairings, in closed form.

    A mean of n cosines under a random permutation has mean ⟨x̄, ȳ⟩ and variance tr(Σ_x Σ_y)/(n - 1)
    (Hoeffding 1951). n counts groups, which for several captions an image overstates the deviation.
    """
    (mean_x, cov_x), (mean_y, cov_y) = (covariance((moments.folds[c], 1)) for c in "xy")
    return float(mean_x @ mean_y), float(np.sqrt(np.sum(cov_x * cov_y) / max(moments.num_groups - 1, 1)))


def covariance(*parts: tuple[tuple, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and covariance [d, d] of folds with weights [k]; of several clouds' folds together."""
    pooled = [[np.tensordot(np.broadcast_to(w, len(sums[0])), part, 1) for part in sums] for sums, w in parts]
    mass, first, second = (np.sum(each, axis=0) for each in zip(*pooled, strict=True))
    mean = first / mass
    return mean, second / mass - np.outer(mean, mean)


class Rank(NamedTuple):
    """Effective rank of one cloud, of clouds with folds exchanged, and the jackknife's standard error."""

    value: float
    null: np.ndarray
    error: float


def effective_rank(moments: Moments, cloud: str, rng: np.random.Generator) -> Rank:
    """Effective rank of one cloud over all rows; exp of an entropy of singular values, in [1, d]."""
    own, other = moments.folds[cloud], moments.folds["y" if cloud == "x" else "x"]
    count = len(own[0])

    def rank(*parts):
        return _rank(covariance(*parts)[1], moments.rounding)

    null = [rank((own, kept), (other, 1 - kept)) for kept in rng.integers(0, 2, (count, count)).astype(float)]
    filled = np.flatnonzero(own[0] > 0)
    without = np.array([rank((own, np.arange(count) != k)) for k in filled])
    error = np.sqrt((len(filled) - 1) / len(filled) * np.sum((without - without.mean()) ** 2))
    return Rank(rank((own, 1)), np.array(null), float(error))


def _rank(cov: np.ndarray, rounding: float) -> float:
    """Exp of the entropy of the singular values of the centred rows (Roy and Vetterli 2007)."""
    values = np.linalg.eigvalsh(cov)
    # A difference of sums is blurred by rounding, and the root would make much of it.
    values = np.sqrt(np.where(values > len(cov) * rounding * values[-1], values, 0))
    return float(np.exp(entr(values / values.sum()).sum())) if values.sum() > 0 else np.nan
