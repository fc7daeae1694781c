"""Upper bounds on the error of a sum in harmonics, measured in every run.

The error of the field f = e^L / κ(1) has two sources; every run bounds both.

* Truncation of the kernel's series, sup|κ - κ_L|. It is measured at more than 500 angles between the nodes
  that give the coefficients. The check assumes that κ is smooth between these samples: it cannot see features
  narrower than π/512 radians, or jumps of the slope other than at 0 and π. Every kernel of `ct.kernels` is
  smooth enough; for a kernel that is not, use `method="tiled"`.
* Round-off. It is measured against direct float64 sums at pseudo-random probe points and one special point
  (forwards where f is smallest, backwards where the gradient is largest). The estimate is never less than
  the round-off expected from the size of the moments (`expected_rounding`).

Their sum, divided by the smallest f, bounds the error of L.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow.kernels import Kernel
from ctflow.partition.harmonics import Harmonics
from ctflow.partition.series import matmul, moments_of_points, relative_kernel, wide

PROBES = 16
# Round-off at any point is assumed to be at most this many times the largest at the probes.
SAFETY = 4.0
# Relative round-off of a wave of degree ℓ and of summing waves: WAVE_ERROR · eps · (ℓ + WAVE_OFFSET).
WAVE_ERROR, WAVE_OFFSET = 1.5, 4.0
# The tolerance of a gradient of L is this many times the tolerance of L.
GRADIENT_FACTOR = 10.0


class Bound(NamedTuple):
    """Upper bounds, over all points, on the error of a spectral sum; float64.

    Attributes:
        value: bound on the error of L.
        gradient: bound on the error of the tangential gradient of L, in 1/radian; 0 without a gradient.
    """

    value: Float[Array, ""]
    gradient: Float[Array, ""]


class PullBound(NamedTuple):
    """Upper bounds on the errors of a spectral backward pass, for cotangents with Σ_i |g_i| = 1; float64.

    Attributes:
        weights: error of the gradient in a weight.
        points: error of the gradient in a point y_j, divided by w_j, in 1/radian.
        kernel: error of the gradient in the logarithm of a kernel parameter (in the parameter itself if its
            value is 0); 0 if the gradient in the kernel was not requested.
    """

    weights: Float[Array, ""]
    points: Float[Array, ""]
    kernel: Float[Array, ""]


def proves(bound: Bound | PullBound, rtol: float) -> Any:
    """Whether values are within rtol, and gradients within GRADIENT_FACTOR · rtol; False for NaN."""
    with wide():
        value, gradients = (bound.value, bound[1:]) if isinstance(bound, Bound) else (0.0, bound)
        return (value <= rtol) & (jnp.max(jnp.stack(gradients)) <= GRADIENT_FACTOR * rtol)


def length(z: Array) -> Array:
    """Norms of the rows [n, d], summed column by column because XLA is slow on a short last axis."""
    return jnp.sqrt(sum(z[:, k] ** 2 for k in range(z.shape[1])))


def unit(z: Array) -> Array:
    """The points as unit vectors in float64 [n, d]."""
    z = z.astype(jnp.float64)
    return z / length(z)[:, None]


class Waves(NamedTuple):
    """Quantities that bound the waves of a signed measure Σ w_j δ_{y_j}; float64.

    Attributes:
        moments: its harmonic moments M_ℓ [orders, L + 1, 2].
        mass: Σ|w_j|.
        spread: (Σ w_j²)^½, the size of a sum of the points' errors if their signs are independent.
    """

    moments: Array
    mass: Array
    spread: Array

    @classmethod
    def of(cls, h: Harmonics, z: Array, weights: Array, dtype: Any, axis: str | None) -> "Waves":
        """The quantities for points z [n, d] with float64 weights [n]; the waves are computed in `dtype`."""
        return cls.given(moments_of_points(h, z.astype(dtype), weights.astype(dtype), axis), weights, axis)

    @classmethod
    def given(cls, moments: Array, weights: Array, axis: str | None) -> "Waves":
        """The quantities for points of these moments and float64 weights [n]."""
        sums = jnp.stack([jnp.sum(jnp.abs(weights)), jnp.sum(weights**2)])
        mass, square = sums if axis is None else jax.lax.psum(sums, axis)
        return cls(moments, mass, jnp.sqrt(square))

    def reach(self) -> Array:
        """|M_ℓ| + spread [L + 1]: bounds a wave of degree ℓ, and its error divided by eps."""
        return jnp.sqrt(jnp.sum(self.moments**2, axis=(0, 2))) + self.spread

    def heights(self) -> tuple[Array, Array]:
        """Height of the waves of each degree at the points [L + 1]: the mean, and the fluctuation about it.

        The mean over the points is |M_ℓ|²/Σ|w_j|. The 2 or 2ℓ + 1 waves of a degree have independent signs
        about it, which is bounded by three standard deviations.
        """
        reach = self.reach()
        components = 2 * degrees_of(reach) + 1 if self.moments.shape[0] > 1 else 2 + 0 * reach
        mean = reach**2 / jnp.where(self.mass > 0, self.mass, 1)
        return mean, jnp.minimum(reach, 3 * reach / jnp.sqrt(components))


def degrees_of(a: Array) -> Array:
    """The degrees ℓ = 0, 1, … that the entries of `a` belong to."""
    return jnp.arange(a.shape[0], dtype=jnp.float64)


def wave_error(ell: Array, dtype: Any) -> Array:
    """Round-off of a wave of degree ℓ, computed as a power of a wave of degree 1, relative to its height."""
    return WAVE_ERROR * float(jnp.finfo(dtype).eps) * (ell + WAVE_OFFSET)


def expected_rounding(c: Array, waves: Waves, dtype: Any) -> tuple[Array, Array]:
    """Largest expected round-off of the field Σ_ℓ c_ℓ M_ℓ·Y_ℓ, and of its gradient.

    Errors of waves that peak at the same point have the same sign there and add linearly; the errors of the
    fluctuations have independent signs and add in quadrature.
    """
    ell = degrees_of(c)
    together, apart = (jnp.abs(c) * wave_error(ell, dtype) * height for height in waves.heights())
    slope = jnp.sqrt(ell * (ell + 1))
    return tuple(  # pyright: ignore[reportReturnType]
        jnp.sum(a * together) + jnp.linalg.norm(a * apart) for a in (jnp.ones_like(ell), slope)
    )


class Source(NamedTuple):
    """The points in the sum, in float64: unit vectors [m, d], weights [m], and their mesh axis or None."""

    points: Array
    weights: Array
    axis: str | None

    def _over_devices(self, a: Array) -> Array:
        return a if self.axis is None else jax.lax.psum(a, self.axis)

    def field(self, kernel: Kernel, z: Array) -> Array:
        """Σ_j w_j κ(z, y_j)/κ(1) at unit vectors z [k, d], by direct summation."""
        return self._over_devices(matmul(relative_kernel(kernel, matmul(z, self.points.T)), self.weights))

    def field_and_gradient(self, kernel: Kernel, z: Array) -> tuple[Array, Array]:
        """The value of `field` [k] and its tangential gradient [k, d]."""
        cosine = matmul(z, self.points.T)
        relative, slope = jax.jvp(partial(relative_kernel, kernel), (cosine,), (jnp.ones_like(cosine),))
        value = matmul(relative, self.weights)
        pull = sphere.project_tangent(z, matmul(slope * self.weights[None, :], self.points))
        return self._over_devices(value), self._over_devices(pull)


def probe_indices(n: int, special: Array) -> Array:
    """Indices of the probe points: pseudo-random ones that depend on n alone, and a special one."""
    hashed = np.random.default_rng(n).integers(n, size=PROBES - 1, dtype=np.int32)
    return jnp.concatenate([jnp.asarray(hashed), special[None]])


def largest(a: Array) -> Array:
    """Index of the largest entry in float32, by two reductions, because `argmax` is slower on a CPU."""
    a = a.astype(jnp.float32)
    index = jax.lax.iota(jnp.int32, a.shape[0])
    return jnp.min(jnp.where(a == jnp.max(a), index, jnp.int32(a.shape[0] - 1)))


def gathered(tree: Any, axis: str | None) -> Any:
    """The arrays of all devices of a mesh axis, one after the other."""
    return tree if axis is None else jax.lax.all_gather(tree, axis, tiled=True)


def errors_at_probes(
    kernel: Kernel, side: Source, probes: Array, seen: Array, slope: Array
) -> tuple[Array, Array]:
    """The largest errors of a field and of its gradient at the probes, against direct sums."""
    exact, exact_slope = side.field_and_gradient(kernel, probes)
    off = jnp.sqrt(jnp.sum((slope - exact_slope) ** 2, axis=1))
    return jnp.max(jnp.abs(seen - exact)), jnp.max(off)


def total_error(left_out: Array, probed: Array, rounding: Array) -> Array:
    """Truncation plus round-off: SAFETY times the measured one, or `rounding` if that is more."""
    return left_out + jnp.maximum(SAFETY * probed, rounding)
