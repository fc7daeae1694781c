"""What a diagnosis measures from: all rows in units, a sample of rows, and resamples of both."""

from typing import Any, NamedTuple

import numpy as np

from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis import moments as streamed
from ctflow.embeddings.diagnosis.metric import Metric
from ctflow.embeddings.diagnosis.resampling import (
    Draws,
    Resamples,
    Rows,
    halves,
    num_relabellings,
    resample,
    table,
)
from ctflow.embeddings.pairing import Pairing

_MANY = 500
MIN_FOR_INTERVAL = 20
"""Fewest independent groups, or rows of either cloud, that intervals are given for."""


class Study(NamedTuple):
    """Everything that a section of a report is made from."""

    x: Embeddings
    y: Embeddings
    pairing: Pairing
    moments: streamed.Moments
    units: Resamples
    """Resamples of all rows, in units."""
    rows: Rows
    """A sample of rows, for sums over all pairs of rows."""
    units_half: np.ndarray
    """[groups of the units] those of the first half, relabelled by themselves."""
    first_half: np.ndarray
    """[groups of the sample] the groups that a separator is fitted on; the others are held out."""
    resamples: Resamples
    cosine: np.ndarray
    """[N, N] of the sample."""
    options: dict[str, Any]

    @property
    def all_rows(self) -> tuple[int, int]:
        """Number of distinct rows of x and of y that were measured."""
        return self.pairing.items

    @property
    def paired(self) -> bool:
        """Whether rows have partners."""
        return self.pairing.paired

    @property
    def num_relabellings(self) -> float:
        """How many ways there are to exchange the labels of the rows."""
        if self.moments.merged:
            return np.inf
        return num_relabellings(self.moments.units, self.units_half)

    @property
    def merged_rows(self) -> bool:
        """Whether units hold several independent rows, whose labels then cannot be exchanged one by one."""
        return self.moments.merged and (not self.paired or self.pairing.rows_as_groups)

    def chance_apart(self) -> np.ndarray:
        """How much of the squared distance of the means is chance, [columns]; for columns that are no null.

        The squares of each group's share in the difference: without them products of distinct groups remain,
        whose mean is the squared distance of the laws' means, but for a factor 1 - 1/n.
        """
        points, x, y = self.moments.units.points, self.units.x, self.units.y
        square = np.einsum("ud,ud->u", points, points)
        found = (x**2 + y**2).T @ square
        if self.paired and not self.pairing.rows_as_groups:
            i, j = self.moments.units.pairs.T
            found -= 2 * (x[i] * y[j]).T @ np.einsum("ud,ud->u", points[i], points[j])
        return found

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Means of all rows of x and of y on every resample, [columns, d] each."""
        points = self.moments.units.points
        x, y = self.units.x.T @ points, self.units.y.T @ points
        if self.merged_rows:
            relabelled = slice(1, 1 + self.units.relabelled)
            x[relabelled], y[relabelled] = self._relabelled_means(x[0], y[0])
        return x, y

    def _relabelled_means(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means without a gap, [relabelled, d] each, where units hold several rows.

        Of few rows, the differences of the relabelled sample's means, scaled to all rows: a difference of
        means of n and m rows has a covariance in proportion to 1/n + 1/m. Of many rows on both sides, by the
        central limit theorem, sums of all units with random signs, which have the same covariance.
        """
        of_x, of_y = self.moments.coincidence
        share = of_x / (of_x + of_y)
        pooled = (1 - share) * x + share * y
        if min(self.all_rows) >= _MANY:
            units, weight = self.moments.units, self.moments.units.x + self.moments.units.y
            signs = self.random(8).choice([-1.0, 1.0], (self.units.relabelled, len(weight)))
            difference = (signs * weight) @ (units.points - pooled)
        else:
            chosen = slice(1, 1 + self.resamples.relabelled)
            difference = (self.resamples.x - self.resamples.y)[:, chosen].T @ self.rows.points
            sampled = np.sum(self.rows.x**2) + np.sum(self.rows.y**2)
            difference *= np.sqrt((of_x + of_y) / sampled)
        return pooled + share * difference, pooled - (1 - share) * difference

    def random(self, stream: int) -> np.random.Generator:
        """Random numbers of a stream of their own, so that no section changes another's."""
        return np.random.default_rng([self.options["seed"], stream])


def study(
    x: Embeddings, y: Embeddings, plan: Pairing, read: streamed.Moments, options: dict[str, Any]
) -> Study:
    """Draw the sample and the resamples."""
    seed, relabelled, drawn = (options[name] for name in ("seed", "n_permutations", "n_bootstrap"))
    block = plan.take(plan.sample(options["max_rows"], np.random.default_rng([seed, 0])))
    rows = table(unit(x.rows(block.x)), unit(y.rows(block.y)), block)
    if not enough_for_intervals(plan):
        drawn = 0
    # The same coins for both: where they hold the same groups, their nulls belong together.
    first = [halves(t, np.random.default_rng([seed, 3])) for t in (read.units, rows)]
    units, resamples = (
        resample(t, part, relabelled, drawn, np.random.default_rng([seed, 1]))
        for t, part in zip((read.units, rows), first, strict=True)
    )
    cosine = rows.points @ rows.points.T
    return Study(x, y, plan, read, units, rows, first[0], first[1], resamples, cosine, options)


def enough_for_intervals(plan: Pairing) -> bool:
    """Whether there are enough independent groups to draw them anew."""
    fewest = plan.effective_groups if plan.paired else min(plan.items)
    return fewest >= MIN_FOR_INTERVAL and not plan.rows_as_groups


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of unit norm in float64: distances within a narrow cone are smaller than float32's rounding."""
    rows = rows.astype(float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measured(
    name: str,
    section: str,
    draws: Draws,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    *,
    grows: bool = False,
    interval: tuple[float, float] | None = None,
    why_not: str = "it is not finite on these rows",
    **fields: Any,
) -> Metric:
    """A metric with null and interval from its draws.

    Args:
        name: of the metric.
        section: of the report.
        draws: value, null and bootstrap.
        bounds: range of the statistic.
        grows: whether the number changes with the number of rows, so that no interval from these rows can
            say where it lies for more: it has a standard error at this number of rows instead.
        interval: its 95 % interval, where the draws' own would be wrong.
        why_not: why the value is not finite, where it is not.
        fields: the rest of the metric.
    """
    if not np.isfinite(draws.value):
        return Metric(name=name, section=section, value=np.nan, reason=why_not, **fields)
    if grows:
        error = draws.bootstrap.std(ddof=1) if len(draws.bootstrap) > 1 else np.nan
        fields |= {"error": float(error)}
    else:
        low, high = draws.interval(*bounds) if interval is None else interval
        # minimum and maximum pass NaN on, for no interval
        fields |= {
            "low": float(np.minimum(low, draws.value)),
            "high": float(np.maximum(high, draws.value)),
        }
    if len(draws.null) and np.isfinite(draws.null).all():
        fields |= {
            "null": "relabelled",
            "null_mean": float(draws.null.mean()),
            "null_sd": float(draws.null.std()),
        }
    elif len(draws.null):
        fields |= {"reason": "it is not finite on some relabelling of these rows"}
    return Metric(name=name, section=section, value=draws.value, **fields)


def without_null(draws: Draws) -> Draws:
    """The same draws; for numbers that a relabelling does not bear on."""
    return draws._replace(null=np.zeros(0))
