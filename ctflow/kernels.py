"""Zonal kernels κ(z, w) on the sphere, given as functions of the cosine ⟨z, w⟩.

Each kernel has `log_kernel`, a volume V = ∫κ(z, w)dμ(w) for the uniform probability measure μ (the same
for every z), and one eigenvalue per degree of spherical harmonics (Funk-Hecke).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float
from scipy import special

from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_count
from ctflow._base.polar import polar_rule
from ctflow._base.pytree import Registered, positive, static
from ctflow.clouds import as_dtype

__all__ = [
    "ChordalDistance",
    "ChordalGaussian",
    "Exponential",
    "Function",
    "GeodesicGaussian",
    "Kernel",
    "Softplus",
    "as_kernel",
]


def _cosine_rule(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines [k] and log weights [k] of a quadrature rule for ∫f(⟨z, w⟩)dμ(w) on S^{d-1}.

    512 nodes are exact to rounding for every kernel here with a temperature >= 1e-4, in any dimension.
    """
    angle, log_weight = polar_rule(d, np.pi, 512)
    return np.cos(angle), log_weight


class Kernel(Registered, abstract=True):
    """Base class of zonal kernels. A subclass defines `log_kernel` as a function of the cosine.

    A subclass whose κ is monotone in the cosine may say so by `monotone = True`: sums over small clouds are
    then about twice as fast.
    """

    monotone: ClassVar[bool] = False

    def log_kernel(self, cosine: Any) -> Any:
        """Log κ at cosines ⟨z, w⟩ in [-1, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must define log_kernel(cosine)")

    def log_volume(self, d: int, dtype=None) -> Float[Array, ""]:
        """Log V = log ∫κ(z, w)dμ(w) on S^{d-1}, differentiable in the kernel's parameters.

        For `Exponential` it equals log[Γ(d/2) (2τ)^{d/2-1} I_{d/2-1}(1/τ)].
        """
        check_count("d", d, minimum=2)
        return _log_volume(self, d, dtype)

    def degree_coefficients(self, d: int, max_degree: int) -> np.ndarray:
        """Eigenvalues λ_ℓ of ρ ↦ ∫κ(·, w)ρ(w)dμ(w) / V for ℓ = 0 … max_degree; λ_0 = 1.

        Computed in float64 on the host, by quadrature against Gegenbauer polynomials (Funk-Hecke).
        """
        check_count("d", d, minimum=2)
        check_count("max_degree", max_degree, minimum=0)
        cosine, log_weight = _cosine_rule(d)
        with jax.enable_x64(True):
            exact = as_dtype(self, jnp.float64)
            log_density = np.asarray(exact.log_kernel(jnp.asarray(cosine))) + log_weight
        density = np.exp(log_density - log_density.max())
        density /= density.sum()
        degrees = np.arange(max_degree + 1)[:, None]
        if d == 2:
            zonal = np.cos(degrees * np.arccos(cosine))
        else:
            zonal = special.eval_gegenbauer(degrees, d / 2 - 1, cosine)
            zonal = zonal / special.eval_gegenbauer(degrees, d / 2 - 1, 1.0)
        return zonal @ density


@partial(jax.jit, static_argnums=(1, 2))
def _log_volume(kernel: Kernel, d: int, dtype: Any) -> Float[Array, ""]:
    cosine, log_weight = (jnp.asarray(a, dtype) for a in _cosine_rule(d))
    return jax.nn.logsumexp(kernel.log_kernel(cosine) + log_weight)


class Function(Kernel):
    """A kernel given by any function log κ of the cosine."""

    fn: Callable[[Any], Any] = static()

    def log_kernel(self, cosine):
        """The function's value at the cosine."""
        return self.fn(cosine)


def as_kernel(kernel: Kernel | Callable[[Any], Any]) -> Any:
    """Return a kernel unchanged; wrap any other function of the cosine, log κ, in `Function`."""
    return Function(kernel) if callable(kernel) and not isinstance(kernel, type | Kernel) else kernel


