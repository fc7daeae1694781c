"""The rows used to fit a correction, with their weights and moments."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ctflow.embeddings import Embeddings
from ctflow.embeddings.pairing import Block

# A cloud counts as one point if its spread is at most this many rounding errors of its dtype.
_POINT = 4


class Cloud:
    """Weighted rows [n, d] of one modality, with moments computed on first use.

    Args:
        name: name of the modality, used in messages.
        rows: unit rows [n, d], float32 or float64.
        weight: [n], > 0; normalised here to sum to 1.
    """

    def __init__(self, name: str, rows: np.ndarray, weight: np.ndarray):
        self.name, self.rounding = name, float(np.finfo(rows.dtype).eps)
        self.rows, self.weight = rows.astype(float), weight / weight.sum()

    @cached_property
    def mean(self) -> np.ndarray:
        """Weighted mean [d]; exact where all rows are equal."""
        first = self.rows[0]
        return first + self.weight @ (self.rows - first)

    @cached_property
    def centred(self) -> np.ndarray:
        """Rows minus their mean, [n, d]."""
        return self.rows - self.mean

    @cached_property
    def variance(self) -> np.ndarray:
        """Weighted variance of each coordinate, [d]."""
        return self.weight @ self.centred**2

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues [d], rounded to 0 if tiny, and eigenvectors [d, d] of the weighted covariance."""
        values, vectors = np.linalg.eigh((self.centred * self.weight[:, None]).T @ self.centred)
        return np.where(values > len(values) * 2**-52 * values[-1], values, 0), vectors

    def power(self, power: float, ridge: float) -> np.ndarray:
        """Matrix power [d, d] of the covariance after adding `ridge` times the mean variance."""
        values, vectors = self.spectrum
        return (vectors * (values + ridge * values.mean()) ** power) @ vectors.T

    def check_spread(self, method: str) -> None:
        """Raise ValueError if all rows are one point within rounding, so that no direction is left."""
        spread = float(np.sqrt(self.variance.sum()))
        if not spread > _POINT * self.rounding:
            raise ValueError(
                f"{method} needs rows that differ: those of {self.name} are all one point within rounding "
                f"(root mean square distance {spread:.1e} from their mean)"
            )


@dataclass(frozen=True)
class Sample:
    """Rows of both modalities, and the pairs among them."""

    x: Cloud
    y: Cloud
    pairs: np.ndarray
    """[p, 2] row numbers in x and y."""
    pair_weight: np.ndarray
    """[p], not normalised."""

    @cached_property
    def cross(self) -> np.ndarray:
        """Weighted cross-covariance of partners, [d, d]."""
        weight = (self.pair_weight / self.pair_weight.sum())[:, None]
        return self.x.centred[self.pairs[:, 0]].T @ (weight * self.y.centred[self.pairs[:, 1]])


def sample_of(x: Embeddings, y: Embeddings, block: Block) -> Sample:
    """Read the rows of a block into memory."""
    return Sample(
        Cloud(x.name, x.rows(block.x), block.x_weight),
        Cloud(y.name, y.rows(block.y), block.y_weight),
        block.pairs,
        block.pair_weight,
    )
