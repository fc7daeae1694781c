"""A kernel's series in harmonics: its coefficients, what truncation leaves out, and its sums over points."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel, log_kernel_at
from ctflow.partition.harmonics import Harmonics, zonal_rule, zonal_samples
from ctflow.partition.tiled import blocks, unblock

CHUNK = 16_384  # number of points whose waves are in memory at the same time
# Bounds sup/(max over samples): with 8 samples per period, a wave exceeds them by <= 1/cos(π/8) = 1.08.
BETWEEN_SAMPLES = 1.1

wide = partial(jax.enable_x64, True)


def matmul(a: Array, b: Array) -> Array:
    """The matrix product in the full precision of its dtype, on every device."""
    return jnp.matmul(a, b, precision="highest")


def relative_kernel(kernel: Kernel, cosine: Array) -> Array:
    """κ/κ(1) at scalar products of unit vectors, float64."""
    return jnp.exp(log_kernel_at(kernel, cosine) - kernel.log_kernel(jnp.ones((), jnp.float64)))


def coefficients(kernel: Kernel, d: int, degree: int) -> Float[Array, " L"]:
    """Funk-Hecke coefficients c_ℓ of κ/κ(1), ℓ = 0 … degree, float64. Call this inside `wide()`."""
    rule = zonal_rule(d, degree)
    profile = relative_kernel(as_dtype(kernel, jnp.float64), jnp.asarray(rule.cosine)) * rule.weights
    return jnp.asarray(rule.multiplicity) * matmul(jnp.asarray(rule.values), profile)


def profile(kernel: Kernel, d: int, degree: int) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """κ/κ(1) and its derivative in the angle at the `zonal_samples`. Call this inside `wide()`."""
    samples = zonal_samples(d, degree)
    cosine = jnp.asarray(samples.cosine)
    kernel = as_dtype(kernel, jnp.float64)
    value, slope = jax.jvp(partial(relative_kernel, kernel), (cosine,), (jnp.ones_like(cosine),))
    return value, -slope * samples.sine


def truncation(kernel: Kernel, d: int, c: Array) -> tuple[Array, Array]:
    """Estimates of sup |κ - κ_L|/κ(1) and sup |dκ/dθ - dκ_L/dθ|/κ(1) over the angles, from samples."""
    degree = c.shape[0] - 1
    samples = zonal_samples(d, degree)
    series = (matmul(c, jnp.asarray(a)) for a in (samples.values, samples.slopes))
    return tuple(  # pyright: ignore[reportReturnType]
        BETWEEN_SAMPLES * jnp.max(jnp.abs(exact - cut))
        for exact, cut in zip(profile(kernel, d, degree), series, strict=True)
    )


def in_chunks(function: Any, *arrays: Array, start: Any = None) -> tuple[Any, Any]:
    """Scan `function(carry, *chunk)` over equal chunks of the leading axis, of at most CHUNK entries each."""
    n = arrays[0].shape[0]
    count = -(-n // CHUNK)
    size = -(-n // count)
    carry, out = jax.lax.scan(lambda c, chunk: function(c, *chunk), start, [blocks(a, size) for a in arrays])
    return carry, jax.tree.map(lambda a: unblock(a, n), out)


class Total:
    """Adds the moments of chunks of a signed measure Σ w_j δ_{z_j}, in float64."""

    def __init__(self, h: Harmonics):
        self.h = h

    def zero(self, z: Array, weights: Array) -> tuple[Array, Array]:
        """The moments and the mass of no points."""
        size = jax.eval_shape(lambda z, w: self.h.moments(self.h.waves(z), w), z[:1], weights[:1]).shape
        return jnp.zeros(size, jnp.float64), jnp.zeros((), jnp.float64)

    def plus(self, total: tuple[Array, Array], waves: Any, weights: Array) -> tuple[Array, Array]:
        """The total with the points of a chunk added."""
        raw = self.h.moments(waves, weights).astype(jnp.float64)
        return total[0] + raw, total[1] + jnp.sum(weights.astype(jnp.float64))

    def moments(self, total: tuple[Array, Array], axis: str | None) -> Array:
        """The harmonic moments of all points, of all devices of a mesh axis."""
        return self.h.analyse(*(total if axis is None else jax.lax.psum(total, axis)))


def moments_of_points(h: Harmonics, z: Array, weights: Array, axis: str | None) -> Array:
    """Harmonic moments of the signed measure Σ w_j δ_{z_j}."""
    total = Total(h)

    def add(carry, z, w):
        return total.plus(carry, h.waves(z), w), None

    return total.moments(in_chunks(add, z, weights, start=total.zero(z, weights))[0], axis)


def evaluate(h: Harmonics, z: Array, moments: Array, c: Array, *, gradient: bool) -> tuple[Array, Any]:
    """The field of the given moments at the points z, and its gradient (None unless `gradient`)."""
    series = as_dtype(h.synthesise(moments * c[None, :, None]), z.dtype)

    def at(_, z):
        waves = h.waves(z)
        return None, h.field_and_gradient(waves, series) if gradient else (h.field(waves, series), None)

    return in_chunks(at, z)[1]


def evaluate_and_divide(
    h: Harmonics, z: Array, moments: Array, c: Array, own: Array, cotangent: Array, axis: str | None
) -> tuple[Array, Array, Array]:
    """The field f [n] at the points z, its gradient, and the moments of Σ_i g_i/(f_i - own_i) δ_{z_i}.

    The tables of waves are made once for both.

    Args:
        h: the harmonics.
        z: points [n, d].
        moments: of the measure whose field it is.
        c: the kernel's coefficients.
        own: the part of f that is left out before dividing [n], float64.
        cotangent: g [n], float64.
        axis: mesh axis over which the points are split, or None.
    """
    series, total = as_dtype(h.synthesise(moments * c[None, :, None]), z.dtype), Total(h)

    def at(carry, z, own, g):
        waves = h.waves(z)
        value, slope = h.field_and_gradient(waves, series)
        f = value.astype(jnp.float64) - own
        share = (g / jnp.where(f > 0, f, 1)).astype(z.dtype)
        return total.plus(carry, waves, share), (value, slope)

    carry, found = in_chunks(at, z, own, cotangent, start=total.zero(z, z[:, 0]))
    return *found, total.moments(carry, axis)
