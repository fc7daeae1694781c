"""Rows of a user as two clouds with their coupling: one batch of pairs, and the energy that it trains on."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ctflow import couplings
from ctflow.clouds import Pair, WeightedCloud
from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis.shift import recall, with_partners
from ctflow.embeddings.diagnosis.study import unit
from ctflow.embeddings.pairing import Block, Pairing, is_counted
from ctflow.energies import Symmetric


class Batch(NamedTuple):
    """Rows of two modalities and the law of their pairs.

    Attributes:
        clouds: a `ct.Pair` of points [n, d] and [m, d]; weighted if rows have several partners.
        energy: J^Sym of the pairs at the user's temperature.
        block: numbers of the rows in the user's files, their weights, groups and pairs.
        log_size: log of the number of entries in the batch, one per pair; I(π) for a coupling whose weights
            are probabilities.
        information: I(π), in nats.
    """

    clouds: Any
    energy: Symmetric
    block: Block
    log_size: float
    information: float

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m), the numbers of rows."""
        return self.energy.coupling.shape

    @property
    def d(self) -> int:
        """Dimension of the rows."""
        return points_of(self.clouds)[0].shape[1]

    def loss_of(self, energy: Any) -> Any:
        """The in-batch loss, J^Sym + log V + log N >= 0, in nats, for one or many values of J^Sym."""
        more = float(self.energy.kernel.log_volume(self.d)) + self.log_size
        return np.maximum(np.asarray(energy, float) + more, 0.0)

    @property
    def least_loss(self) -> float:
        """The loss below which no placement of the rows can go: log N - I(π) >= 0."""
        return self.log_size - self.information

    def recall(self, clouds: Any) -> float:
        """Recall@1 of the points of two clouds, the mean of both directions, in [0, 1]."""
        x, y = (np.asarray(z) for z in points_of(clouds))
        return recall(x, y, self.block)


def block_of(plan: Pairing, count: int, rng: np.random.Generator) -> Block:
    """At most `count` groups of pairs, drawn at random; rows without a partner among them are left out."""
    return with_partners(plan.take(plan.sample(count, rng)))


def rows_of(x: Embeddings, y: Embeddings, block: Block) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a block, of unit norm in float64."""
    return unit(x.rows(block.x)), unit(y.rows(block.y))


def batch_of(x: Embeddings, y: Embeddings, block: Block, temperature: float) -> Batch:
    """The rows of a block as clouds, in the precision in which they are stored.

    Args:
        x: rows of the first modality.
        y: rows of the second modality.
        block: rows with partners, of `block_of`.
        temperature: τ > 0 of the loss.
    """
    p, q, weights = (w / w.sum() for w in (block.x_weight, block.y_weight, block.pair_weight))
    i, j = block.pairs.T
    information = float(weights @ np.log(weights / (p[i] * q[j])))
    log_size = float(np.log(block.pair_weight.sum())) if is_counted(block) else information
    first, second = jnp.asarray(x.rows(block.x)), jnp.asarray(y.rows(block.y))
    coupling = couplings.from_pairs(i, j, weights, shape=(len(p), len(q)), dtype=first.dtype)
    clouds = Pair(_cloud(first, p), _cloud(second.astype(first.dtype), q))
    energy = Symmetric(coupling, temperature=temperature, method="tiled")
    return Batch(clouds, energy, block, log_size, information)


def _cloud(points: Any, weights: np.ndarray) -> Any:
    if float(np.ptp(weights)) <= 1e-12 * float(weights.max()):
        return points
    return WeightedCloud(points, jnp.asarray(weights / weights.sum(), points.dtype))


def points_of(clouds: Any) -> tuple[Any, Any]:
    """The points [n, d] and [m, d] of two clouds."""
    x, y = (z.points if isinstance(z, WeightedCloud) else z for z in clouds)
    return x, y


def centroids(clouds: Any) -> tuple[Any, Any]:
    """The weighted means [d] of two clouds."""
    x, y = (z.weights @ z.points if isinstance(z, WeightedCloud) else jnp.mean(z, axis=0) for z in clouds)
    return x, y
