"""First and second moments of two clouds of any size, in one pass over blocks of rows.

Second moments are taken about a pilot mean of the cloud, and distances from differences of rows. For a cloud
in a narrow cone, differences of raw moments would consist of rounding errors.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis.resampling import Resamples, Rows
from ctflow.embeddings.pairing import Pairing

MAX_UNITS = 4096
_MAX_FOLDS = 8
_RANK_NULLS = 3
_BLOCK = 8192


class Folds(NamedTuple):
    """Sums over the rows z of one cloud, split into k folds, about a pilot mean."""

    pilot: np.ndarray
    """[d]."""
    mass: np.ndarray
    """[k] sums of weights."""
    first: np.ndarray
    """[k, d] weighted sums of z - pilot."""
    second: np.ndarray
    """[k, d, d] weighted sums of (z - pilot)(z - pilot)ᵀ."""


class Moments(NamedTuple):
    """Sums over all rows, kept separately for units of consecutive groups so that they can be resampled."""

    units: Rows
    """One row per unit and modality: the weighted mean of its rows. One pair per unit."""
    scatter: np.ndarray
    """[rows of units] mean squared distance of a unit's rows from their mean."""
    apart: np.ndarray
    """[pairs of units] mean squared distance of partners; empty if unpaired."""
    folds: dict[str, Folds]
    """The folds of x and of y."""
    coincidence: tuple[float, float]
    """Σw² over the rows of x and of y, with weights that sum to 1: 1/n for n rows of equal weight."""
    num_groups: int

    @property
    def merged(self) -> bool:
        """Whether units hold several groups."""
        return len(np.unique(self.units.group)) < self.num_groups


