"""What a number would be without a gap, without pairs, or on another sample: weights for every resample.

A cloud is a vector of weights over one table that holds the rows of both. So a relabelling and a bootstrap
are matrices of weights, and one matrix product gives a statistic on all of them.
"""

from typing import NamedTuple

import numpy as np

from ctflow.diagnostics.pairing import Block


class Rows(NamedTuple):
    """The rows of both clouds in one table: first those of x, then those of y."""

    points: np.ndarray
    """[N, d]."""
    x: np.ndarray
    """[N] weights of the first cloud, summing to 1; 0 on rows of y."""
    y: np.ndarray
    """[N] weights of the second."""
    group: np.ndarray
    """[N] numbers from 0; rows of one group depend on each other."""
    pairs: np.ndarray
    """[p, 2] rows of the table."""
    pair_weight: np.ndarray
    """[p], summing to 1."""

    @property
    def counts(self) -> tuple[int, int]:
        """Rows of x and of y."""
        return int((self.x > 0).sum()), int((self.y > 0).sum())


def table(x: np.ndarray, y: np.ndarray, block: Block) -> Rows:
    """The table of a block whose rows are `x` [a, d] and `y` [b, d]."""
    group = np.unique(np.concatenate([block.x_group, block.y_group]), return_inverse=True)[1]
    zeros = np.zeros(len(x)), np.zeros(len(y))
    return Rows(
        points=np.concatenate([x, y]),
        x=np.concatenate([block.x_weight / block.x_weight.sum(), zeros[1]]),
        y=np.concatenate([zeros[0], block.y_weight / block.y_weight.sum()]),
        group=group,
        pairs=block.pairs + np.array([0, len(x)]),
        pair_weight=block.pair_weight / max(block.pair_weight.sum(), 1e-300),
    )


class Resamples(NamedTuple):
    """Weights of both clouds, a column a resample: first as they are, then relabelled, then bootstrapped."""

    x: np.ndarray
    """[N, 1 + relabelled + bootstrapped], columns summing to 1."""
    y: np.ndarray
    group: np.ndarray
    """[groups, columns], how often each group was drawn: 1 but in a bootstrap."""
    relabelled: int

    def draws(self, values: np.ndarray) -> "Draws":
        """A statistic on every column, told apart."""
        first = 1 + self.relabelled
        return Draws(float(values[0]), np.asarray(values[1:first]), np.asarray(values[first:]))


class Draws(NamedTuple):
    """A statistic as it is, on clouds without a gap (or pairs), and on bootstrapped samples."""

    value: float
    null: np.ndarray
    bootstrap: np.ndarray

    def interval(self, low: float = -np.inf, high: float = np.inf) -> tuple[float, float]:
        """95 % basic bootstrap interval, cut to the range of the statistic.

        Twice the value less the bootstrap's quantiles: a V-statistic's bootstrap is off by as much again as
        the statistic, and this takes it off.
        """
        if len(self.bootstrap) == 0:
            return np.nan, np.nan
        quantiles = np.quantile(self.bootstrap, [0.975, 0.025])
        a, b = np.clip(2 * self.value - quantiles, low, high)
        return float(a), float(b)


def resample(rows: Rows, relabelled: int, bootstrapped: int, rng: np.random.Generator) -> Resamples:
    """Weights of `relabelled` clouds without a gap and of `bootstrapped` new samples.

    Relabelling gives each group's two measures to the other cloud by the toss of a coin; groups of one
    modality only have their labels shuffled among themselves. The first is exact for rows paired one to
    one and right in the limit of many groups for several captions an image; both hold the pairing fixed.
    """
    group, size = rows.group, int(rows.group.max()) + 1
    has = [np.bincount(group, weights > 0, size) > 0 for weights in (rows.x, rows.y)]
    both = has[0] & has[1]
    # A group of one modality carries the label "is it of x": shuffled, unlike a coin, it keeps their number.
    of_x = np.tile(has[0][:, None], relabelled)
    of_x[~both] = rng.permuted(of_x[~both], axis=0)
    flip = of_x != has[0][:, None]
    flip[both] = rng.random((both.sum(), relabelled)) < 0.5
    moved = flip[group]
    x, y = rows.x[:, None], rows.y[:, None]
    null = [np.where(moved, y, x), np.where(moved, x, y)]
    drawn = np.ones((size, bootstrapped))
    for part in (both, has[0] & ~both, has[1] & ~both):
        drawn[part] = _multinomial(rng, int(part.sum()), bootstrapped)
    weights = [
        np.concatenate([own, without, own * drawn[group]], axis=1)
        for own, without in zip((x, y), null, strict=True)
    ]
    count = np.concatenate([np.ones((size, 1 + relabelled)), drawn], axis=1)
    x, y = (w / w.sum(axis=0) for w in weights)
    return Resamples(x, y, count, relabelled)


def as_they_are(rows: Rows) -> Resamples:
    """The clouds alone, as the only column."""
    return Resamples(rows.x[:, None], rows.y[:, None], np.ones((int(rows.group.max()) + 1, 1)), 0)


def _multinomial(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    """How often each of `size` things is drawn in as many draws, [size, columns]."""
    if size == 0:
        return np.zeros((0, columns))
    return rng.multinomial(size, np.full(size, 1 / size), size=columns).T.astype(float)


def repaired(rows: Rows, count: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs whose second rows are shuffled among them, [count, p, 2]."""
    second = rng.permuted(np.tile(rows.pairs[:, 1], (count, 1)), axis=1)
    return np.stack([np.broadcast_to(rows.pairs[:, 0], second.shape), second], axis=-1)


def family_wise(family: dict[str, Draws]) -> dict[str, float]:
    """p-values of "no gap at all", corrected for asking several statistics at once.

    How often the largest of all statistics, each in standard deviations from its null mean, comes out as
    large without a gap: the max-T permutation test (Westfall and Young 1993). Under relabelling the chance
    that any p-value is <= α is at most α.

    Args:
        family: one-sided statistics (large means a gap) with their nulls, relabelled together.
    """
    columns = np.stack([np.concatenate([[d.value], d.null]) for d in family.values()])
    # The observed column is standardised with the others, as one of them.
    centre, spread = columns.mean(axis=1, keepdims=True), columns.std(axis=1, keepdims=True)
    scores = (columns - centre) / np.where(spread > 0, spread, 1)
    largest = scores.max(axis=0)
    return {
        name: float(np.mean(largest >= score - 1e-12))
        for name, score in zip(family, scores[:, 0], strict=True)
    }
