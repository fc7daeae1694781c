"""The Gibbs measure ρ* = exp(-U/τ)/Z: the unique equilibrium of the unimodal free energy.

It is computed by adaptive quadrature on the host, with U in float64 whether or not JAX's x64 mode is on: on
S¹ and S² for any smooth U, in every dimension for zonal U. All densities are w.r.t. the uniform probability
measure; all entropies and divergences are in nats.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow import caps, partition
from ctflow._base.adaptive import Boxes, resolve
from ctflow._base.annotations import Real
from ctflow._base.checks import check_count, check_key, check_positive, is_concrete
from ctflow._base.polar import PolarSampler, Strip, azimuths, fine_boxes, from_polar, polar_quadrature, whole
from ctflow.clouds import as_dtype, check_cloud, mean, points, weights
from ctflow.kernels import ChordalGaussian
from ctflow.partition.series import wide
from ctflow.potentials import as_potential, check_potential

__all__ = [
    "GibbsMeasure",
    "cap_fraction",
]

_CHUNK = 4096  # points per call of U; with one shape, U is compiled once
_AZIMUTHS = 128  # azimuths of the nodes on S² for zonal U, needed only to integrate functions that are not
_MAX_NOISE = 1e-5
_AGREE = 1e-8
_ON_AXIS = 1e-6  # a distance from the axis up to this is attributed to float32 rounding
_FINEST_BANDWIDTH = 0.032
# Up to this many pairs, an exact sum takes less time than compiling a spectral one.
_EXACT_PAIRS = 2**25


@jax.jit
def _values(potential: Any, z: Any) -> Any:
    """U at points [k, d]; compiled once per type of potential."""
    return potential(z)


def potential_values(potential: Any, z: np.ndarray) -> np.ndarray:
    """U at points [n, d] on the host, in float64 even if JAX's x64 mode is off.

    If U fails on float64 points, such as a function that mixes them with float32 arrays under strict dtype
    promotion, it is called in JAX's current precision instead.
    """
    padded = np.concatenate([z, np.broadcast_to(z[:1], (-len(z) % _CHUNK, z.shape[1]))])
    dtype, _ = _dtypes(potential, z.shape[1])
    values = np.empty(len(padded))
    with wide() if dtype == np.float64 else nullcontext():
        potential = as_dtype(potential, jnp.float64) if dtype == np.float64 else potential
        for first in range(0, len(padded), _CHUNK):
            chunk = jnp.asarray(padded[first : first + _CHUNK], dtype)
            values[first : first + _CHUNK] = np.asarray(_values(potential, chunk), np.float64)
    return values[: len(z)]


def _dtypes(potential: Any, d: int) -> tuple[Any, Any]:
    """The dtype of the points to pass to U (float64 if U accepts it), and the dtype of its values."""
    try:
        with wide():
            point = jax.ShapeDtypeStruct((_CHUNK, d), jnp.float64)
            return np.float64, jax.eval_shape(_values, as_dtype(potential, jnp.float64), point).dtype
    except Exception:  # a user's function may raise anything; `check_potential` has called it in `narrow`
        narrow = jnp.zeros(()).dtype
        return narrow, jax.eval_shape(_values, potential, jax.ShapeDtypeStruct((_CHUNK, d), narrow)).dtype


class GibbsMeasure:
    """ρ*(z) = exp(-U(z)/τ)/Z on S^{d-1}.

    Masses, means and log Z have errors of at most 1e-8, or 4 ε max|U|/τ if that is larger; ε is the relative
    rounding of U's values. A temperature at which this exceeds 1e-5 is refused: τ must be >= 9e-11 max|U| for
    float64 values, and >= 0.05 max|U| for a function that returns float32. Above this limit, zonal U work in
    every d, any smooth U on S¹, and isolated wells on S². A valley on S² needs more nodes the narrower it is;
    below a width of about 0.005 rad it is refused (for a `Ring` of stiffness 4 with `narrowing`, τ = 1e-4
    works and 3e-5 does not). For an equally narrow zonal valley, `cap_mass` refuses centers off the axis.

    Args:
        potential: U, of `ct.potentials` or any function of one point [d]. U must be smooth, without features
            narrower than 0.02 rad (d = 3) or 0.005 rad (other d), which the first grid could miss.
        temperature: τ > 0.
        d: dimension of the ambient space; d > 3 needs a zonal potential.

    Attributes:
        nodes: quadrature points [k, d], denser where ρ* is large; for d > 3, on one meridian.
        node_weights: their weights for the uniform law, [k], summing to 1.
        density: ρ* at the nodes, [k]; inf where it exceeds the range of float64, in high d.
        log_partition_function: log Z.

    Raises:
        ValueError: τ or d out of range, a U without a symmetry axis for d > 3, a τ too low for float64 or for
            two million nodes, or a U that is too rough.

    Examples:
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 0.0, 1.0])
        >>> measure = ct.gibbs.GibbsMeasure(up, temperature=0.5, d=3)
        >>> round(measure.mean(lambda z: z[:, 2]), 4)  # 1/tanh(2) - 1/2
        0.5373
    """

    def __init__(self, potential: Any, *, temperature: Real, d: int):
        check_positive("temperature", temperature)
        check_count("d", d, minimum=2)
        self.potential = as_potential(potential)
        check_potential(self.potential, d)
        self.temperature = float(temperature)
        self.d = d
        axis = getattr(self.potential, "symmetry_axis", None)
        if d > 3 and axis is None:
            raise ValueError(
                f"d must be 2 or 3 for a potential without a symmetry axis, got {d}: "
                "quadrature needs a zonal U there"
            )
        self._zonal = axis is not None
        # For U without an axis, a generic one is used, so that no symmetry of U hides an error.
        generic = np.sqrt(np.arange(2.0, d + 2))
        self._axis = generic if axis is None else np.asarray(axis, np.float64)
        if self._axis.shape != (d,):
            raise ValueError(f"d must be the potential's dimension {self._axis.shape[0]}, got {d}")
        self._axis = self._axis / np.linalg.norm(self._axis)
        self._last_smoothed: Any = (None, None)
        self._integrate()

    def _integrate(self) -> None:
        """Compute nodes and log Z on adaptive boxes, and check log Z on a different set of boxes."""
        strip = whole(self._axis, zonal=self._zonal)
        self._noise = self._rounding(strip)
        boxes = self._resolve(strip, spacing=0.1 if strip.edges is None else 0.4)
        other = (
            strip if self._zonal else whole(np.roll(self._axis, 1) * [-1, *[1] * (self.d - 1)], zonal=False)
        )
        again = self._resolve(other, spacing=0.073 if strip.edges is None else 0.31).log_mass
        if not abs(again - boxes.log_mass) < max(_AGREE, self._noise):
            raise ValueError(
                f"{self._subject}: log Z is {boxes.log_mass:.9g} on one grid and {again:.9g} on another; "
                "raise the temperature or smooth the potential"
            )
        self.log_partition_function = boxes.log_mass
        weight, log_rho = np.exp(boxes.log_weight).ravel(), boxes.log_rho.ravel()
        x, turns = boxes.coordinates, azimuths(self.d, _AZIMUTHS, zonal=not self._zonal or self.d > 3)
        if self._zonal:
            nodes = from_polar(self._axis, np.repeat(x[:, 0], turns.size), np.tile(turns, len(x)))
        else:
            nodes = strip.at(x)[0]
        self.nodes, self.node_weights = nodes, np.repeat(weight / turns.size, turns.size)
        self._log_density = np.repeat(log_rho - boxes.log_mass, turns.size)
        # The masses are normalised again, because log Z has the rounding of U/τ. They are not computed as
        # weights times density, which overflows in high d.
        self._mass = np.repeat(
            np.exp(boxes.log_weight.ravel() + log_rho - boxes.log_mass) / turns.size, turns.size
        )
        self._mass /= self._mass.sum()
        with np.errstate(over="ignore"):
            self.density = np.exp(self._log_density)

    def _rounding(self, strip: Strip) -> float:
        """Bound on the error of log ρ* from rounding of U, with max|U| taken on a coarse grid."""
        low, high = strip.boxes(0.1)
        largest = np.abs(self._potential_at(strip.at((low + high) / 2)[0])).max()
        epsilon = float(jnp.finfo(_dtypes(self.potential, self.d)[1]).eps)
        noise = 4 * epsilon * largest / self.temperature
        if not noise < _MAX_NOISE:
            raise ValueError(
                f"temperature must be >= {4 * epsilon * largest / _MAX_NOISE:.1e} for a potential of size "
                f"{largest:.3g} with relative rounding {epsilon:.0e}, got {self.temperature}; raise the "
                "temperature, or compute the potential in float64"
            )
        return noise

    @property
    def _subject(self) -> str:
        return f"temperature {self.temperature} is too low, or the potential too rough"

    def _resolve(self, strip: Strip, **options: Any) -> Boxes:
        return resolve(self._log_rho, strip, subject=self._subject, noise=self._noise, **options)

    def _log_rho(self, z: np.ndarray) -> np.ndarray:
        return -self._potential_at(z) / self.temperature

    def _potential_at(self, z: np.ndarray) -> np.ndarray:
        u = potential_values(self.potential, z)
        if not np.isfinite(u).all():
            first = np.flatnonzero(~np.isfinite(u))[0]
            raise ValueError(f"potential must be finite on the whole sphere, got {u[first]} at {z[first]}")
        return u

    @property
    def free_energy(self) -> float:
        """F(ρ*) = -log Z, the minimum of F(ρ) = (1/τ)∫Uρ dμ - H(ρ); F(ρ) - F(ρ*) = KL(ρ‖ρ*)."""
        return -self.log_partition_function

    def mean(self, fn: Callable[[np.ndarray], Any]) -> float:
        """∫f ρ* dμ for a smooth f from points [k, d] to values [k]; for d > 3, f must be zonal like U."""
        return float(np.sum(self._mass * np.asarray(fn(self.nodes), np.float64)))

    @property
    def mean_potential(self) -> float:
        """∫U ρ* dμ."""
        top = self._log_density.max()  # subtracted so that U is not rounded a second time
        above = -self.temperature * float(np.sum(self._mass * (self._log_density - top)))
        return above - self.temperature * float(top + self.log_partition_function)

    @property
    def entropy(self) -> float:
        """H(ρ*) = -∫ρ* log ρ* dμ = ∫U ρ* dμ/τ + log Z, <= 0."""
        return -float(np.sum(self._mass * self._log_density))

    def log_density(self, z: Any) -> np.ndarray:
        """Log ρ*(z) at points [n, d] of unit norm, which are first normalised again in float64."""
        return self._log_rho(_on_sphere("z", z, self.d)) - self.log_partition_function

    def cap_mass(self, centers: Any, *, radius: float) -> float:
        """Mass of ρ* within `radius` (radians) of any of the centers [k, d]; for d > 3 these are ± U's axis.

        The error is at most 1e-8 or the measure's own error, whichever is larger: the union of the caps is
        cut along their circles into strips on which ρ* is smooth.
        """
        centers = _on_sphere("centers", np.atleast_2d(np.asarray(centers)), self.d)
        _check_radius(radius)
        sides = np.sign(centers @ self._axis)[:, None]
        if self.d > 3 and np.linalg.norm(centers - sides * self._axis, axis=1).max() > _ON_AXIS:
            raise ValueError("centers must lie on the potential's symmetry axis in d > 3")
        axis = self._axis if self.d > 3 else None
        strips = caps.strips(centers, float(radius), axis=axis)
        log_z = self.log_partition_function
        parts = (
            self._resolve(strip, spacing=0.1 if strip.edges is None else 0.4, log_total=log_z)
            for strip in strips
        )
        return min(1.0, float(sum(np.exp(part.log_mass - log_z) for part in parts)))

    def potential_cdf(self, u: Any) -> np.ndarray:
        """P(U(z) <= u) under ρ*, to about 1e-4; the reference law of a Kolmogorov-Smirnov test."""
        return np.interp(u, *self._potential_law, left=0.0, right=1.0)

    @cached_property
    def _potential_law(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted values u of U, and P(U <= u)."""
        boxes = self._fine_boxes
        log_rho = boxes.log_rho.ravel()
        mass = np.exp(log_rho + boxes.log_weight.ravel() - self.log_partition_function)
        order = np.argsort(-log_rho)
        return -self.temperature * log_rho[order], np.cumsum(mass[order]) - 0.5 * mass[order]

    @cached_property
    def _fine_boxes(self) -> Boxes:
        strip = whole(self._axis, zonal=self._zonal)
        return fine_boxes(self._log_rho, strip, subject=self._subject, noise=self._noise)

    def sample(self, key: Any, n: int) -> np.ndarray:
        """Draw n independent points [n, d], exactly, with a JAX random key."""
        check_count("n", n)
        check_key("key", key)
        return self._sampler(np.random.default_rng(np.asarray(jax.random.key_data(key))), n)

    @cached_property
    def _sampler(self) -> PolarSampler:
        return PolarSampler.from_boxes(whole(self._axis, zonal=self._zonal), self._fine_boxes, self._log_rho)

    def kl(self, cloud: Any, *, bandwidth: Real | None = None) -> float:
        """KL(K∗q ‖ K∗ρ*) >= 0 on S¹ or S², by quadrature: cloud q and ρ*, smoothed with the same kernel K.

        This is a lower bound of KL(q‖ρ*) by the data-processing inequality, and tends to it as the kernel
        sharpens and n grows. For n samples of ρ* itself it is about (effective number of bumps)/2n, not 0.

        Args:
            cloud: [n, d] or `ct.WeightedCloud`.
            bandwidth: h of the `ChordalGaussian` kernel, radians; n^{-1/(d+3)} by default, the rate of
                a density estimate on the (d-1)-sphere.
        """
        if self.d > 3:
            raise ValueError(f"kl needs d = 2 or 3, got d = {self.d}: no quadrature there")
        cloud = check_cloud("cloud", cloud)
        z = points(cloud)
        if z.shape[1] != self.d:
            raise ValueError(f"cloud must have d = {self.d}, got shape {z.shape}")
        check_positive("bandwidth", 1 if bandwidth is None else bandwidth)
        h = z.shape[0] ** (-1 / (self.d + 3)) if bandwidth is None else float(bandwidth)
        if h < _FINEST_BANDWIDTH:
            raise ValueError(f"bandwidth must be >= {_FINEST_BANDWIDTH} rad to be resolved, got {h:g}")
        nodes, w, log_rho = self._smoothed(h)
        kernel = ChordalGaussian(h)
        log_q = _smoothed_log_density(jnp.asarray(nodes, z.dtype), z, kernel, weights(cloud))
        return float(np.sum(w * np.exp(log_q) * (log_q - log_rho)))

    def _smoothed(self, bandwidth: Real) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, weights and log(K∗ρ*) for a kernel of this bandwidth; the last result is cached."""
        if self._last_smoothed[0] == bandwidth:
            return self._last_smoothed[1]
        count = int(np.clip(8 / bandwidth, 32, 256))
        nodes, w = polar_quadrature(self._axis, np.pi, count, zonal=False)
        y, mass = nodes, w * np.exp(self._log_rho(nodes) - self.log_partition_function)
        if not abs(mass.sum() - 1) < _AGREE:  # ρ* is too sharp for these nodes; its own nodes resolve it
            held = self._mass > 1e-16
            y, mass = self.nodes[held], self._mass[held]
        kernel, x, y = ChordalGaussian(bandwidth), jnp.asarray(nodes), jnp.asarray(y)
        smoothed = nodes, w, _smoothed_log_density(x, y, kernel, jnp.asarray(mass / mass.sum()))
        self._last_smoothed = bandwidth, smoothed
        return smoothed


def _smoothed_log_density(x: Any, y: Any, kernel: ChordalGaussian, w: Any) -> np.ndarray:
    """Log of the smoothed density of the cloud y (weights w) at the points x, on the host."""
    method = "tiled" if x.shape[0] * y.shape[0] <= _EXACT_PAIRS else "auto"
    total = partition.log_partition(x, y, kernel, weights=w, method=method)
    return np.asarray(total, np.float64) - float(kernel.log_volume(x.shape[1]))


def cap_fraction(cloud: Any, centers: Any, *, radius: float) -> Any:
    """Mass of a cloud within `radius` (radians) of any of the centers [k, d]; works under `jit`.

    Raises:
        ValueError: several clouds, points or centers off the sphere, or a radius outside (0, π].
    """
    cloud = check_cloud("cloud", cloud)
    z = points(cloud)
    if is_concrete(centers):
        centers = _on_sphere("centers", np.atleast_2d(np.asarray(centers)), z.shape[1])
    _check_radius(radius)
    near = jnp.matmul(z, jnp.asarray(centers, z.dtype).T, precision="highest") > math.cos(radius)
    return mean(cloud, jnp.any(near, axis=1).astype(z.dtype))


def _check_radius(radius: Any) -> None:
    """Raise ValueError unless `radius` is one number in (0, π]."""
    if np.ndim(radius) != 0:
        raise ValueError(f"radius must be one number in (0, π] radians, got shape {np.shape(radius)}")
    check_positive("radius", radius)
    if radius > np.pi:
        raise ValueError(f"radius must lie in (0, π] radians, got {radius}")


def _on_sphere(name: str, z: Any, d: int) -> np.ndarray:
    """Points [n, d] normalised in float64, after a check that their norms differ from 1 only by rounding."""
    with wide():
        z = np.asarray(check_cloud(name, z), np.float64)
    if z.shape[1] != d:
        raise ValueError(f"{name} must have shape [n, {d}], got {z.shape}")
    return z / np.linalg.norm(z, axis=1, keepdims=True)
