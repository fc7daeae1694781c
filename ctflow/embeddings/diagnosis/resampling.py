"""Resamples of two clouds as weights: relabelled clouds without a gap, and bootstrap samples.

A cloud is a vector of weights over one table with the rows of both clouds. Relabellings and bootstrap samples
are then matrices of weights, and one matrix product gives a statistic on all of them.
"""

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from ctflow.embeddings.pairing import Block


class Rows(NamedTuple):
    """The rows of both clouds in one table: first the rows of x, then those of y."""

    points: np.ndarray
    """[N, d]."""
    x: np.ndarray
    """[N] weights of the first cloud, summing to 1; 0 on rows of y."""
    y: np.ndarray
    """[N] weights of the second cloud, summing to 1; 0 on rows of x."""
    group: np.ndarray
    """[N] group numbers from 0; rows of one group depend on each other."""
    pairs: np.ndarray
    """[p, 2] rows of the table that are partners."""
    pair_weight: np.ndarray
    """[p], summing to 1."""
    copies: np.ndarray | None = None
    """[N] number of equal rows that each row stands for, if unpaired: a relabelling moves them together."""

    @property
    def counts(self) -> tuple[int, int]:
        """Number of rows of x and of y."""
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
        copies=None if len(block.pairs) else np.concatenate([block.x_weight, block.y_weight]),
    )


class Resamples(NamedTuple):
    """Weights of both clouds: one column for the clouds as given, then relabelled, then bootstrapped ones."""

    x: np.ndarray
    """[N, 1 + relabelled + bootstrapped], columns summing to 1."""
    y: np.ndarray
    group: np.ndarray
    """[groups, columns], how often each group was drawn: always 1 except in bootstrapped columns."""
    relabelled: int
    tail: float = 0.025
    """Share of the bootstrap that lies beyond each end of a 95 % interval."""

    def draws(self, values: np.ndarray) -> "Draws":
        """Split the values of a statistic on all columns into value, null and bootstrap."""
        first = 1 + self.relabelled
        return Draws(float(values[0]), np.asarray(values[1:first]), np.asarray(values[first:]), self.tail)

    def followed_by(self, other: "Resamples") -> "Resamples":
        """These resamples, followed by the columns of `other`."""
        x, y, group = (
            np.concatenate(pair, axis=1)
            for pair in ((self.x, other.x), (self.y, other.y), (self.group, other.group))
        )
        return self._replace(x=x, y=y, group=group)

    def without_relabelled(self) -> "Resamples":
        """These resamples without the relabelled columns."""
        kept = np.r_[0:1, 1 + self.relabelled : self.x.shape[1]]
        return self._replace(x=self.x[:, kept], y=self.y[:, kept], group=self.group[:, kept], relabelled=0)

    def without_bootstrap(self) -> "Resamples":
        """These resamples without the bootstrapped columns."""
        kept = slice(0, 1 + self.relabelled)
        return self._replace(x=self.x[:, kept], y=self.y[:, kept], group=self.group[:, kept])


class Draws(NamedTuple):
    """A statistic on the clouds as given, on clouds without a gap, and on bootstrapped samples."""

    value: float
    null: np.ndarray
    bootstrap: np.ndarray
    tail: float = 0.025
    """As for `Resamples`."""

    def interval(
        self, low: float = -np.inf, high: float = np.inf, other_error: float = 0.0
    ) -> tuple[float, float]:
        """95 % basic bootstrap interval, clipped to the range of the statistic; it always contains the value.

        The ends are twice the value minus the bootstrap's quantiles. This removes the bias of a V-statistic,
        which its bootstrap has twice. If the value then lies outside, the nearer end is moved to it. Without
        a bootstrap, or if a number is not finite, both ends are NaN.

        Args:
            low: smallest value that the statistic can take.
            high: largest value that the statistic can take.
            other_error: standard error from a source other than the rows, such as random directions.
        """
        if len(self.bootstrap) == 0 or not np.isfinite([self.value, *self.bootstrap]).all():
            return np.nan, np.nan
        a, b = 2 * self.value - np.quantile(self.bootstrap, [1 - self.tail, self.tail])
        centre, half = (a + b) / 2, np.hypot((b - a) / 2, 1.96 * other_error)
        ends = np.clip([min(centre - half, self.value), max(centre + half, self.value)], low, high)
        return float(min(ends[0], self.value)), float(max(ends[1], self.value))


