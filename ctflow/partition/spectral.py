"""The sum in harmonics on S¹ and S²: O(n) in the number of points, with a check of its error in every run.

The error of the field f = e^L / κ(1) has two sources; every run bounds both.

* Truncation of the kernel's series, sup|κ - κ_L|. It is measured at more than 500 angles between the nodes
  that give the coefficients. The check assumes that κ is smooth between these samples: it cannot see features
  narrower than π/512 radians, or jumps of the slope other than at 0 and π. Every kernel of `ct.kernels` is
  smooth enough; for a kernel that is not, use `method="tiled"`.
* Round-off. It is measured against direct float64 sums at pseudo-random probe points and one special point
  (forwards where f is smallest, backwards where the gradient is largest). The estimate is never less than
  the round-off expected from the size of the moments (`_rounding`).

Their sum, divided by the smallest f, bounds the error of L. If the bound is too large, the sum is repeated in
float64; if that does not suffice either, it is taken exactly, in tiles.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel
from ctflow.partition.harmonics import Harmonics, harmonics, zonal_samples
from ctflow.partition.series import (
    BETWEEN_SAMPLES,
    coefficients,
    evaluate,
    evaluate_and_divide,
    matmul,
    moments_of_points,
    relative_kernel,
    truncation,
    wide,
)

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


def _length(z: Array) -> Array:
    """Norms of the rows [n, d], summed column by column because XLA is slow on a short last axis."""
    return jnp.sqrt(sum(z[:, k] ** 2 for k in range(z.shape[1])))


def _unit(z: Array) -> Array:
    z = z.astype(jnp.float64)
    return z / _length(z)[:, None]


class _Waves(NamedTuple):
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
    def of(cls, h: Harmonics, z: Array, weights: Array, dtype: Any, axis: str | None) -> "_Waves":
        """The quantities for points z [n, d] with float64 weights [n]; the waves are computed in `dtype`."""
        return cls.given(moments_of_points(h, z.astype(dtype), weights.astype(dtype), axis), weights, axis)

    @classmethod
    def given(cls, moments: Array, weights: Array, axis: str | None) -> "_Waves":
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
        components = 2 * _ell(reach) + 1 if self.moments.shape[0] > 1 else 2 + 0 * reach
        mean = reach**2 / jnp.where(self.mass > 0, self.mass, 1)
        return mean, jnp.minimum(reach, 3 * reach / jnp.sqrt(components))


def _ell(a: Array) -> Array:
    return jnp.arange(a.shape[0], dtype=jnp.float64)


def _wave_error(ell: Array, dtype: Any) -> Array:
    """Round-off of a wave of degree ℓ, computed as a power of a wave of degree 1, relative to its height."""
    return WAVE_ERROR * float(jnp.finfo(dtype).eps) * (ell + WAVE_OFFSET)


def _rounding(c: Array, waves: _Waves, dtype: Any) -> tuple[Array, Array]:
    """Largest expected round-off of the field Σ_ℓ c_ℓ M_ℓ·Y_ℓ, and of its gradient.

    Errors of waves that peak at the same point have the same sign there and add linearly; the errors of the
    fluctuations have independent signs and add in quadrature.
    """
    ell = _ell(c)
    together, apart = (jnp.abs(c) * _wave_error(ell, dtype) * height for height in waves.heights())
    slope = jnp.sqrt(ell * (ell + 1))
    return tuple(  # pyright: ignore[reportReturnType]
        jnp.sum(a * together) + jnp.linalg.norm(a * apart) for a in (jnp.ones_like(ell), slope)
    )


class _Side(NamedTuple):
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


def _probes(n: int, special: Array) -> Array:
    """Indices of the probe points: pseudo-random ones that depend on n alone, and a special one."""
    hashed = np.random.default_rng(n).integers(n, size=PROBES - 1, dtype=np.int32)
    return jnp.concatenate([jnp.asarray(hashed), special[None]])


def _largest(a: Array) -> Array:
    """Index of the largest entry in float32, by two reductions, because `argmax` is slower on a CPU."""
    a = a.astype(jnp.float32)
    index = jax.lax.iota(jnp.int32, a.shape[0])
    return jnp.min(jnp.where(a == jnp.max(a), index, jnp.int32(a.shape[0] - 1)))


def _gathered(tree: Any, axis: str | None) -> Any:
    return tree if axis is None else jax.lax.all_gather(tree, axis, tiled=True)


def _doubts(kernel: Kernel, side: _Side, probes: Array, seen: Array, slope: Array) -> tuple[Array, Array]:
    """The largest errors of a field and of its gradient at the probes, against direct sums."""
    exact, exact_slope = side.field_and_gradient(kernel, probes)
    off = jnp.sqrt(jnp.sum((slope - exact_slope) ** 2, axis=1))
    return jnp.max(jnp.abs(seen - exact)), jnp.max(off)


def _error(left_out: Array, probed: Array, rounding: Array) -> Array:
    """Truncation plus round-off: SAFETY times the measured one, or `rounding` if that is more."""
    return left_out + jnp.maximum(SAFETY * probed, rounding)


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
        unit_y, wide_weights = _unit(y), weights.astype(jnp.float64)
        waves = _Waves.of(h, y, wide_weights, dtype, axis)
        own, own_slope = jnp.zeros(n, jnp.float64), 0.0
        if exclude_self:
            unit_x = _unit(x)
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

        steepness = _length(steep)
        index = _probes(n, _largest(-f))
        looked_at = (_unit(x[index]), *as_dtype([part[index] for part in whole], jnp.float64))
        doubts = _doubts(kernel, _Side(unit_y, wide_weights, axis), *_gathered(looked_at, axis))
        rounding = _rounding(c, waves, dtype)
        error, slope_error = map(_error, truncation(kernel, d, c), doubts, rounding)
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
    shares: _Waves,
    columns: _Waves,
    side: _Side,
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
    rounding = matmul(jnp.abs(slopes), 2 * _wave_error(_ell(product), dtype) * product)
    error = _error(BETWEEN_SAMPLES * beside * shares.mass, jnp.max(jnp.abs(off), axis=1), rounding)
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
        unit_x, (wide_weights, g) = _unit(x), as_dtype((weights, cotangent), jnp.float64)
        share = g / sum(as_dtype(field, jnp.float64))
        if divided is None:
            shares = _Waves.of(h, x, share, dtype, axis)
        else:
            shares = _Waves.given(divided, share, axis)
        result = evaluate(h, y.astype(dtype), shares.moments, c, gradient=True)
        d_weights, slope = as_dtype(result, jnp.float64)
        d_y, d_p = slope * wide_weights[:, None], jnp.zeros_like(p)

        index = _probes(y.shape[0], _largest(_length(result[1])))
        looked_at = (_unit(y[index]), *as_dtype([part[index] for part in result], jnp.float64))
        looked_at = _gathered(looked_at, axis)
        side = _Side(unit_x, share, axis)
        scale = over_devices(jnp.sum(jnp.abs(g)))
        cut = [a * shares.mass for a in truncation(kernel, d, c)]
        doubts = _doubts(kernel, side, *looked_at)
        errors = [*map(_error, cut, doubts, _rounding(c, shares, dtype))]
        if of_kernel:
            columns = _Waves.of(h, y, wide_weights, dtype, axis)
            d_p, error = _pull_parameters(h, as_kernel, p, shares, columns, side, looked_at[0], dtype)
            errors.append(jnp.max(jnp.where(p == 0, 1, jnp.abs(p)) * error))
        else:
            errors.append(jnp.zeros_like(scale))
        if exclude_self:
            unit_y = _unit(y)

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
