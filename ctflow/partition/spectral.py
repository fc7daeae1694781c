"""The sum in harmonics on S¹ and S²: O(n) in the number of points, with a bound on its error in every run.

If the bound of `ctflow.partition.bounds` is too large, the sum is repeated in float64; if that does not
suffice either, it is taken exactly, in tiles.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel
from ctflow.partition.bounds import (
    Bound,
    PullBound,
    Source,
    Waves,
    degrees_of,
    errors_at_probes,
    expected_rounding,
    gathered,
    largest,
    length,
    probe_indices,
    total_error,
    unit,
    wave_error,
)
from ctflow.partition.harmonics import Harmonics, harmonics, zonal_samples
from ctflow.partition.series import (
    BETWEEN_SAMPLES,
    coefficients,
    evaluate,
    evaluate_and_divide,
    matmul,
    relative_kernel,
    truncation,
    wide,
)


class Sums(NamedTuple):
    """The result of a spectral sum.

    Attributes:
        value: L [n], rounded once.
        gradient: tangential gradient of L in x [n, d], or None.
        field: f = e^L / κ(1) [n], to nearly float64 accuracy, as a sum of arrays in the points' dtype. The
            backward pass divides by f; for an isolated point, L in float32 would not be accurate enough.
        bound: error bounds for value and gradient before rounding to the points' dtype.
        divided: moments of the measure Σ_i (g_i/f_i) δ_{x_i}, or None without a cotangent g.
    """

    value: Float[Array, " n"]
    gradient: Float[Array, "n d"] | None
    field: tuple[Array, ...]
    bound: Bound
    divided: Array | None


def _own(x: Array, y: Array, weights: Array, kernel: Kernel) -> Array:
    """w_i κ(x_i, y_i)/κ(1) for unit vectors in float64: the term that `exclude_self` leaves out."""
    return weights * relative_kernel(kernel, jnp.sum(x * y, axis=1))


def _split(a: Array, dtype: Any) -> tuple[Array, ...]:
    """Split a float64 array into arrays of `dtype` whose sum has (nearly) all of its digits."""
    if dtype == jnp.float64:
        return (a,)
    high = a.astype(dtype)
    return high, (a - high.astype(jnp.float64)).astype(dtype)


def no_field(x: Array) -> tuple[Array, ...]:
    """Zeros that stand for `Sums.field` when the sum was taken exactly."""
    return (jnp.zeros_like(x[:, 0]),) * (1 if x.dtype == jnp.float64 else 2)


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
    cotangent: Float[Array, " n"] | None = None,
) -> Sums:
    """L_i, its tangential gradient in x if requested, and bounds on their errors.

    Args:
        x: points [n, d], d = 2 or 3.
        y: points [m, d].
        weights: [m].
        kernel: the kernel.
        degree: the degree L at which its series of harmonics is truncated, a multiple of 8.
        dtype: dtype of the computation; the results have the dtype of x.
        gradient: whether to compute the gradient.
        exclude_self: leave out the pairs j = i.
        axis: mesh axis over which x and y are split, or None.
        cotangent: g [n], if `spectral_pull` will be asked for the gradients of Σ_i g_i L_i; needs `gradient`.
    """
    (n, d), given = x.shape, x.dtype
    h = harmonics(d, degree)
    with wide():
        kernel = as_dtype(kernel, jnp.float64)
        c = coefficients(kernel, d, degree)
        unit_y, wide_weights = unit(y), weights.astype(jnp.float64)
        waves = Waves.of(h, y, wide_weights, dtype, axis)
        own, own_slope = jnp.zeros(n, jnp.float64), 0.0
        if exclude_self:
            unit_x = unit(x)
            own, pull = jax.vjp(lambda x: _own(x, unit_y, wide_weights, kernel), unit_x)
            own_slope = sphere.project_tangent(unit_x, pull(jnp.ones_like(own))[0])
        at_x, divided = (h, x.astype(dtype), waves.moments, c), None
        if cotangent is None:
            result = evaluate(*at_x, gradient=gradient)
        else:
            *result, divided = evaluate_and_divide(*at_x, own, cotangent.astype(jnp.float64), axis)
        f, slope = as_dtype(result, jnp.float64)
        whole = result[0], jnp.zeros_like(x) if slope is None else result[1]
        steep = (jnp.zeros_like(x, jnp.float64) if slope is None else slope) - own_slope
        f = f - own

        steepness = length(steep)
        index = probe_indices(n, largest(-f))
        looked_at = (unit(x[index]), *as_dtype([part[index] for part in whole], jnp.float64))
        doubts = errors_at_probes(kernel, Source(unit_y, wide_weights, axis), *gathered(looked_at, axis))
        rounding = expected_rounding(c, waves, dtype)
        error, slope_error = map(total_error, truncation(kernel, d, c), doubts, rounding)
        floor = f - error
        bounds = [error / floor]
        if slope is not None:
            bounds.append((slope_error + steepness / f * error) / floor)
        worst = jnp.stack([jnp.max(jnp.where(floor > 0, bound, jnp.inf)) for bound in bounds])
        worst = worst if axis is None else jax.lax.pmax(worst, axis)
        bound = Bound(worst[0], worst[1] if slope is not None else jnp.zeros_like(worst[0]))

        safe = jnp.where(f > 0, f, 1)
        value = (jnp.log(safe) + kernel.log_kernel(jnp.ones((), jnp.float64))).astype(given)
        tangent = None if slope is None else (steep / safe[:, None]).astype(given)
        return Sums(value, tangent, _split(safe, given), bound, divided)


def _jacobian(function: Callable[[Array], Array], p: Array) -> Array:
    """Derivative [P, …] of a function of a vector [P], one parameter at a time."""
    return jax.lax.map(lambda e: jax.jvp(function, (p,), (e,))[1], jnp.eye(p.size, dtype=p.dtype))


def _pull_parameters(
    h: Harmonics,
    as_kernel: Callable[[Array], Kernel],
    p: Array,
    shares: Waves,
    columns: Waves,
    side: Source,
    probes: Array,
    dtype: Any,
) -> tuple[Array, Array]:
    """Σ_ij s_i w_j ∂κ(x_i, y_j)/∂p / κ(1) [P] for every parameter p, and a bound on each one's error.

    Since Σ_j w_j = 1, the error is at most that of the field Σ_i s_i ∂κ(x_i, ·)/∂p at the points y.
    """
    degree = h.degree
    d = probes.shape[1]
    samples = zonal_samples(d, degree)
    slopes = _jacobian(lambda p: coefficients(as_kernel(p), d, degree), p)
    exact = _jacobian(lambda p: relative_kernel(as_kernel(p), jnp.asarray(samples.cosine)), p)
    beside = jnp.max(jnp.abs(exact - matmul(slopes, jnp.asarray(samples.values))), axis=1)

    def seen(slope: Array) -> Array:
        series = as_dtype(h.synthesise(shares.moments * slope[None, :, None]), dtype)
        return h.field(h.waves(probes.astype(dtype)), series).astype(jnp.float64)

    off = jax.lax.map(seen, slopes) - _jacobian(lambda p: side.field(as_kernel(p), probes), p)
    product = shares.reach() * columns.reach()
    rounding = matmul(jnp.abs(slopes), 2 * wave_error(degrees_of(product), dtype) * product)
    error = total_error(BETWEEN_SAMPLES * beside * shares.mass, jnp.max(jnp.abs(off), axis=1), rounding)
    return matmul(slopes, jnp.sum(shares.moments * columns.moments, axis=(0, 2))), error


def spectral_pull(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    field: tuple[Array, ...],
    cotangent: Float[Array, " n"],
    *,
    degree: int,
    dtype: Any,
    of_kernel: bool,
    exclude_self: bool,
    axis: str | None,
    divided: Array | None = None,
) -> tuple[tuple[Float[Array, "m d"], Float[Array, " m"], Kernel | None], PullBound]:
    """Gradients of Σ_i g_i L_i in y, in weights and, if requested, in the kernel, with error bounds.

    The gradients in weights and y are the field of the signed measure Σ_i s_i δ_{x_i}, s_i = g_i/f_i, at the
    points y, and its gradient times w_j. The bounds do not include the error of f itself: it changes the
    contribution of row i by a relative error of at most `Bound.value`.

    Args:
        x: points [n, d], d = 2 or 3.
        y: points [m, d].
        weights: [m].
        kernel: the kernel.
        field: `Sums.field` of the forward pass.
        cotangent: g [n].
        degree: as in `spectral_sum`.
        dtype: as in `spectral_sum`.
        of_kernel: whether to compute the gradient in the kernel.
        exclude_self: as in `spectral_sum`.
        axis: as in `spectral_sum`.
        divided: `Sums.divided` for this cotangent, if it is known.
    """
    d, given = x.shape[1], x.dtype
    h = harmonics(d, degree)

    def over_devices(a: Array) -> Array:
        return a if axis is None else jax.lax.psum(a, axis)

    with wide():
        p, as_kernel = ravel_pytree(as_dtype(kernel, jnp.float64))
        kernel = as_kernel(p)
        c = coefficients(kernel, d, degree)
        unit_x, (wide_weights, g) = unit(x), as_dtype((weights, cotangent), jnp.float64)
        share = g / sum(as_dtype(field, jnp.float64))
        if divided is None:
            shares = Waves.of(h, x, share, dtype, axis)
        else:
            shares = Waves.given(divided, share, axis)
        result = evaluate(h, y.astype(dtype), shares.moments, c, gradient=True)
        d_weights, slope = as_dtype(result, jnp.float64)
        d_y, d_p = slope * wide_weights[:, None], jnp.zeros_like(p)

        index = probe_indices(y.shape[0], largest(length(result[1])))
        looked_at = (unit(y[index]), *as_dtype([part[index] for part in result], jnp.float64))
        looked_at = gathered(looked_at, axis)
        side = Source(unit_x, share, axis)
        scale = over_devices(jnp.sum(jnp.abs(g)))
        cut = [a * shares.mass for a in truncation(kernel, d, c)]
        doubts = errors_at_probes(kernel, side, *looked_at)
        errors = [*map(total_error, cut, doubts, expected_rounding(c, shares, dtype))]
        if of_kernel:
            columns = Waves.of(h, y, wide_weights, dtype, axis)
            d_p, error = _pull_parameters(h, as_kernel, p, shares, columns, side, looked_at[0], dtype)
            errors.append(jnp.max(jnp.where(p == 0, 1, jnp.abs(p)) * error))
        else:
            errors.append(jnp.zeros_like(scale))
        if exclude_self:
            unit_y = unit(y)

            def own(y, weights, p):
                return _own(unit_x, y, weights, as_kernel(p))

            own_y, own_weights, own_p = jax.vjp(own, unit_y, wide_weights, p)[1](-share)
            own_y = sphere.project_tangent(unit_y, own_y)
            d_y, d_weights, d_p = d_y + own_y, d_weights + own_weights, d_p + over_devices(own_p)

        def log_top(p):
            return as_kernel(p).log_kernel(jnp.ones((), jnp.float64))

        d_p = d_p + over_devices(jnp.sum(g)) * jax.grad(log_top)(p)
        gradients = as_dtype((d_y, d_weights, as_kernel(d_p) if of_kernel else None), given)
        # If all cotangents are 0, so are the errors; dividing by 1 avoids 0/0.
        return gradients, PullBound(*(error / jnp.where(scale > 0, scale, 1) for error in errors))