def halves(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """Which groups are in the first of two random halves, [groups]; each kind of group is halved separately.

    The kinds are groups of both clouds, of x alone and of y alone. A kind with two groups is in both halves.
    """
    both, only_x, only_y = _kinds(rows)
    first = np.zeros(len(both), bool)
    for kind in (both, only_x, only_y):
        members = rng.permutation(np.flatnonzero(kind))
        first[members[: (len(members) + 1) // 2]] = True
    return first


def _kinds(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which groups hold rows of both clouds, of x alone, and of y alone: three arrays [groups]."""
    size = int(rows.group.max()) + 1
    has_x, has_y = (np.bincount(rows.group, weights > 0, size) > 0 for weights in (rows.x, rows.y))
    return has_x & has_y, has_x & ~has_y, has_y & ~has_x


def num_relabellings(rows: Rows, first: np.ndarray) -> float:
    """Number of ways to exchange the labels within each half; infinity above 2^1000."""
    both, only_x, only_y = _kinds(rows)
    log2 = float(both.sum())
    for part in (first, ~first):
        a, b = int((only_x & part).sum()), int((only_y & part).sum())
        log2 += float(special.gammaln(a + b + 1) - special.gammaln(a + 1) - special.gammaln(b + 1)) / np.log(
            2
        )
    return 2.0**log2 if log2 < 1000 else np.inf


def resample(
    rows: Rows, first: np.ndarray, relabelled: int, bootstrapped: int, rng: np.random.Generator
) -> Resamples:
    """Weights of `relabelled` clouds without a gap and of `bootstrapped` new samples.

    A group with rows of both clouds exchanges its rows of x and of y with probability ½. This is exact for
    rows paired one to one, and right in the limit of many groups for several captions per image. All other
    rows are permuted within each half, so that each half keeps its number of rows of each cloud: a row takes
    the label of another row, and also its weight unless the weight counts copies. This is exact for
    independent rows. Both kinds of relabelling keep the pairing.

    Args:
        rows: the table.
        first: whether a group is in the first half, [groups].
        relabelled: number of relabellings.
        bootstrapped: number of bootstrap samples.
        rng: source of random numbers.
    """
    group = rows.group
    both, only_x, only_y = _kinds(rows)
    flip = np.zeros((len(both), relabelled), bool)
    flip[both] = rng.random((both.sum(), relabelled)) < 0.5
    moved = flip[group]
    x, y = rows.x[:, None], rows.y[:, None]
    null = [np.where(moved, y, x), np.where(moved, x, y)]
    for half in (first, ~first):
        (single,) = np.nonzero((half & ~both)[group])
        if len(single):
            place = rng.permuted(np.tile(single, (relabelled, 1)), axis=1).T
            if rows.copies is None:
                null[0][single], null[1][single] = rows.x[place], rows.y[place]
            else:
                of_x, copies = rows.x[place] > 0, rows.copies[single, None]
                null[0][single], null[1][single] = copies * of_x, copies * ~of_x
    drawn = np.ones((len(both), bootstrapped))
    for part in (both, only_x, only_y):
        drawn[part] = multinomial(rng, int(part.sum()), bootstrapped)
    weights = [
        np.concatenate([own, without, own * drawn[group]], axis=1)
        for own, without in zip((x, y), null, strict=True)
    ]
    count = np.concatenate([np.ones((len(both), 1 + relabelled)), drawn], axis=1)
    x, y = (w / w.sum(axis=0) for w in weights)
    fewest = min(int(kind.sum()) for kind in (both, only_x, only_y) if kind.any())
    return Resamples(x, y, count, relabelled, _tail(fewest))


def _tail(n: int) -> float:
    """The share of a bootstrap of n groups that lies beyond each end of a 95 % interval.

    A bootstrap scatters less than samples do, by a factor √(1 - 1/n), and n groups give its scatter only
    roughly. So √(n/(n - 1)) times Student's t replaces the normal quantile (Hesterberg, arXiv 1411.5279).
    """
    if n < 2:
        return 0.025
    return float(stats.norm.sf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)))


def as_they_are(rows: Rows, groups: np.ndarray | None = None) -> Resamples:
    """Resamples with one column: the clouds as given, or only their rows in the chosen groups."""
    kept = np.ones(int(rows.group.max()) + 1) if groups is None else groups.astype(float)
    x, y = (w * kept[rows.group] for w in (rows.x, rows.y))
    return Resamples((x / x.sum())[:, None], (y / y.sum())[:, None], kept[:, None], 0)


def multinomial(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    """How often each of `size` items occurs in `size` draws with replacement, [size, columns]."""
    if size == 0:
        return np.zeros((0, columns))
    return rng.multinomial(size, np.full(size, 1 / size), size=columns).T.astype(float)


def family_wise(family: dict[str, Draws]) -> dict[str, float]:
    """p-values of "no gap at all", corrected for testing several statistics at once.

    A p-value is the share of relabellings on which the largest of all statistics is at least as large, each
    measured in standard deviations from its null mean: the max-T permutation test (Westfall and Young 1993).
    Without a gap, the probability that any p-value is <= α is at most α.

    Args:
        family: one-sided statistics (large means a gap) with nulls from the same relabellings; all finite.
    """
    if not family:
        return {}
    columns = np.stack([np.concatenate([[d.value], d.null]) for d in family.values()])
    # The observed values are standardised together with the null, as one more relabelling.
    centre, spread = columns.mean(axis=1, keepdims=True), columns.std(axis=1, keepdims=True)
    scores = (columns - centre) / np.where(spread > 0, spread, 1)
    largest = scores.max(axis=0)
    return {
        name: float(np.mean(largest >= score - 1e-12))
        for name, score in zip(family, scores[:, 0], strict=True)
    }
