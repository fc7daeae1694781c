"""What a diagnosis measures from: all rows in units, a sample of rows, and resamples of both."""

from typing import Any, NamedTuple

import numpy as np

from ctflow.diagnostics import moments as streamed
from ctflow.diagnostics.pairing import Pairing
from ctflow.diagnostics.report import Metric
from ctflow.diagnostics.resampling import Draws, Resamples, Rows, resample, table
from ctflow.embeddings import Embeddings


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
    resamples: Resamples
    cosine: np.ndarray
    """[N, N] of the sample."""
    options: dict[str, Any]

    @property
    def all_rows(self) -> tuple[int, int]:
        """Rows of x and of y that were read."""
        return self.pairing.shape

    @property
    def paired(self) -> bool:
        """Whether rows have partners."""
        return len(self.rows.pairs) > 0

    def random(self, stream: int) -> np.random.Generator:
        """Random numbers of a stream of their own, so that no section changes another's."""
        return np.random.default_rng([self.options["seed"], stream])


def study(
    x: Embeddings, y: Embeddings, plan: Pairing, read: streamed.Moments, options: dict[str, Any]
) -> Study:
    """Draw the sample and the resamples."""
    seed, relabelled, drawn = (options[name] for name in ("seed", "n_permutations", "n_bootstrap"))
    block = plan.take(plan.sample(options["max_rows"], np.random.default_rng([seed, 0])))
    rows = table(x.rows(block.x).astype(float), y.rows(block.y).astype(float), block)
    # The same coins for both: where they hold the same groups, their nulls belong together.
    units, resamples = (
        resample(t, relabelled, drawn, np.random.default_rng([seed, 1])) for t in (read.units, rows)
    )
    return Study(x, y, plan, read, units, rows, resamples, rows.points @ rows.points.T, options)


def measured(
    name: str, section: str, draws: Draws, bounds: tuple[float, float] = (-np.inf, np.inf), **fields: Any
) -> Metric:
    """A metric with null and interval from its draws; `fields` are the rest of it."""
    low, high = draws.interval(*bounds)
    if len(draws.null):
        fields |= {
            "null": "relabelled",
            "null_mean": float(draws.null.mean()),
            "null_sd": float(draws.null.std()),
        }
    return Metric(name=name, section=section, value=draws.value, low=low, high=high, **fields)


def without_null(draws: Draws) -> Draws:
    """The same draws; for numbers that a relabelling does not bear on."""
    return draws._replace(null=np.zeros(0))
