"""Measurement of one correction on held-out rows: one row of a comparison's table."""

from typing import NamedTuple

import numpy as np

from ctflow.corrections.correction import Correction
from ctflow.corrections.csls import Csls
from ctflow.corrections.scores import Held, Moved, Value, by_chance, measured, moved
from ctflow.embeddings.diagnosis import two_sample
from ctflow.embeddings.diagnosis.resampling import Rows, as_they_are, halves, resample, table

_SHUFFLES = 200


class Outcome(NamedTuple):
    """The result of one method."""

    method: str
    strength: float | None
    row: dict[str, float]
    """Numbers of the table by column; empty if the method failed."""
    values: dict[str, Value]
    """Means over queries with their influences, by column; empty if the method failed."""
    failed: str
    """Why the method failed; empty if it did not."""


class Measure:
    """Measures corrections on held-out rows; all corrections share the same random relabellings."""

    def __init__(self, held: Held, n_permutations: int, seed: int):
        self.held, self.chance = held, by_chance(held)
        rows, rng = self._rows(held.x.astype(float), held.y.astype(float)), np.random.default_rng(seed)
        self._resamples = resample(rows, halves(rows, rng), n_permutations, 0, rng)

    def _rows(self, x: np.ndarray, y: np.ndarray) -> Rows:
        return table(x, y, self.held.block)

    def __call__(self, fitted: Correction | Csls) -> tuple[dict[str, float], dict[str, Value]]:
        """Numbers for a row of the table, and those among them that are means over queries.

        Raises:
            ValueError: a number is not finite, or the image of a row has no direction.
        """
        where = moved(fitted, self.held)
        values = measured(where.scores, self.held)
        row = {**self._geometry(where), **{name: value.mean for name, value in values.items()}}
        row["mixing"] = (row["mixing_x"] + row["mixing_y"]) / 2
        bad = [name for name, value in row.items() if not np.isfinite(value)]
        if bad:
            raise ValueError(f"{fitted.method} gives NaN or infinity as {bad[0]} on held-out rows")
        return row, values

    def _geometry(self, where: Moved) -> dict[str, float]:
        rows = self._rows(where.x, where.y)
        distance = two_sample.distances(where.cosine)
        energy = self._resamples.draws(two_sample.energy_distance(distance, rows, self._resamples, "u"))
        spread = two_sample.mean_forms(np.exp(-2 * distance**2), rows, as_they_are(rows), "u")
        partners = rows.points[rows.pairs[:, 0]] - rows.points[rows.pairs[:, 1]]
        return {
            "centroid_gap": float(np.linalg.norm((rows.x - rows.y) @ rows.points)),
            "energy_distance": energy.value,
            "energy_distance_null": float(energy.null.mean()),
            "energy_distance_null_sd": float(energy.null.std()),
            "alignment": float(rows.pair_weight @ np.sum(partners**2, axis=1)),
            "uniformity": float(np.mean(np.log(spread[:2]))),
        }


def pairs_beyond_chance(none: Outcome, measure: Measure, seed: int) -> tuple[float, float, float]:
    """Mean cosine of partners, and its mean and standard deviation after shuffling the partners."""
    rows = table(measure.held.x.astype(float), measure.held.y.astype(float), measure.held.block)
    first, second = rows.pairs.T
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(second, (_SHUFFLES, 1)), axis=1)
    drawn = (rows.points @ rows.points.T)[first, shuffled] @ rows.pair_weight
    return 1 - none.row["alignment"] / 2, float(drawn.mean()), float(drawn.std())
