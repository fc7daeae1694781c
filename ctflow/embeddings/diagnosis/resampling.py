"""What a number would be without a gap, without pairs, or on another sample: weights for every resample.

A cloud is a vector of weights over one table that holds the rows of both. So a relabelling and a bootstrap
are matrices of weights, and one matrix product gives a statistic on all of them.
"""

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from ctflow.embeddings.pairing import Block


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
    copies: np.ndarray | None = None
    """[N] how many equal rows each stands for, if these are its own and go with it to the other cloud."""

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
        copies=None if len(block.pairs) else np.concatenate([block.x_weight, block.y_weight]),
    )


class Resamples(NamedTuple):
    """Weights of both clouds, one column per resample: as they are, then relabelled, then bootstrapped."""

    x: np.ndarray
    """[N, 1 + relabelled + bootstrapped], columns summing to 1."""
    y: np.ndarray
    group: np.ndarray
    """[groups, columns], how often each group was drawn: 1 but in a bootstrap."""
    relabelled: int
    tail: float = 0.025
    """The share of the bootstrap that lies beyond each end of a 95 % interval."""

    def draws(self, values: np.ndarray) -> "Draws":
        """A statistic on every column, told apart."""
        first = 1 + self.relabelled
        return Draws(float(values[0]), np.asarray(values[1:first]), np.asarray(values[first:]), self.tail)

    def followed_by(self, other: "Resamples") -> "Resamples":
        """The same with the columns of others after them."""
        x, y, group = (
            np.concatenate(pair, axis=1)
            for pair in ((self.x, other.x), (self.y, other.y), (self.group, other.group))
        )
        return self._replace(x=x, y=y, group=group)

    def without_relabelled(self) -> "Resamples":
        """The same without relabelled columns."""
        kept = np.r_[0:1, 1 + self.relabelled : self.x.shape[1]]
        return self._replace(x=self.x[:, kept], y=self.y[:, kept], group=self.group[:, kept], relabelled=0)

    def without_bootstrap(self) -> "Resamples":
        """The same without bootstrapped columns."""
        kept = slice(0, 1 + self.relabelled)
        return self._replace(x=self.x[:, kept], y=self.y[:, kept], group=self.group[:, kept])


class Draws(NamedTuple):
    """A statistic as it is, on clouds without a gap (or pairs), and on bootstrapped samples."""

    value: float
    null: np.ndarray
    bootstrap: np.ndarray
    tail: float = 0.025
    """As for `Resamples`."""

    def interval(
        self, low: float = -np.inf, high: float = np.inf, other_error: float = 0.0
    ) -> tuple[float, float]:
        """95 % basic bootstrap interval, cut to the range of the statistic; it always holds the value.

        Twice the value less the bootstrap's quantiles: a V-statistic's bootstrap is off by as much again as
        the statistic, and this takes it off. Where that leaves the value itself outside, the nearer end is
        moved to it.

        Args:
            low: least value that the statistic can take.
            high: largest value.
            other_error: standard error from another source than the rows, such as random directions.
        """
        if len(self.bootstrap) == 0 or not np.isfinite([self.value, *self.bootstrap]).all():
            return np.nan, np.nan
        a, b = 2 * self.value - np.quantile(self.bootstrap, [1 - self.tail, self.tail])
        centre, half = (a + b) / 2, np.hypot((b - a) / 2, 1.96 * other_error)
        ends = np.clip([min(centre - half, self.value), max(centre + half, self.value)], low, high)
        return float(min(ends[0], self.value)), float(max(ends[1], self.value))


def halves(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """Which groups are in the first of two random halves, [groups]; each kind of group is halved by itself.

    The kinds are groups of both clouds, of x alone and of y alone, so that neither half lacks one of them
    where there are two.
    """
    both, only_x, only_y = _kinds(rows)
    first = np.zeros(len(both), bool)
    for kind in (both, only_x, only_y):
        members = rng.permutation(np.flatnonzero(kind))
        first[members[: (len(members) + 1) // 2]] = True
    return first


def _kinds(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which groups hold rows of both clouds, of x alone and of y alone, [groups] each."""
    size = int(rows.group.max()) + 1
    has_x, has_y = (np.bincount(rows.group, weights > 0, size) > 0 for weights in (rows.x, rows.y))
    return has_x & has_y, has_x & ~has_y, has_y & ~has_x


def num_relabellings(rows: Rows, first: np.ndarray) -> float:
    """How many ways there are to exchange the labels within each half; infinity if very many."""
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

    Relabelling gives the two measures of each group that has both to the other cloud by the toss of a coin.
    Rows of groups of one modality change places among themselves: each takes the label of another, and its
    weight unless that is a number of copies, within each half, so that both halves keep as many rows of each
    cloud. The first is exact for rows paired one to one, and right in the limit of many groups for several
    captions per image; the second is exact for independent rows. Both hold the pairing fixed.

    Args:
        rows: the table.
        first: the groups of the first half, [groups].
        relabelled: number of relabellings.
        bootstrapped: number of bootstrap samples.
        rng: random numbers.
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
    """The share of a bootstrap of n groups beyond each end of a 95 % interval.

    A bootstrap scatters less than the samples do, by √(1 - 1/n), and knows its scatter from n groups only:
    the normal quantile is replaced by √(n/(n - 1)) times that of Student's t (Hesterberg, arXiv 1411.5279).
    """
    if n < 2:
        return 0.025
    return float(stats.norm.sf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)))


def as_they_are(rows: Rows, groups: np.ndarray | None = None) -> Resamples:
    """The clouds alone, or their rows in some groups alone, as the only column."""
    kept = np.ones(int(rows.group.max()) + 1) if groups is None else groups.astype(float)
    x, y = (w * kept[rows.group] for w in (rows.x, rows.y))
    return Resamples((x / x.sum())[:, None], (y / y.sum())[:, None], kept[:, None], 0)


def multinomial(rng: np.random.Generator, size: int, columns: int) -> np.ndarray:
    """How often each of `size` things is drawn in as many draws, [size, columns]."""
    if size == 0:
        return np.zeros((0, columns))
    return rng.multinomial(size, np.full(size, 1 / size), size=columns).T.astype(float)


def family_wise(family: dict[str, Draws]) -> dict[str, float]:
    """p-values of "no gap at all", corrected for asking several statistics at once.

    How often the largest of all statistics, each in standard deviations from its null mean, comes out as
    large without a gap: the max-T permutation test (Westfall and Young 1993). Under relabelling the chance
    that any p-value is <= α is at most α.

    Args:
        family: one-sided statistics (large means a gap) with their nulls, relabelled together; all finite.
    """
    if not family:
        return {}
    columns = np.stack([np.concatenate([[d.value], d.null]) for d in family.values()])
    # The observed column is standardised with the others, as one of them.
    centre, spread = columns.mean(axis=1, keepdims=True), columns.std(axis=1, keepdims=True)
    scores = (columns - centre) / np.where(spread > 0, spread, 1)
    largest = scores.max(axis=0)
    return {
        name: float(np.mean(largest >= score - 1e-12))
        for name, score in zip(family, scores[:, 0], strict=True)
    }
