"""The data that a diagnosis measures: all rows merged into units, a sample of rows, and resamples of both."""

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
from ctflow.embeddings.diagnosis.settings import Settings
from ctflow.embeddings.names import LETTERS
from ctflow.embeddings.pairing import Block, Pairing

_MANY = 500
MIN_FOR_INTERVAL = 20
"""Smallest number of independent groups, or of unpaired rows of either cloud, that gets intervals."""


class Study(NamedTuple):
    """The input of every section of a report."""

    x: Embeddings
    y: Embeddings
    pairing: Pairing
    moments: streamed.Moments
    units: Resamples
    """Resamples of all rows, merged into units."""
    rows: Rows
    """A sample of rows, for sums over all pairs of rows."""
    block: Block
    """The row numbers of the sample."""
    units_half: np.ndarray
    """[groups of the units] whether a group is in the first half; each half is relabelled separately."""
    first_half: np.ndarray
    """[groups of the sample] whether the separator is fitted on a group; the others are held out."""
    resamples: Resamples
    cosine: np.ndarray
    """[N, N] cosines of the sample."""
    settings: Settings
    names: tuple[str, str]
    """Names of the modalities, for texts."""

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
        """Number of ways to exchange the labels of the rows; infinity if units were merged."""
        if self.moments.merged:
            return np.inf
        return num_relabellings(self.moments.units, self.units_half)

    @property
    def merged_rows(self) -> bool:
        """Whether units hold several independent rows, so that labels cannot be exchanged row by row."""
        return self.moments.merged and (not self.paired or self.pairing.rows_as_groups)

    def chance_apart(self) -> np.ndarray:
        """The part of the squared distance of the means that is due to chance, [columns]; not for the null.

        It is the sum of the squares of the groups' contributions to the difference. Without them only
        products of distinct groups remain, with mean (1 - 1/n) times the squared distance of the laws' means.
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
        """Means without a gap, [relabelled, d] each, for units that hold several rows.

        If a modality has few rows, their difference is that of the relabelled sample, scaled to all rows: for
        n and m rows the covariance is proportional to 1/n + 1/m. If both have many, it is a sum of all units
        with random signs, which has the same covariance and is normal by the central limit theorem.
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
        """A random generator for one numbered stream, so that sections do not affect each other."""
        return np.random.default_rng([self.settings.seed, stream])


def study(
    x: Embeddings,
    y: Embeddings,
    plan: Pairing,
    read: streamed.Moments,
    settings: Settings,
    names: tuple[str, str] = LETTERS,
) -> Study:
    """Draw the sample of rows and the resamples of units and sample."""
    seed, relabelled, drawn = settings.seed, settings.n_permutations, settings.n_bootstrap
    block = plan.take(plan.sample(settings.max_rows, np.random.default_rng([seed, 0])))
    rows = table(unit(x.rows(block.x)), unit(y.rows(block.y)), block)
    if not enough_for_intervals(plan):
        drawn = 0
    # Both use the same random numbers: if they hold the same groups, they get the same relabellings.
    first = [halves(t, np.random.default_rng([seed, 3])) for t in (read.units, rows)]
    units, resamples = (
        resample(t, part, relabelled, drawn, np.random.default_rng([seed, 1]))
        for t, part in zip((read.units, rows), first, strict=True)
    )
    cosine = rows.points @ rows.points.T
    halved = first[0], first[1]
    return Study(x, y, plan, read, units, rows, block, *halved, resamples, cosine, settings, names)


def enough_for_intervals(plan: Pairing) -> bool:
    """Whether there are enough independent groups, or unpaired rows, for a bootstrap."""
    fewest = plan.effective_groups if plan.paired else min(plan.items)
    return fewest >= MIN_FOR_INTERVAL and not plan.rows_as_groups


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of unit norm in float64, because distances in a narrow cone can be below float32's rounding."""
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
    """A metric whose null, and interval or error, come from its draws.

    Args:
        name: name of the metric.
        section: section of the report.
        draws: value, null and bootstrap.
        bounds: range of the statistic.
        grows: whether the number changes with the number of rows. Then it gets no interval, but a standard
            error at this number of rows.
        interval: the 95 % interval to use instead of that of the draws, which would be wrong.
        why_not: the reason to report if the value is not finite.
        fields: the other fields of the metric.
    """
    if not np.isfinite(draws.value):
        return Metric(name=name, section=section, value=np.nan, reason=why_not, **fields)
    if grows:
        fields |= {"error": _scatter(draws.bootstrap, ddof=1) if len(draws.bootstrap) > 1 else np.nan}
    else:
        low, high = draws.interval(*bounds) if interval is None else interval
        # np.minimum and np.maximum propagate NaN, which stands for no interval.
        fields |= {
            "low": float(np.minimum(low, draws.value)),
            "high": float(np.maximum(high, draws.value)),
        }
    if len(draws.null) and np.isfinite(draws.null).all():
        fields |= {
            "null": "relabelled",
            "null_mean": float(draws.null.mean()),
            "null_sd": _scatter(draws.null),
        }
    elif len(draws.null):
        fields |= {"reason": "it is not finite on some relabelling of these rows"}
    return Metric(name=name, section=section, value=draws.value, **fields)


def _scatter(values: np.ndarray, ddof: int = 0) -> float:
    """Standard deviation; 0 for draws that agree up to the rounding of a mean."""
    found = float(values.std(ddof=ddof))
    return 0.0 if found < 1e-12 * float(np.abs(values).max()) else found


def without_null(draws: Draws) -> Draws:
    """The draws without their null, for numbers that a relabelling says nothing about."""
    return draws._replace(null=np.zeros(0))
