"""How much of a gap was there before training, from embeddings of an early checkpoint."""

from typing import NamedTuple

import numpy as np

from ctflow.embeddings import Embeddings

_BLOCK = 8192
SAME = 0.5
"""Least cosine between two differences of means for which they count as the same gap."""


class Start(NamedTuple):
    """The gap of an early checkpoint beside that of the rows now.

    Attributes:
        gap: centroid gap at the start.
        now: centroid gap now.
        null: root mean square of a centroid gap that is due to chance at the start, where the two modalities
            of each row are exchanged at random.
        null_now: the same now.
        cosine: of the differences of the means, start and now; NaN if the rows had another width then.
    """

    gap: float
    now: float
    null: float
    null_now: float
    cosine: float

    @property
    def share(self) -> float:
        """Centroid gap at the start as a share of the one now; may exceed 1."""
        return self.gap / self.now if self.now > 0 else np.nan


def start_of(
    early: tuple[Embeddings, Embeddings], now: tuple[Embeddings, Embeddings]
) -> Start:
    """Compare the differences of the means of all rows at the start and now.

    Raises:
        ValueError: the early checkpoint has another number of rows.
    """
    for before, after in zip(early, now, strict=True):
        if len(before) != len(after):
            raise ValueError(
                f"start must hold the same rows at an earlier time, got {len(before)} rows in {before.name} "
                f"and {len(after)} in {after.name}"
            )
    (then, null), (here, null_now) = (_difference(*pair) for pair in (early, now))
    sizes = np.linalg.norm(then), np.linalg.norm(here)
    cosine = np.nan
    if then.shape == here.shape and min(sizes) > 0:
        cosine = float(then @ here / (sizes[0] * sizes[1]))
    return Start(float(sizes[0]), float(sizes[1]), null, null_now, cosine)


def _difference(x: Embeddings, y: Embeddings) -> tuple[np.ndarray, float]:
    """The difference of the means [d], and the root mean square of one that is due to chance.

    For unit rows of means a and b, chance gives E‖x̄ - ȳ‖² = (1 - ‖a‖²)/n + (1 - ‖b‖²)/m or less.
    """
    means = []
    for z in (x, y):
        total = np.zeros(z.shape[1])
        for first in range(0, len(z), _BLOCK):
            total += z.rows(slice(first, min(first + _BLOCK, len(z)))).sum(axis=0, dtype=float)
        means.append(total / len(z))
    chance = sum(max(1 - float(mean @ mean), 0) / len(z) for mean, z in zip(means, (x, y), strict=True))
    return means[0] - means[1], float(np.sqrt(chance))
