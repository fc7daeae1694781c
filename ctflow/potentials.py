"""Alignment potentials U(z) on the sphere: representations are pulled to where U is low.

A potential maps points [..., d] to values [...]. If U is zonal, that is, a function of ⟨z, a⟩ alone, then
its `symmetry_axis` is a.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_numbers, is_concrete
from ctflow._base.pytree import Registered, check_registered, positive, static
from ctflow.clouds import check_cloud, check_weights

__all__ = [
    "Function",
    "Linear",
    "Potential",
    "PotentialBase",
    "Ring",
    "VonMisesFisherMixture",
    "as_potential",
]


class PotentialBase(Registered, abstract=True):
    """Base class of potentials: `__call__` on points [..., d], and `symmetry_axis` if U is zonal."""

    def __call__(self, z: Float[AnyArray, "... d"]) -> Any:
        """U(z) for points [..., d]."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(points)")

    def check(self) -> None:
        """Raise ValueError if a parameter given as a JAX array is out of range."""

    @property
    def symmetry_axis(self) -> np.ndarray | None:
        """Unit vector a [d] such that U is a function of ⟨z, a⟩ alone, or None."""
        return None


Potential = PotentialBase
"""Alias of `PotentialBase`, exported as `ct.Potential`."""


_FEW = 16
"""Numbers in the means of a mixture up to which cosines are summed one by one."""


class VonMisesFisherMixture(PotentialBase):
    """U(z) = -(1/κ) log Σ_k p_k exp(κ⟨z, m_k⟩), with one well at each mean.

    Args:
        means: unit vectors m_k, [k, d].
        concentration: κ > 0; a larger κ makes the wells narrower and more separate.
        weights: p [k], >= 0 and summing to 1; equal by default.
    """

    means: Float[AnyArray, "k d"]
    _: KW_ONLY
    concentration: Real = positive()
    weights: Float[AnyArray, " k"] | list[float] | None = None

    def __post_init__(self):
        if isinstance(self.means, np.ndarray | list | tuple):
            object.__setattr__(self, "means", check_cloud("means", _rounded(self.means)))
        if isinstance(self.weights, np.ndarray | list | tuple):
            w = check_weights("weights", _rounded(self.weights), len(self.means), self.means.dtype)
            object.__setattr__(self, "weights", w)

    def check(self):
        """Raise ValueError unless the means are on the sphere and the weights are probabilities."""
        check_cloud("means", _rounded(self.means))
        if self.weights is not None:
            check_weights("weights", _rounded(self.weights), len(self.means), self.means.dtype)

    def __call__(self, z):
        """U(z) for points [..., d]."""
        means = self.means.astype(z.dtype)
        if means.size <= _FEW:  # a matrix product this thin is slow in float32 on a CPU
            cosine = jnp.sum(z[..., None, :] * jnp.expand_dims(means, tuple(range(z.ndim - 1))), axis=-1)
        else:
            cosine = jnp.matmul(z, means.T, precision="highest")
        scores = self.concentration * cosine
        p = jnp.full(self.means.shape[0], 1 / self.means.shape[0]) if self.weights is None else self.weights
        p = jnp.broadcast_to(jnp.asarray(p, z.dtype), scores.shape)
        return -jax.nn.logsumexp(scores, b=p, axis=-1) / self.concentration

    @property
    def symmetry_axis(self):
        """The mean if there is only one, else None."""
        return np.asarray(self.means[0]) if self.means.shape[0] == 1 else None


class Linear(PotentialBase):
    """U(z) = -⟨z, direction⟩. Its Gibbs measure is von Mises-Fisher with κ = ‖direction‖/τ.

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> potential = ct.potentials.Linear(jnp.array([0.0, 0.0, 2.0]))
        >>> potential(jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])).tolist()
        [-2.0, 2.0]
    """

    direction: Float[AnyArray, " d"]

    def check(self):
        """Raise ValueError unless the direction is a finite vector."""
        _check_vector("direction", self.direction)

    def __call__(self, z):
        """U(z) for points [..., d]."""
        return -jnp.matmul(z, jnp.asarray(self.direction, z.dtype), precision="highest")

    @property
    def symmetry_axis(self):
        """The normalised direction; the last basis vector if the direction is zero."""
        return _unit(self.direction)


