"""Harmonics on S¹ and S²: moments of a cloud, and band-limited fields with their gradients.

A zonal kernel is diagonal in degree (Funk-Hecke): κ(⟨x, y⟩) = Σ_ℓ c_ℓ Z_ℓ(⟨x, y⟩), with Z_ℓ = cos ℓθ on S¹
and the Legendre polynomial P_ℓ on S², and Z_ℓ(⟨x, y⟩) = Σ_m Y_ℓm(x)·Y_ℓm(y). A sum over all pairs is computed
from the moments of y: multiplied by c_ℓ, they are the series of the field, which is evaluated at x.
The cost is O(n·L) on S¹ and O(n·L²) on S².

Arrays of harmonic moments are [orders, L + 1, 2]: order, degree, and (cos mφ, sin mφ). The circle has one
"order". Points are given as [n, d]; tables of waves are [k, n].

On S² the fields are evaluated as double Fourier series, which neither overflow nor lose digits at any degree
or point: cos kθ for m = 0, sin kθ for odd m, sin θ·sin kθ for even m ≥ 2.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special

DEGREE_STEP = 8  # degrees are multiples of this: fewer compilations, and powers in a two-level table


def _least(dtype: Any) -> float:
    """The smallest length whose square has full precision; S² points nearer a pole are moved to it."""
    limits = jnp.finfo(dtype)
    return math.sqrt(float(limits.tiny) / float(limits.eps))


_Wave = tuple[Array, Array]
"""Cosine and sine of the same angles."""


def _times(a: Sequence[Array], b: Sequence[Array]) -> _Wave:
    """Cosine and sine of the sums of angles."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _powers(first: list[_Wave], degree: int) -> list[_Wave]:
    """Cosines and sines [degree, n] of k·a for k = 1 … degree, from those [n] of several angles a.

    Each is a product of a low power and one that is a multiple of `DEGREE_STEP`.
    """

    def powers(wave: _Wave, count: int) -> list[_Wave]:
        found = [wave]
        for k in range(2, count + 1):
            found.append(_times(found[k // 2 - 1], found[k - k // 2 - 1]))
        return found

    wave = jnp.stack([c for c, _ in first]), jnp.stack([s for _, s in first])
    low = powers(wave, DEGREE_STEP)
    high = [(jnp.ones_like(wave[0]), jnp.zeros_like(wave[1])), *powers(low[-1], degree // DEGREE_STEP - 1)]
    high = high[: degree // DEGREE_STEP]
    low, high = (
        [jnp.stack(part, axis=1) for part in zip(*each, strict=True)] for each in (low, high)
    )  # [angles, powers, n]
    tables = [
        _times([part[k][:, None] for part in high], [part[k][None] for part in low])
        for k in range(len(first))
    ]
    return jax.tree.map(lambda a: a.reshape(degree, -1), tables)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


class Circle(NamedTuple):
    """Fourier harmonics of S¹ up to `degree`."""

    degree: int

    def waves(self, z: Float[Array, "n 2"]) -> Any:
        """Cosines and sines of kφ [degree, n] at the points z, which the other methods take."""
        radius = jnp.maximum(jnp.sqrt(jnp.sum(z * z, axis=1)), _least(z.dtype))
        return _powers([(z[:, 0] / radius, z[:, 1] / radius)], self.degree)[0]

    def moments(self, waves: Any, weights: Float[Array, " n"]) -> Array:
        """Σ_j w_j (cos mφ_j, sin mφ_j) for m = 1 … degree, as one vector."""
        return _matmul(jnp.concatenate(waves), weights)

    def analyse(self, raw: Array, mass: Array) -> Array:
        """Harmonic moments [1, L + 1, 2] from `moments` and the total weight."""
        first = jnp.stack([mass, jnp.zeros_like(mass)])[None]
        return jnp.concatenate([first, raw.reshape(2, self.degree).T])[None]

    def synthesise(self, harmonic: Array) -> Array:
        """The `series` argument of `field`, from harmonic moments times coefficients."""
        return harmonic[0]

    def field(self, waves: Any, series: Array) -> Float[Array, " n"]:
        """Values of the series at the points."""
        c, s = waves
        return series[0, 0] + _matmul(series[1:, 0], c) + _matmul(series[1:, 1], s)

    def field_and_gradient(self, waves: Any, series: Array) -> tuple[Array, Array]:
        """Values [n] of the series and its tangential gradient [n, 2] at the points."""
        c, s = waves
        order = jnp.arange(1, self.degree + 1, dtype=c.dtype)
        slope = _matmul(order * series[1:, 1], c) - _matmul(order * series[1:, 0], s)
        value = self.field(waves, series)
        return value, slope[:, None] * jnp.stack([-s[0], c[0]], axis=1)


class _Angles(NamedTuple):
    """A cloud's polar and azimuthal tables on S²: cos kθ, sin kθ, cos mφ, sin mφ [degree, n] each."""

    cos_polar: Array
    sin_polar: Array
    cos_azimuth: Array
    sin_azimuth: Array

    def of_even_orders(self) -> Array:
        return (jnp.arange(1, self.sin_polar.shape[0] + 1) % 2 == 0)[:, None]

    def scale(self) -> Array:
        """The factor of sin kθ in the basis: sin θ for even orders, 1 for odd ones."""
        return jnp.where(self.of_even_orders(), self.sin_polar[:1], 1)


class Sphere(NamedTuple):
    """Spherical harmonics of S² up to `degree`, Schmidt semi-normalised: Σ_m Y_ℓm² = 1."""

    degree: int

    def waves(self, z: Float[Array, "n 3"]) -> Any:
        """The tables of waves at the points z, which the other methods take."""
        x, y, height = z[:, 0], z[:, 1], z[:, 2]
        flat = jnp.sqrt(x * x + y * y)
        away = jnp.maximum(flat, _least(z.dtype))
        radius = jnp.sqrt(away * away + height * height)
        at_pole = flat < away
        azimuth = jnp.where(at_pole, 1, x / away), jnp.where(at_pole, 0, y / away)
        polar, azimuth = _powers([(height / radius, away / radius), azimuth], self.degree)
        return _Angles(*polar, *azimuth)

    def moments(self, a: Any, weights: Float[Array, " n"]) -> Array:
        """Weighted sums over the points of all double Fourier waves except the constant, as one vector."""
        waves = jnp.concatenate([a.cos_azimuth * a.scale(), a.sin_azimuth * a.scale()]) * weights[None, :]
        zonal = _matmul(a.cos_polar, weights)
        return jnp.concatenate([zonal, _matmul(waves, a.sin_polar.T).ravel()])

    def analyse(self, raw: Array, mass: Array) -> Array:
        """Harmonic moments [L + 1, L + 1, 2], order m first, from `moments` and the total weight."""
        size = self.degree
        basis = jnp.asarray(_double_fourier(size), raw.dtype)
        zonal = _matmul(jnp.concatenate([mass[None], raw[:size]]), basis[0])
        other = raw[size:].reshape(2, size, size)
        orders = jnp.einsum("pmk,mkl->mlp", other, basis[1:, 1:], precision="highest")
        first = jnp.stack([zonal, jnp.zeros_like(zonal)], axis=-1)[None]
        return jnp.concatenate([first, orders])

    def synthesise(self, harmonic: Array) -> tuple[Array, Array]:
        """Coefficients of the double Fourier waves: zonal [L + 1] and others [2, L (m), L (k)]."""
        basis = jnp.asarray(_double_fourier(self.degree), harmonic.dtype)
        zonal = _matmul(basis[0], harmonic[0, :, 0])
        return zonal, jnp.einsum("mkl,mlp->pmk", basis[1:, 1:], harmonic[1:], precision="highest")

    def field(self, a: Any, series: tuple[Array, Array]) -> Float[Array, " n"]:
        """Values of the series at the points."""
        return self._value(a, *self._azimuthal(a, series))

    def _azimuthal(self, a: Any, series: tuple[Array, Array]) -> tuple[Array, Array]:
        zonal, others = series
        height = zonal[0] + _matmul(zonal[1:], a.cos_polar)
        return height, _matmul(others.reshape(2 * self.degree, -1), a.sin_polar).reshape(2, self.degree, -1)

    def _value(self, a: Any, zonal: Array, waves: Array) -> Array:
        return zonal + jnp.sum((a.cos_azimuth * waves[0] + a.sin_azimuth * waves[1]) * a.scale(), axis=0)

    def field_and_gradient(self, a: Any, series: tuple[Array, Array]) -> tuple[Array, Array]:
        """Values [n] of the series and its tangential gradient [n, 3] at the points.

        Every sin kθ is O(sin θ), so dividing the sum by sin θ keeps full precision at the poles.
        """
        zonal, others = series
        height, waves = self._azimuthal(a, series)
        order = jnp.arange(1, self.degree + 1, dtype=zonal.dtype)
        slopes = _matmul((others * order[None, None, :]).reshape(2 * self.degree, -1), a.cos_polar)
        slopes = slopes.reshape(2, self.degree, -1)
        cos, sin = a.cos_polar[0], a.sin_polar[0]
        cos_azimuth, sin_azimuth = a.cos_azimuth[0], a.sin_azimuth[0]
        even = a.of_even_orders()

        crest = a.cos_azimuth * waves[0] + a.sin_azimuth * waves[1]
        value = height + jnp.sum(crest * a.scale(), axis=0)
        by_polar = (
            jnp.sum((a.cos_azimuth * slopes[0] + a.sin_azimuth * slopes[1]) * a.scale(), axis=0)
            + cos * jnp.sum(jnp.where(even, crest, 0), axis=0)
            - _matmul(order * zonal[1:], a.sin_polar)
        )
        turned = order[:, None] * (a.cos_azimuth * waves[1] - a.sin_azimuth * waves[0])
        by_azimuth = jnp.sum(turned * jnp.where(even, 1, 1 / sin[None, :]), axis=0)
        gradient = [
            by_polar * cos * cos_azimuth - by_azimuth * sin_azimuth,
            by_polar * cos * sin_azimuth + by_azimuth * cos_azimuth,
            -by_polar * sin,
        ]
        return value, jnp.stack(gradient, axis=1)


Harmonics = Circle | Sphere


def harmonics(d: int, degree: int) -> Harmonics:
    """The harmonics of S^{d-1}, d = 2 or 3, up to `degree`, a multiple of `DEGREE_STEP`."""
    return Circle(degree) if d == 2 else Sphere(degree)


@lru_cache(maxsize=16)
def _double_fourier(degree: int) -> np.ndarray:
    """The polar factors of Y_ℓm as double Fourier series: [order m, wave k, degree ℓ], float64.

    The projections on the midpoint grid are exact: products of waves up to `degree` are not aliased there.
    """
    count = degree + 2
    theta = (np.arange(count) + 0.5) * np.pi / count
    k, ell = np.arange(degree + 1), np.arange(degree + 1)
    legendre = special.assoc_legendre_p_all(degree, degree, np.cos(theta), norm=True)[0]
    legendre = legendre / np.sqrt(ell + 0.5)[:, None, None]
    cosines = np.cos(k[:, None] * theta) * np.where(k == 0, 1, 2)[:, None] / count
    sines = np.sin(k[:, None] * theta) * 2 / count
    table = np.zeros((degree + 1, degree + 1, degree + 1))
    table[0] = cosines @ legendre[:, 0].T
    for m in range(1, degree + 1):
        factor = math.sqrt(2) / (np.sin(theta) if m % 2 == 0 else 1)
        table[m] = sines @ (legendre[:, m] * factor).T
    # The highest frequency of each wave. A harmonic contains only frequencies <= its degree, of its parity.
    frequency = k[None, :] + (k % 2 == 0)[:, None] * (k > 0)[:, None]
    above = ell - frequency[:, :, None]
    return np.where((above >= 0) & (above % 2 == 0), table, 0)


class ZonalRule(NamedTuple):
    """A quadrature rule for zonal functions, and the zonal harmonics at its nodes; float64, on the host.

    Attributes:
        cosine: nodes [k] in (-1, 1).
        weights: [k], summing to 1.
        values: Z_ℓ [L + 1, k].
        multiplicity: 1/∫Z_ℓ² [L + 1]: 1 or 2 on S¹, 2ℓ + 1 on S².
    """

    cosine: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    multiplicity: np.ndarray


class ZonalSamples(NamedTuple):
    """The angles at which a kernel is compared with its series; float64, on the host.

    Attributes:
        cosine: cosines [k] of the angles θ in [0, π].
        sine: sines [k] of the same angles.
        values: Z_ℓ [L + 1, k].
        slopes: dZ_ℓ/dθ [L + 1, k].
    """

    cosine: np.ndarray
    sine: np.ndarray
    values: np.ndarray
    slopes: np.ndarray


def num_angles(degree: int) -> int:
    """Number of nodes of `zonal_rule`: eight per period of the highest degree, and at least 512."""
    return max(512, 4 * degree)


def _zonal(d: int, degree: int, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z_ℓ and dZ_ℓ/dθ [L + 1, k] at angles θ [k]."""
    if d == 2:
        ell = np.arange(degree + 1)[:, None]
        return np.cos(ell * theta), -ell * np.sin(ell * theta)
    values, by_cosine = special.legendre_p_all(degree, np.cos(theta), diff_n=1)
    return values, -by_cosine * np.sin(theta)


@lru_cache(maxsize=32)
def zonal_rule(d: int, degree: int) -> ZonalRule:
    """The rule at `num_angles` midpoints (Fejér's first), with the harmonics of S^{d-1} up to `degree`."""
    count, ell = num_angles(degree), np.arange(degree + 1)
    theta = (np.arange(count) + 0.5) * np.pi / count
    values = _zonal(d, degree, theta)[0]
    if d == 2:
        return ZonalRule(np.cos(theta), np.full(count, 1 / count), values, np.where(ell == 0, 1.0, 2.0))
    k = np.arange(1, count // 2)[:, None]
    weights = (1 - 2 * np.sum(np.cos(2 * k * theta) / (4 * k**2 - 1), axis=0)) / count
    return ZonalRule(np.cos(theta), weights, values, 2.0 * ell + 1)


@lru_cache(maxsize=32)
def zonal_samples(d: int, degree: int) -> ZonalSamples:
    """Samples halfway between the nodes of `zonal_rule`, at 0 and π, and denser near both, down to 1e-7 rad.

    The samples must not be the nodes of the rule: a series may fit a function there and be wrong elsewhere.
    The ends are sampled more finely because a kernel's slope may jump at the antipode.
    """
    count = num_angles(degree)
    ends = np.geomspace(1e-7, np.pi / count, 12)[:-1]
    theta = np.concatenate([ends, np.arange(count + 1) * np.pi / count, np.pi - ends])
    values, slopes = _zonal(d, degree, theta)
    sine = np.sin(theta)
    sine[count + len(ends)] = 0.0  # sin π
    return ZonalSamples(np.cos(theta), sine, values, slopes)
