"""The sum in harmonics on S¹ and S²: O(n) in the points, and never without a check of its own error.

What is left out of the kernel, sup|κ - κ_L|, is measured on 512 angles; the round-off, against direct
sums in float64 at a few points, the one with the smallest sum among them. Both over the smallest sum
bound the error of L = log f. Where the bound is too large the sum is taken again in float64, and where
that is not enough either, exactly, in tiles.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel
from ctflow.partition.harmonics import Harmonics, harmonics, zonal_rule
from ctflow.partition.tiled import blocks, unblock

CHUNK = 16_384  # points whose waves are in memory at a time
# Fewer lie alike on an ordered cloud: with 8, the bound was passed by up to 1.9 on a meridian.
PROBES = 16
# Round-off at other points is taken to be at most this many times the largest seen at the probes; on clouds
# made to break it, it was up to 2.2 times that.
SAFETY = 4.0
# The gradient of L may have this many times the tolerance of L.
GRADIENT_FACTOR = 10.0

wide = partial(jax.enable_x64, True)


class Bound(NamedTuple):
    """How far a spectral sum can be from the exact one, at most over all points; float64.

    Attributes:
        value: error of L.
        gradient: error of the tangential gradient of L in 1/radian, beyond `value` times the gradient; 0
            where none was asked for.
    """

    value: Float[Array, ""]
    gradient: Float[Array, ""]


def proves(value: Any, gradient: Any, rtol: float) -> Any:
    """Whether bounds are within rtol, and GRADIENT_FACTOR · rtol for the gradient; False for NaN."""
    return (value <= rtol) & (gradient <= GRADIENT_FACTOR * rtol)


def _relative(kernel: Kernel, cosine: Array) -> Array:
    """κ/κ(1) at cosines, float64."""
    return jnp.exp(kernel.log_kernel(cosine) - kernel.log_kernel(jnp.ones((), jnp.float64)))


def coefficients(kernel: Kernel, d: int, degree: int) -> Float[Array, " L"]:
    """Funk-Hecke coefficients c_ℓ of κ/κ(1), ℓ = 0 … degree, float64; to be called inside `wide()`."""
    rule = zonal_rule(d, degree)
    profile = _relative(as_dtype(kernel, jnp.float64), jnp.asarray(rule.cosine)) * rule.weights
    return jnp.asarray(rule.multiplicity) * jnp.matmul(jnp.asarray(rule.values), profile, precision="highest")


def profile(kernel: Kernel, d: int) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """κ/κ(1) and its derivative in the angle on the nodes of `zonal_rule`; inside `wide()`."""
    rule = zonal_rule(d, 0)
    cosine = jnp.asarray(rule.cosine)
    kernel = as_dtype(kernel, jnp.float64)
    value, slope = jax.jvp(partial(_relative, kernel), (cosine,), (jnp.ones_like(cosine),))
    return value, -slope * rule.sine


def _truncation(kernel: Kernel, d: int, c: Array) -> tuple[Array, Array]:
    """Sup over angles of |κ - κ_L|/κ(1) and of |dκ/dθ - dκ_L/dθ|/κ(1)."""
    rule = zonal_rule(d, c.shape[0] - 1)
    series = (jnp.matmul(c, jnp.asarray(a), precision="highest") for a in (rule.values, rule.slopes))
    return tuple(  # pyright: ignore[reportReturnType]
        jnp.max(jnp.abs(exact - cut)) for exact, cut in zip(profile(kernel, d), series, strict=True)
    )


def _in_chunks(function: Any, *arrays: Array, start: Any = None) -> tuple[Any, Any]:
    """Scan `function(carry, *chunk)` over chunks of the leading axis; one chunk for a small cloud."""
    n = arrays[0].shape[0]
    count = -(-n // CHUNK)
    size = -(-n // count)
    carry, out = jax.lax.scan(lambda c, chunk: function(c, *chunk), start, [blocks(a, size) for a in arrays])
    return carry, jax.tree.map(lambda a: unblock(a, n), out)


def _moments(h: Harmonics, z: Array, weights: Array, axis: str | None) -> Array:
    """Harmonic moments of the signed measure Σ w_j δ_{z_j}, added up in float64."""

    def add(total, z, w):
        raw = h.moments(z, w).astype(jnp.float64)
        return jax.tree.map(jnp.add, total, (raw, jnp.sum(w.astype(jnp.float64)))), None

    size = jax.eval_shape(h.moments, z[:1], weights[:1]).shape
    start = jnp.zeros(size, jnp.float64), jnp.zeros((), jnp.float64)
    total, _ = _in_chunks(add, z, weights, start=start)
    return h.analyse(*(total if axis is None else jax.lax.psum(total, axis)))


def _evaluate(h: Harmonics, z: Array, moments: Array, c: Array, *, gradient: bool) -> tuple[Array, Any]:
    """The field of the moments at points, and its gradient where asked for."""
    series = as_dtype(h.synthesise(moments * c[None, :, None]), z.dtype)

    def at(_, z):
        return None, h.field_and_gradient(z, series) if gradient else (h.field(z, series), None)

    return _in_chunks(at, z)[1]


def _unit(z: Array) -> Array:
    z = z.astype(jnp.float64)
    return z / jnp.sqrt(jnp.sum(z * z, axis=1, keepdims=True))


def _own(x: Array, y: Array, weights: Array, kernel: Kernel) -> Array:
    """w_i κ(x_i, y_i)/κ(1) in float64: what `exclude_self` leaves out."""
    cosine = jnp.sum(_unit(x) * _unit(y), axis=1)
    return weights.astype(jnp.float64) * _relative(as_dtype(kernel, jnp.float64), cosine)


def _round_off(
    x: Array,
    y: Array,
    weights: Array,
    own: tuple[Array, Array],
    kernel: Kernel,
    f: Array,
    slope: Any,
    axis: Any,
) -> tuple[Array, Array]:
    """The largest distance of f, and of its gradient, from direct sums at a few points.

    The points are every so many of x, and the one where f is smallest.
    """
    index = jnp.linspace(0, x.shape[0] - 1, PROBES - 1).astype(jnp.int32)
    # In 32 bits, since an argmin is lowered outside of `wide()`.
    smallest = jax.lax.argmin(f.astype(jnp.float32), 0, jnp.int32)
    index = jnp.concatenate([index, smallest[None]])
    slope = jnp.zeros_like(x) if slope is None else slope
    looked_at = (_unit(x[index]), *(a[index].astype(jnp.float64) for a in (f, slope, *own)))
    if axis is not None:
        looked_at = jax.lax.all_gather(looked_at, axis, tiled=True)
    probes, seen, seen_slope, left_out, left_out_slope = looked_at

    def direct(z):
        relative = _relative(kernel, jnp.matmul(z, _unit(y).T, precision="highest"))
        total = jnp.matmul(relative, weights.astype(jnp.float64), precision="highest")
        return total if axis is None else jax.lax.psum(total, axis)

    exact, pull = jax.vjp(direct, probes)
    (exact_slope,) = pull(jnp.ones_like(exact))
    off = seen + left_out - exact
    off_slope = seen_slope + left_out_slope - sphere.project_tangent(probes, exact_slope)
    return jnp.max(jnp.abs(off)), jnp.max(jnp.sqrt(jnp.sum(off_slope**2, axis=1)))


def spectral_sum(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    *,
    degree: int,
    dtype: Any,
    gradient: bool,
    exclude_self: bool,
    axis: str | None,
) -> tuple[Float[Array, " n"], Float[Array, "n d"] | None, Bound]:
    """L_i - log κ(1), its tangential gradient in x where asked for, and how far they can be off.

    Args:
        x: points [n, d], d = 2 or 3.
        y: points [m, d].
        weights: [m].
        kernel: the kernel.
        degree: the degree L at which its harmonics are cut, a multiple of 8.
        dtype: to compute in; the results have that of x.
        gradient: whether the gradient is wanted.
        exclude_self: leave out the pairs j = i.
        axis: mesh axis over which x and y are cut, or None.
    """
    d, given = x.shape[1], x.dtype
    h = harmonics(d, degree)
    with wide():
        kernel = as_dtype(kernel, jnp.float64)
        c = coefficients(kernel, d, degree)
        missing, missing_slope = _truncation(kernel, d, c)
        moments = _moments(h, y.astype(dtype), weights.astype(dtype), axis)
        f, slope = _evaluate(h, x.astype(dtype), moments, c, gradient=gradient)
        own = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.float64), (f, x))
        if exclude_self:
            own_value, pull = jax.vjp(lambda x: _own(x, y, weights, kernel), x.astype(jnp.float64))
            own = own_value, pull(jnp.ones_like(own_value))[0]
            f = f - own[0].astype(dtype)
            slope = None if slope is None else slope - own[1].astype(dtype)

        doubts = _round_off(x, y, weights, own, kernel, f, slope, axis)
        lowest = jnp.min(f).astype(jnp.float64)
        lowest = lowest if axis is None else jax.lax.pmin(lowest, axis)
        errors = (a + SAFETY * b for a, b in zip((missing, missing_slope), doubts, strict=True))
        bound = Bound(*(jnp.where(lowest > 0, error / lowest, jnp.inf) for error in errors))
        if slope is None:
            bound = bound._replace(gradient=jnp.zeros_like(bound.gradient))

        safe = jnp.where(f > 0, f, 1)
        value = jnp.log(safe.astype(jnp.float64)).astype(given)
        return value, None if slope is None else (slope / safe[:, None]).astype(given), bound


def spectral_pull(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    value: Float[Array, " n"],
    cotangent: Float[Array, " n"],
    *,
    degree: int,
    dtype: Any,
    of_kernel: bool,
    exclude_self: bool,
    axis: str | None,
) -> tuple[tuple[Float[Array, "m d"], Float[Array, " m"], Kernel | None], Bound]:
    """Gradients of Σ_i g_i (L_i - log κ(1)) in y, in weights and, where asked for, in the kernel.

    They are the field of the signed measure Σ_i (g_i/f_i) δ_{x_i}, seen from y, and its gradient. The
    bounds are on these two fields, relative to Σ_i |g_i|.
    """
    d, given = x.shape[1], x.dtype
    h = harmonics(d, degree)
    with wide():
        c, pull_coefficients = jax.vjp(lambda kernel: coefficients(kernel, d, degree), kernel)
        share = (cotangent.astype(dtype) * jnp.exp(-value.astype(dtype))).astype(dtype)
        seen = _moments(h, x.astype(dtype), share, axis)
        d_weights, slope = _evaluate(h, y.astype(dtype), seen, c, gradient=True)
        d_y = slope * weights.astype(dtype)[:, None]

        wide_kernel = as_dtype(kernel, jnp.float64)
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.float64), (d_weights, y))
        doubts = _round_off(y, x, share, nothing, wide_kernel, d_weights, slope, axis)
        masses = jnp.stack([jnp.sum(jnp.abs(a.astype(jnp.float64))) for a in (share, cotangent)])
        masses = masses if axis is None else jax.lax.psum(masses, axis)
        # No cotangent at all: nothing to be wrong about.
        scale = jnp.where(masses[1] > 0, masses[1], 1)
        cut = _truncation(wide_kernel, d, c)
        bound = Bound(*((a * masses[0] + SAFETY * b) / scale for a, b in zip(cut, doubts, strict=True)))

        d_kernel = None
        if of_kernel:
            moments = _moments(h, y.astype(dtype), weights.astype(dtype), axis)
            (d_kernel,) = pull_coefficients(jnp.sum(seen * moments, axis=(0, 2)))
        gradients = as_dtype((d_y, d_weights, d_kernel), given)
        if exclude_self:
            _, pull = jax.vjp(partial(_own, x), y, weights, kernel)
            d_own = as_dtype(pull(-share.astype(jnp.float64)), given)
            if axis is not None:
                d_own = (*d_own[:2], jax.lax.psum(d_own[2], axis))
            d_own = d_own if of_kernel else (*d_own[:2], None)
            gradients = jax.tree.map(jnp.add, gradients, d_own)
        return gradients, bound
