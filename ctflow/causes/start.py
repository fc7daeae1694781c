"""The difference of the means and its chance level, now and at an early checkpoint."""

from typing import NamedTuple

import numpy as np

from ctflow.causes.batch import rows_of
from ctflow.embeddings import Embeddings
from ctflow.embeddings.pairing import Block

SAME = 0.5
"""Least cosine between two differences of means for which they count as the same gap."""


class Start(NamedTuple):
    """The gap of an early checkpoint beside that of the rows now.

    Attributes:
        gap: centroid gap at the start.
        now: centroid gap now.
        null: root mean square of a centroid gap that is due to chance at the start.
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


def start_of(early: tuple[Embeddings, Embeddings], now: tuple[Embeddings, Embeddings], block: Block) -> Start:
    """Compare the differences of the means at the start and now, over the rows of a block.

    Raises:
        ValueError: the early checkpoint has another number of rows.
    """
    for before, after in zip(early, now, strict=True):
        if len(before) != len(after):
            raise ValueError(
                f"start must hold the same rows at an earlier time, got {len(before)} rows in {before.name} "
                f"and {len(after)} in {after.name}"
            )
    (then, null), (here, null_now) = (difference(*rows_of(*pair, block), block) for pair in (early, now))
    sizes = np.linalg.norm(then), np.linalg.norm(here)
    cosine = np.nan
    if then.shape == here.shape and min(sizes) > 0:
        cosine = float(then @ here / (sizes[0] * sizes[1]))
    return Start(float(sizes[0]), float(sizes[1]), null, null_now, cosine)


def difference(x: np.ndarray, y: np.ndarray, block: Block) -> tuple[np.ndarray, float]:
    """The difference of the means [d] over the pairs of a block, and the size it has by chance.

    The latter is the root mean square of its norm where each group of pairs exchanges its two modalities
    with probability ½, as in a diagnosis: √(Σ_g ‖Σ_{e in g} w_e (x_e - y_e)‖²).

    Args:
        x: unit rows [a, d] of the block.
        y: unit rows [b, d] of the block.
        block: weights, groups and pairs.
    """
    i, j = block.pairs.T
    each = (block.pair_weight / block.pair_weight.sum())[:, None] * (x[i] - y[j])
    group = np.unique(block.x_group[i], return_inverse=True)[1]
    groups = np.zeros((int(group.max()) + 1, each.shape[1]))
    np.add.at(groups, group, each)
    return each.sum(axis=0), float(np.sqrt(np.sum(groups**2)))