class _Sums:
    """Running sums over the rows of one cloud."""

    def __init__(self, size: int, d: int):
        # At d = 4096 the second moments of one fold take 128 MiB.
        count = max(4, min(_MAX_FOLDS, 2**24 // d**2))
        self.pilot = np.zeros(0)
        self.mass, self.sums, self.squares = np.zeros(size), np.zeros((size, d)), np.zeros(size)
        self.square_weights = 0.0
        self.folds = Folds(np.zeros(d), np.zeros(count), np.zeros((count, d)), np.zeros((count, d, d)))

    def add(self, rows: np.ndarray, unit: np.ndarray, weight: np.ndarray) -> None:
        """Add rows [k, d] of increasing units [k] with weights [k]."""
        if len(rows) == 0:
            return
        if len(self.pilot) == 0:
            self.pilot = (weight @ rows / weight.sum()).astype(rows.dtype)
        # Nearby numbers are subtracted exactly; float32 sums of products would lose low-variance directions.
        rows = (rows - self.pilot).astype(float)
        weighted = rows * weight[:, None]
        size = len(self.mass)
        self.mass += np.bincount(unit, weight, size)
        self.squares += np.bincount(unit, weight * np.einsum("nd,nd->n", rows, rows), size)
        self.square_weights += float(weight @ weight)
        starts = np.flatnonzero(np.diff(unit, prepend=unit[0] - 1))
        self.sums[unit[starts]] += np.add.reduceat(weighted, starts, axis=0)
        count = len(self.folds.mass)
        for fold in np.unique(unit % count):
            mine = unit % count == fold
            self.folds.mass[fold] += weight[mine].sum()
            self.folds.first[fold] += weighted[mine].sum(axis=0)
            self.folds.second[fold] += rows[mine].T @ weighted[mine]

    def units(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """For units that hold rows: numbers [u], means [u, d], scatter [u] and shares of the mass [u]."""
        have = np.flatnonzero(self.mass)
        mean = self.sums[have] / self.mass[have, None]
        scatter = self.squares[have] / self.mass[have] - np.einsum("ud,ud->u", mean, mean)
        share = self.mass[have] / self.mass.sum()
        return have, self.pilot + mean, np.maximum(scatter, 0), share


def moments(
    x: Embeddings, y: Embeddings, pairing: Pairing, d: int, progress: Callable[[int], Any]
) -> Moments:
    """Compute the moments of both clouds, reading them block by block.

    Args:
        x: rows of the first cloud.
        y: rows of the second cloud.
        pairing: groups and pairs of the rows.
        d: dimension.
        progress: called once per block with its number of groups.
    """
    size = pairing.num_units(MAX_UNITS)
    of_x, of_y = _Sums(size, d), _Sums(size, d)
    apart, pair_mass = np.zeros(size), np.zeros(size)

    def add_pairs(rows: np.ndarray, partners: np.ndarray, unit: np.ndarray, weight: np.ndarray) -> None:
        between = rows - partners
        square = np.einsum("pd,pd->p", between, between, dtype=float)
        apart[:] += np.bincount(unit, weight * square, size)
        pair_mass[:] += np.bincount(unit, weight, size)

    for groups in _blocks(pairing.num_groups):
        block = pairing.take(groups)
        rows_x, rows_y = x.rows(block.x), y.rows(block.y)
        unit_x, unit_y = (pairing.unit_of(g, MAX_UNITS) for g in (block.x_group, block.y_group))
        of_x.add(rows_x, unit_x, block.x_weight)
        of_y.add(rows_y, unit_y, block.y_weight)
        if not pairing.rows_as_groups:
            i, j = block.pairs.T
            add_pairs(rows_x[i], rows_y[j], unit_x[i], block.pair_weight)
        progress(len(groups))
    # If each row is a group, partners are in different blocks and are read again here.
    for i, j, group, weight in pairing.split_pairs(_BLOCK):
        add_pairs(x.rows(i), y.rows(j), pairing.unit_of(group, MAX_UNITS), weight)
    (have_x, mean_x, scatter_x, share_x), (have_y, mean_y, scatter_y, share_y) = of_x.units(), of_y.units()
    with_pairs = np.flatnonzero(pair_mass)
    units = Rows(
        points=np.concatenate([mean_x, mean_y]),
        x=np.concatenate([share_x, np.zeros(len(have_y))]),
        y=np.concatenate([np.zeros(len(have_x)), share_y]),
        group=np.unique(np.concatenate([have_x, have_y]), return_inverse=True)[1],
        pairs=np.column_stack(
            [np.searchsorted(have_x, with_pairs), len(have_x) + np.searchsorted(have_y, with_pairs)]
        ),
        pair_weight=pair_mass[with_pairs] / max(pair_mass.sum(), 1e-300),
        copies=None
        if pairing.paired
        else np.concatenate([mass for mass in (of_x.mass, of_y.mass)])[
            np.concatenate([have_x, size + have_y])
        ],
    )
    return Moments(
        units,
        np.concatenate([scatter_x, scatter_y]),
        apart[with_pairs] / pair_mass[with_pairs],
        {name: sums.folds._replace(pilot=sums.pilot) for name, sums in (("x", of_x), ("y", of_y))},
        (of_x.square_weights / of_x.mass.sum() ** 2, of_y.square_weights / of_y.mass.sum() ** 2),
        pairing.num_groups,
    )


def _blocks(size: int) -> Iterator[np.ndarray]:
    for first in range(0, size, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, size))


def within(moments: Moments, resamples: Resamples, cloud: str) -> np.ndarray:
    """½E‖z - z'‖² over rows z, z' of distinct units of one cloud: 1 - their mean cosine, [columns]."""
    weights = resamples.x if cloud == "x" else resamples.y
    points = moments.units.points - moments.units.points.mean(axis=0)
    mean = weights.T @ points
    square = weights.T @ np.einsum("ud,ud->u", points, points)
    inner = (weights * (1 - weights)).T @ moments.scatter
    return (inner + square - np.einsum("cd,cd->c", mean, mean)) / (1 - (weights**2).sum(axis=0))


def mean_paired_distance(moments: Moments, resamples: Resamples) -> np.ndarray:
    """Mean squared distance of partners, [columns]."""
    drawn = resamples.group[moments.units.group[moments.units.pairs[:, 0]]]
    weight = moments.units.pair_weight[:, None] * drawn
    return moments.apart @ (weight / weight.sum(axis=0))


def repaired_distance(moments: Moments) -> tuple[float, float]:
    """Closed-form mean and standard deviation of partners' mean squared distance over random re-pairings.

    A mean of n cosines under a random permutation has mean ⟨x̄, ȳ⟩ and variance tr(Σ_x Σ_y)/(n - 1)
    (Hoeffding 1951); a squared distance is 2 minus twice the cosine. Here n is the number of groups, so the
    deviation is too large for several captions per image.
    """
    (mean_x, cov_x), (mean_y, cov_y) = (covariance((moments.folds[c], 1)) for c in "xy")
    mean = np.trace(cov_x) + np.trace(cov_y) + np.sum((mean_x - mean_y) ** 2)
    sd = np.sqrt(np.sum(cov_x * cov_y) / max(moments.num_groups - 1, 1))
    return float(mean), float(2 * sd)


def covariance(*parts: tuple[Folds, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and covariance [d, d] of the union of several clouds' folds, each with weights [k]."""
    found = []
    for folds, weights in parts:
        w = np.broadcast_to(weights, len(folds.mass))
        mass = w @ folds.mass
        if mass > 0:
            shift = w @ folds.first / mass
            second = np.tensordot(w, folds.second, 1) / mass
            found.append((mass, folds.pilot + shift, second - np.outer(shift, shift)))
    masses, means, covariances = (np.stack(part) for part in zip(*found, strict=True))
    share = masses / masses.sum()
    mean = share @ means
    # The law of total covariance uses each cloud's own pilot, so that no large moments are subtracted.
    return mean, np.tensordot(share, covariances, 1) + ((means - mean).T * share) @ (means - mean)


class Rank(NamedTuple):
    """Effective rank of one cloud, and its null from clouds with exchanged folds."""

    value: float
    null: np.ndarray


def effective_rank(moments: Moments, cloud: str, rng: np.random.Generator, *, null: bool) -> Rank:
    """Effective rank of one cloud over all rows: the exp of the entropy of its singular values, in [1, d].

    Args:
        moments: the sums.
        cloud: x or y.
        rng: source of random numbers for the null.
        null: whether to compute the null, from clouds with exchanged folds. It is right only if both clouds
            have the same number of rows, because the rank grows with that number.
    """
    own, other = moments.folds[cloud], moments.folds["y" if cloud == "x" else "x"]
    count = len(own.mass)

    def rank(*parts):
        return _rank(covariance(*parts)[1])

    # Exactly half of the folds are exchanged, so that no draw is one of the two clouds itself.
    exchanged = [rng.permutation(count) < count // 2 for _ in range(_RANK_NULLS if null else 0)]
    return Rank(rank((own, 1)), np.array([rank((own, ~e), (other, e)) for e in exchanged]))


def _rank(cov: np.ndarray) -> float:
    """Exp of the entropy of the singular values of the centred rows (Roy and Vetterli 2007)."""
    values = np.linalg.eigvalsh(cov)
    # Eigenvalues within rounding are set to 0, because the square root would magnify them.
    values = np.sqrt(np.where(values > len(cov) * np.finfo(float).eps * values[-1], values, 0))
    return float(np.exp(entr(values / values.sum()).sum())) if values.sum() > 0 else np.nan
