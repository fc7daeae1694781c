"""Alignment potentials U(z) on the sphere: low where representations are pulled to.

A potential maps points [..., d] to values [...]. Where U is zonal, a function of ⟨z, a⟩ alone, it says so
by its `symmetry_axis` a.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow._pytree import positive, pytree, static
from ctflow.checks import is_concrete
from ctflow.clouds import check_cloud, check_weights


class PotentialBase:
    """Base of potentials: `__call__` on points [..., d], and `symmetry_axis` where U is zonal."""

    def __call__(self, z: Float[Array, "... d"]) -> Float[Array, "..."]:
        """U(z)."""
        raise NotImplementedError

    @property
    def symmetry_axis(self) -> np.ndarray | None:
        """Unit vector a [d] with U a function of ⟨z, a⟩ alone, or None."""
        return None


@pytree
class VonMisesFisherMixture(PotentialBase):
    """U(z) = -(1/κ) log Σ_k p_k exp(κ⟨z, m_k⟩): one well at each mean.

    Args:
        means: unit vectors [k, d].
        concentration: κ > 0; the larger, the more separate the wells.
        weights: p [k], >= 0 and summing to 1; equal by default.
    """

    means: Float[Array, "k d"]
    _: KW_ONLY
    concentration: float = positive()
    weights: Float[Array, " k"] | None = None

    def __post_init__(self):
        if isinstance(self.means, np.ndarray | jax.Array | list) and is_concrete(self.means):
            object.__setattr__(self, "means", check_cloud("means", self.means))
        if isinstance(self.weights, np.ndarray | list):
            k = len(self.means)
            object.__setattr__(self, "weights", check_weights("weights", self.weights, k))

    def __call__(self, z):
        """U(z) for points [..., d]."""
        scores = self.concentration * jnp.matmul(z, self.means.T.astype(z.dtype), precision="highest")
        p = jnp.full(self.means.shape[0], 1 / self.means.shape[0]) if self.weights is None else self.weights
        p = jnp.broadcast_to(p.astype(z.dtype), scores.shape)
        return -jax.nn.logsumexp(scores, b=p, axis=-1) / self.concentration

    @property
    def symmetry_axis(self):
        """The mean, if there is only one."""
        return np.asarray(self.means[0]) if self.means.shape[0] == 1 else None


@pytree
class Linear(PotentialBase):
    """U(z) = -⟨z, direction⟩. Its Gibbs measure is von Mises-Fisher with κ = ‖direction‖/τ."""

    direction: Float[Array, " d"]

    def __call__(self, z):
        """U(z) for points [..., d]."""
        return -jnp.matmul(z, jnp.asarray(self.direction, z.dtype), precision="highest")

    @property
    def symmetry_axis(self):
        """The direction, normalised (any axis, if it is zero)."""
        return _unit(self.direction)


@pytree
class Ring(PotentialBase):
    """U(z) = ½·stiffness·(⟨z, axis⟩ - level)²: a flat valley, the parallel at height `level`.

    Args:
        axis: unit vector [d] through the centre of the ring.
        level: height of the ring along the axis, in (-1, 1); 0 is the equator.
        stiffness: > 0.
    """

    axis: Float[Array, " d"]
    _: KW_ONLY
    level: float = 0.0
    stiffness: float = positive(default=1.0)

    def __post_init__(self):
        if isinstance(self.axis, np.ndarray | jax.Array | list) and is_concrete(self.axis):
            object.__setattr__(self, "axis", check_cloud("axis[None]", jnp.asarray(self.axis)[None])[0])
        if isinstance(self.level, int | float) and not -1 < self.level < 1:
            raise ValueError(f"level must lie in (-1, 1), got {self.level}")

    def __call__(self, z):
        """U(z) for points [..., d]."""
        height = jnp.matmul(z, jnp.asarray(self.axis, z.dtype), precision="highest")
        return self.stiffness * (height - self.level) ** 2 / 2

    @property
    def symmetry_axis(self):
        """The ring's axis."""
        return np.asarray(self.axis)


@pytree
class Function(PotentialBase):
    """Any function from one point [d] to a number, as a potential on points [..., d]."""

    fn: Callable[[Any], Any] = static()

    def __call__(self, z):
        """U(z) for points [..., d]."""
        return jnp.vectorize(self.fn, signature="(d)->()")(z)


def as_potential(potential: Any) -> Any:
    """Pass potentials through and wrap any other callable (a function of one point [d]) in `Function`."""
    if isinstance(potential, PotentialBase) or not callable(potential):
        return potential
    return Function(potential)


def _unit(direction: Any) -> np.ndarray:
    v = np.asarray(direction, dtype=np.float64)
    norm = np.linalg.norm(v)
    return v / norm if norm > 0 else np.eye(v.shape[0])[-1]
