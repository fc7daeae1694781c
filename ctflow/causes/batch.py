"""Rows of a user as two clouds with their coupling: one batch of pairs, and the energy that it trains on."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ctflow import couplings
from ctflow.clouds import Pair, WeightedCloud
from ctflow.diagnostics import retrieval
from ctflow.embeddings import Embeddings
from ctflow.embeddings.pairing import Pairing, is_counted, likeliest
from ctflow.energies import Symmetric


class Batch(NamedTuple):
    """Rows of two modalities and the law of their pairs.

    Attributes:
        clouds: a `ct.Pair` of points [n, d] and [m, d]; weighted if rows have several partners.
        energy: J^Sym of the pairs at the user's temperature.
        pairs: [p, 2] positions of partners in the clouds.
        weights: [p] probabilities of the pairs.
        group: [p] number of the group that each pair belongs to; groups are independent of one another.
        log_size: log of the number of entries in the batch, one per pair; I(π) for a coupling whose weights
            are probabilities.
        information: I(π), in nats.
        rows: numbers of rows in the user's files, [n] and [m].
    """

    clouds: Any
    energy: Symmetric
    pairs: np.ndarray
    weights: np.ndarray
    group: np.ndarray
    log_size: float
    information: float
    rows: tuple[np.ndarray, np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m), the numbers of rows."""
        return self.energy.coupling.shape

    @property
    def d(self) -> int:
        """Dimension of the rows."""
        return points_of(self.clouds)[0].shape[1]

    @property
    def log_volume(self) -> float:
        """Log V of the kernel: J^Sym + log V + log N is the in-batch loss."""
        return float(self.energy.kernel.log_volume(self.d))

    def loss_of(self, energy: Any) -> np.ndarray:
        """The in-batch loss, in nats, >= 0 but for rounding, for values of J^Sym."""
        return np.maximum(np.asarray(energy, float) + (self.log_volume + self.log_size), 0.0)

    @property
    def least_loss(self) -> float:
        """The loss below which no placement of the rows can go: log N - I(π) >= 0."""
        return self.log_size - self.information

    def recall(self, clouds: Any) -> float:
        """Recall@1, the mean of both directions, in [0, 1]; ties count with their expected value."""
        x, y = (np.asarray(z) for z in points_of(clouds))
        found = []
        for queries, gallery, column in ((x, y, 0), (y, x, 1)):
            partners = self.pairs
            if not is_uniform(self.weights):
                partners = likeliest(self.pairs, self.weights, column)
            ordered = partners if column == 0 else partners[:, ::-1]
            found.append(retrieval.hits(queries, gallery, (1,), ordered)[1].mean())
        return float(np.mean(found))


def batch_of(
    x: Embeddings, y: Embeddings, plan: Pairing, count: int, temperature: float, rng: np.random.Generator
) -> Batch:
    """A batch of at most `count` groups of the user's pairs, drawn at random.

    Rows that have no partner among the drawn rows are left out.

    Args:
        x: rows of the first modality.
        y: rows of the second modality.
        plan: their pairs.
        count: largest number of groups.
        temperature: τ > 0 of the loss.
        rng: source of random numbers.
    """
    block = plan.take(plan.sample(count, rng))
    kept, place = zip(*(np.unique(side, return_inverse=True) for side in block.pairs.T), strict=True)
    rows = block.x[kept[0]], block.y[kept[1]]
    pairs = np.column_stack(place)
    weights = block.pair_weight / block.pair_weight.sum()
    shape = len(rows[0]), len(rows[1])
    p, q = (np.bincount(side, weights, size) for side, size in zip(pairs.T, shape, strict=True))
    information = float(weights @ np.log(weights / (p[pairs[:, 0]] * q[pairs[:, 1]])))
    log_size = float(np.log(block.pair_weight.sum())) if is_counted(block) else information
    group = np.unique(block.x_group[block.pairs[:, 0]], return_inverse=True)[1]
    points = [jnp.asarray(z.rows(chosen)) for z, chosen in zip((x, y), rows, strict=True)]
    dtype = points[0].dtype
    points = [z.astype(dtype) for z in points]
    i, j = pairs.T
    coupling = couplings.from_pairs(i, j, weights, shape=shape, dtype=dtype)
    x_cloud, y_cloud = (_cloud(z, w) for z, w in zip(points, (p, q), strict=True))
    clouds = Pair(x_cloud, y_cloud)
    energy = Symmetric(coupling, temperature=temperature, method="tiled")
    return Batch(clouds, energy, pairs, weights, group, log_size, information, rows)


def _cloud(points: Any, weights: np.ndarray) -> Any:
    if is_uniform(weights):
        return points
    return WeightedCloud(points, jnp.asarray(weights / weights.sum(), points.dtype))


def is_uniform(weights: np.ndarray) -> bool:
    """Whether all weights are equal."""
    return float(np.ptp(weights)) <= 1e-12 * float(weights.max())


def points_of(clouds: Any) -> tuple[Any, Any]:
    """The points [n, d] and [m, d] of two clouds."""
    x, y = (z.points if isinstance(z, WeightedCloud) else z for z in clouds)
    return x, y


def centroids(clouds: Any) -> tuple[Any, Any]:
    """The weighted means [d] of two clouds."""
    x, y = (z.weights @ z.points if isinstance(z, WeightedCloud) else jnp.mean(z, axis=0) for z in clouds)
    return x, y