class Ring(PotentialBase):
    """U(z) = ½·stiffness·e^{2⟨z, narrowing⟩}·(⟨z, axis⟩ - level)²: a flat valley at height `level`.

    At low temperature the Gibbs law concentrates on the valley, with a density there that is proportional to
    the valley's width, ∝ e^{-⟨z, narrowing⟩}: uniform without `narrowing`, von Mises-Fisher with it.

    Args:
        axis: unit vector [d] through the centre of the ring.
        level: height of the ring along the axis, in (-1, 1); 0 is the equator.
        stiffness: > 0; a larger value makes the valley narrower.
        narrowing: vector [d]; the valley becomes narrower in its direction. None means a constant width.
    """

    axis: Float[AnyArray, " d"]
    _: KW_ONLY
    level: Real = 0.0
    stiffness: Real = positive(default=1.0)
    narrowing: Float[AnyArray, " d"] | None = None

    def __post_init__(self):
        if isinstance(self.axis, np.ndarray | list | tuple):
            axis = np.asarray(self.axis, dtype=np.float64)
            object.__setattr__(self, "axis", check_cloud("axis[None]", _rounded(axis[None]))[0])
        if isinstance(self.level, int | float):
            self._check_level()

    def _check_level(self):
        if not -1 < self.level < 1:
            raise ValueError(f"level must lie in (-1, 1), got {self.level}")

    def check(self):
        """Raise ValueError unless `axis` is a unit vector, -1 < `level` < 1 and `narrowing` is finite."""
        _check_vector("axis", self.axis)
        check_cloud("axis[None]", _rounded(self.axis[None]))
        if is_concrete(self.level):
            self._check_level()
        if self.narrowing is not None:
            _check_vector("narrowing", self.narrowing)

    def __call__(self, z):
        """U(z) for points [..., d]."""
        height = jnp.matmul(z, jnp.asarray(self.axis, z.dtype), precision="highest")
        valley = self.stiffness * (height - self.level) ** 2 / 2
        if self.narrowing is None:
            return valley
        return valley * jnp.exp(2 * jnp.matmul(z, jnp.asarray(self.narrowing, z.dtype), precision="highest"))

    @property
    def symmetry_axis(self):
        """The ring's axis, or None with `narrowing`."""
        return np.asarray(self.axis) if self.narrowing is None else None


class Function(PotentialBase):
    """A potential on points [..., d], given by any function from one point [d] to a number."""

    fn: Callable[[Any], Any] = static()

    def __call__(self, z):
        """U(z) for points [..., d].

        Raises:
            ValueError: the function does not return a scalar.
        """
        return jnp.vectorize(self._scalar, signature="(d)->()")(z)

    def _scalar(self, point):
        value = self.fn(point)
        number = isinstance(value, int | float | np.generic | np.ndarray | jax.Array)
        if not number or jnp.shape(value) != ():
            found = f"shape {jnp.shape(value)}" if number else type(value).__name__
            raise _NotAScalarError(
                f"potential must return a scalar for one point [d], got {found}; return value[0] of an array "
                f"with one entry, or jnp.sum of several"
            )
        return value


class _NotAScalarError(ValueError):
    """A function given as a potential does not return a scalar."""


def as_potential(potential: Any) -> Any:
    """Return a potential unchanged; wrap any other callable (a function of one point [d]) in `Function`."""
    if isinstance(potential, PotentialBase) or not callable(potential):
        return potential
    return Function(potential)


def _rounded(parameter: Any) -> Any:
    """A parameter in JAX's precision. There is no warning, because it is cast to the points' dtype later."""
    try:
        return jnp.asarray(parameter)
    except (TypeError, ValueError):
        return parameter  # the check that follows refuses it


def check_potential(potential: Any, d: int) -> None:
    """Raise ValueError unless `potential` is a potential with parameters in range that accepts points [d]."""
    check_parameters(potential)
    check_registered("potential", potential)
    jax.eval_shape(partial(evaluate, potential), jax.ShapeDtypeStruct((1, d), jnp.zeros(()).dtype))


def check_parameters(potential: Any) -> None:
    """Raise ValueError unless `potential` is a potential with parameters in range."""
    if not isinstance(potential, PotentialBase):
        raise ValueError(f"potential must be of ct.potentials or a function of one point, got {potential!r}")
    check_numbers(potential)
    potential.check()


def evaluate(potential: Any, z: Float[AnyArray, "n d"]) -> Float[Array, " n"]:
    """Return U(z_i) at n points, or raise a ValueError if U does not give n real numbers there."""
    try:
        values = potential(z)
    except _NotAScalarError:
        raise
    except Exception as error:
        raise ValueError(
            f"potential cannot be evaluated at points of dimension {z.shape[1]}: {error}"
        ) from error
    if jnp.shape(values) != (z.shape[0],):
        raise ValueError(
            f"potential must return one number per point, shape ({z.shape[0]},) for points {z.shape}, "
            f"got shape {jnp.shape(values)}"
        )
    if jnp.iscomplexobj(values):
        raise ValueError(f"potential must return real numbers, got {values.dtype}; take jnp.real of them")
    return values


def _check_vector(name: str, vector: Any) -> None:
    """Raise ValueError unless `vector` is traced or a finite vector [d]."""
    if is_concrete(vector):
        v = np.asarray(vector)
        if v.ndim != 1 or v.dtype.kind not in "fiu" or not np.isfinite(v).all():
            raise ValueError(f"{name} must be a finite vector [d], got {vector!r}")


def _unit(direction: Any) -> np.ndarray:
    v = np.asarray(direction, dtype=np.float64)
    norm = np.linalg.norm(v)
    return v / norm if norm > 0 else np.eye(v.shape[0])[-1]