def log_kernel_at(kernel: Kernel, cosine: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Log κ at scalar products of unit vectors, which rounding may move outside [-1, 1].

    The cosine is clipped to [-1, 1], and the derivatives are those of log κ at the clipped cosine. At ±1 an
    infinite derivative, as of exp(-θ/h) at θ = 0, is replaced by 0: the tangential gradient has no direction.
    """
    return _derivative_at(0, kernel, cosine)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _derivative_at(order: int, kernel: Kernel, cosine: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """The derivative of log κ in the cosine, of order 0, 1, …, with the conventions of `log_kernel_at`."""
    cosine = _clipped(cosine)
    derivative = kernel.log_kernel
    for _ in range(order):
        derivative = _slope_of(derivative)
    value = derivative(cosine)
    return jnp.where((jnp.abs(cosine) == 1) & ~jnp.isfinite(value), 0, value) if order else value


@jax.custom_jvp
def _clipped(cosine: Array) -> Array:
    """The cosine clipped to [-1, 1]; its derivative is 1 beyond them too, where only rounding leads."""
    return jnp.clip(cosine, -1, 1)


_clipped.defjvps(lambda d_cosine, clipped, cosine: d_cosine)


def _slope_of(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda a: jax.jvp(function, (a,), (jnp.ones_like(a),))[1]


@partial(_derivative_at.defjvp, symbolic_zeros=True)
def _derivative_at_jvp(order, primals, tangents):
    kernel, cosine = primals
    d_kernel, d_cosine = tangents
    value, total = _derivative_at(order, kernel, cosine), jnp.zeros_like(cosine)
    if not _is_zero(d_cosine):
        total = total + _derivative_at(order + 1, kernel, cosine) * d_cosine
    if not all(map(_is_zero, jax.tree.leaves(d_kernel, is_leaf=_is_zero))):
        d_kernel = jax.tree.map(_filled, d_kernel, is_leaf=_is_zero)
        of_kernel = partial(_derivative_at.fun, order, cosine=cosine)
        total = total + jax.jvp(of_kernel, (kernel,), (d_kernel,))[1]
    return value, total


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _filled(tangent: Any) -> Any:
    """The tangent as an array; NumPy's for dtype float0 (of integers), which JAX arrays cannot hold."""
    if not _is_zero(tangent):
        return tangent
    return (np if tangent.dtype == jax.dtypes.float0 else jnp).zeros(tangent.shape, tangent.dtype)


class Exponential(Kernel):
    """κ_τ(z, w) = exp(⟨z, w⟩/τ), the InfoNCE critic at temperature τ > 0.

    Examples:
        >>> import ctflow as ct
        >>> kernel = ct.kernels.Exponential(temperature=0.5)
        >>> float(kernel.log_kernel(1.0))
        2.0
        >>> kernel.degree_coefficients(d=3, max_degree=2).round(3).tolist()
        [1.0, 0.537, 0.194]
    """

    temperature: Real = positive()
    monotone = True

    def log_kernel(self, cosine):
        """⟨z, w⟩/τ."""
        return cosine / self.temperature

    def degree_coefficients(self, d, max_degree):
        """λ_ℓ = I_{ℓ+d/2-1}(1/τ) / I_{d/2-1}(1/τ); by quadrature where I leaves the range of float64."""
        check_count("d", d, minimum=2)
        check_count("max_degree", max_degree, minimum=0)
        order, x = d / 2 - 1, 1 / float(self.temperature)
        leading = special.ive(order, x)
        if not (np.isfinite(leading) and leading > 0):  # the Bessel function underflows or overflows
            return super().degree_coefficients(d, max_degree)
        return special.ive(order + np.arange(max_degree + 1), x) / leading


class GeodesicGaussian(Kernel):
    """κ_h(z, w) = exp(-θ²/2h²), θ the angle between z and w, bandwidth h > 0 in radians."""

    bandwidth: Real = positive()
    monotone = True

    def log_kernel(self, cosine):
        """-θ²/2h² with θ = arccos⟨z, w⟩; its gradient is finite at coincident and antipodal points."""
        return -squared_angle(cosine) / (2 * self.bandwidth**2)


class ChordalGaussian(Kernel):
    """κ_h(z, w) = exp(-‖z-w‖²/2h²), bandwidth h > 0: `Exponential(h²)` up to a constant factor."""

    bandwidth: Real = positive()
    monotone = True

    def log_kernel(self, cosine):
        """-‖z-w‖²/2h² = (⟨z, w⟩ - 1)/h²."""
        return (cosine - 1) / self.bandwidth**2


class ChordalDistance(Kernel):
    """κ_ε(z, w) = 3 - √(‖z-w‖² + ε²), whose discrepancy (MMD²) is the energy distance, softened by ε > 0.

    Args:
        softening: ε > 0, at most 2, so that κ > 0.
    """

    softening: Real = positive()
    monotone = True

    def log_kernel(self, cosine):
        """Log(3 - √(2 - 2⟨z, w⟩ + ε²))."""
        return jnp.log(3 - jnp.sqrt(2 - 2 * cosine + self.softening**2))


class Softplus(Kernel):
    """κ(z, w) = log(1 + e^u) with u = ⟨z, w⟩/τ + b: what SigLIP's loss charges a negative pair.

    Args:
        temperature: τ > 0.
        bias: b, any real number.
    """

    temperature: Real = positive()
    bias: Real = 0.0
    monotone = True

    def log_kernel(self, cosine):
        """Log log(1 + e^u)."""
        u = cosine / self.temperature + self.bias
        small = u < -20  # there log(1 + e^u) = e^u to 1e-9
        return jnp.where(small, u, jnp.log(jax.nn.softplus(jnp.where(small, 0, u))))


@jax.custom_jvp
def squared_angle(cosine: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """θ² for cos θ = `cosine`, which is clipped to [-1, 1].

    θ² is analytic at θ = 0, with derivative -2 in the cosine. At θ = π the derivative -2θ/sin θ is infinite
    and is capped; the tangential gradient at the antipode itself is 0.
    """
    return _angle(cosine)[0] ** 2


def _angle(cosine):
    c = jnp.clip(cosine, -1, 1)
    sine = jnp.sqrt((1 - c) * (1 + c))
    return jnp.arctan2(sine, c), sine


@squared_angle.defjvp
def _squared_angle_jvp(primals, tangents):
    return squared_angle(primals[0]), -2 * _angle_over_sine(primals[0]) * tangents[0]


@jax.custom_jvp
def _angle_over_sine(cosine):
    """θ/sin θ, which is 1 at θ = 0 and capped near θ = π."""
    angle, sine = _angle(cosine)
    floor = jnp.sqrt(jnp.finfo(angle.dtype).eps)
    return jnp.where(angle < floor, 1, angle / jnp.maximum(sine, floor))


@_angle_over_sine.defjvp
def _angle_over_sine_jvp(primals, tangents):
    """In the cosine, (cos θ · θ/sin θ - 1)/sin²θ: -1/3 at θ = 0, where this is 0/0."""
    angle, sine = _angle(primals[0])
    ratio, floor = _angle_over_sine(primals[0]), jnp.finfo(angle.dtype).eps ** 0.25
    slope = (jnp.cos(angle) * ratio - 1) / jnp.maximum(sine, floor) ** 2
    return ratio, jnp.where(angle < floor, -1 / 3, slope) * tangents[0]
