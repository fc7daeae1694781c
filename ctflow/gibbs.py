"""The Gibbs measure ρ* = exp(-U/τ)/Z: the one equilibrium of the unimodal free energy, exactly.

By quadrature on the host in float64: on S¹ and S² for any smooth U, in every dimension for zonal U.
All densities are w.r.t. the uniform probability measure, all entropies and divergences in nats.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from ctflow import partition
from ctflow.checks import check_count, check_key, check_positive
from ctflow.clouds import check_cloud, mean, points, weights
from ctflow.kernels import ChordalGaussian
from ctflow.polar import PolarSampler, from_polar, polar_quadrature
from ctflow.potentials import as_potential, check_potential

_MAX_POLAR_NODES = 1024
_TOLERANCE = 1e-9
_FINEST_BANDWIDTH = 0.032
# Up to so many pairs an exact sum is done before the program of a spectral one is compiled.
_EXACT_PAIRS = 2**25


@jax.jit
def _values(potential: Any, z: Any) -> Any:
    """U at points [k, d]; one program for all potentials of a kind."""
    return potential(z)


class GibbsMeasure:
    """ρ*(z) = exp(-U(z)/τ)/Z on S^{d-1}.

    Args:
        potential: U, of `ct.potentials` or any function of one point [d]; smooth.
        temperature: τ > 0.
        d: dimension of the ambient space; d > 3 needs a zonal potential.

    Attributes:
        nodes: quadrature points [k, d], refined until log Z is stable to 1e-9, or to the rounding of U
            where JAX runs in float32; one meridian in d > 3.
        node_weights: their weights for the uniform law, [k], summing to 1.
        density: ρ* at the nodes, [k].
        log_partition_function: log Z.

    Raises:
        ValueError: τ or d out of range, a U without a symmetry axis for d > 3, or a U too rough.
    """

    def __init__(self, potential: Any, *, temperature: float, d: int):
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
        self._zonal = d > 3
        self._has_axis = axis is not None
        # Without an axis, a generic one: rings of nodes must not be level sets of U, see potential_cdf.
        generic = np.sqrt(np.arange(2.0, d + 2)) / np.sqrt(np.arange(2.0, d + 2).sum())
        self._axis = generic if axis is None else np.asarray(axis, np.float64)
        if self._axis.shape != (d,):
            raise ValueError(f"d must be the potential's dimension {self._axis.shape[0]}, got {d}")
        self._last_smoothed: Any = (None, None)
        self._refine()

    def _refine(self) -> None:
        previous, count = np.inf, 64
        while True:
            nodes, node_weights = polar_quadrature(self._axis, np.pi, count, zonal=self._zonal)
            exponent = -self._potential_at(nodes) / self.temperature
            log_z = float(np.asarray(special.logsumexp(exponent, b=node_weights)))
            rounding = 8 * float(jnp.finfo(jnp.zeros(()).dtype).eps) * np.abs(exponent).max()
            if abs(log_z - previous) < max(_TOLERANCE * max(1.0, abs(log_z)), rounding):
                break
            if count >= _MAX_POLAR_NODES:
                raise ValueError(
                    f"temperature {self.temperature} is too low, or the potential too rough, for {count} "
                    f"nodes: log Z still moves by {abs(log_z - previous):.1e}"
                )
            previous, count = log_z, 2 * count
        self.nodes, self.node_weights = nodes, node_weights
        self.density = np.exp(exponent - log_z)
        self.log_partition_function = log_z

    def _potential_at(self, z: np.ndarray) -> np.ndarray:
        return np.asarray(_values(self.potential, jnp.asarray(z)), np.float64)

    @property
    def free_energy(self) -> float:
        """F(ρ*) = -log Z, the minimum of F(ρ) = (1/τ)∫Uρ dμ - H(ρ); F(ρ) - F(ρ*) = KL(ρ‖ρ*)."""
        return -self.log_partition_function

    def mean(self, fn: Callable[[np.ndarray], Any]) -> float:
        """∫f ρ* dμ for a smooth f from points [k, d] to values [k]; in d > 3, f zonal about U's axis."""
        return float(np.sum(self.node_weights * self.density * np.asarray(fn(self.nodes), np.float64)))

    @property
    def mean_potential(self) -> float:
        """∫U ρ* dμ."""
        return self.mean(self._potential_at)

    @property
    def entropy(self) -> float:
        """H(ρ*) = -∫ρ* log ρ* dμ = ∫U ρ* dμ/τ + log Z, <= 0."""
        return self.mean_potential / self.temperature + self.log_partition_function

    def log_density(self, z: Any) -> np.ndarray:
        """Log ρ*(z) at points [n, d]."""
        return -self._potential_at(np.asarray(z)) / self.temperature - self.log_partition_function

    def cap_mass(self, centers: Any, *, radius: float) -> float:
        """Mass within `radius` (radians) of any of the centers [k, d]; in d > 3, of ± the symmetry axis."""
        centers = _check_caps(centers, radius, self.d)
        if self._zonal and not np.allclose(np.abs(centers @ self._axis), 1):
            raise ValueError("centers must lie on the potential's symmetry axis in d > 3")
        total = 0.0
        for center in centers:
            z, w = polar_quadrature(center, radius, 256, zonal=self._zonal)
            shared = np.maximum(
                1, (z @ centers.T > np.cos(radius)).sum(axis=1)
            )  # overlapping caps count once
            total += float(np.sum(w * np.exp(self.log_density(z)) / shared))
        return total

    def potential_cdf(self, u: Any) -> np.ndarray:
        """P(U(z) <= u) under ρ*, to about 1e-4: the law a Kolmogorov-Smirnov test compares with."""
        return np.interp(u, *self._potential_law, left=0.0, right=1.0)

    @cached_property
    def _potential_law(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted values of U and P(U <= value) there."""
        if self._has_axis:  # U may fall and rise along the meridian, so its nodes must be dense
            count = 2**15
            theta = np.pi * (np.arange(count) + 0.5) / count
            nodes = from_polar(self._axis, theta, np.zeros(count))
            log_area = (self.d - 2) * np.log(np.sin(theta))
            node_weights = np.exp(log_area - special.logsumexp(log_area))
        else:
            nodes, node_weights = polar_quadrature(self._axis, np.pi, 512, zonal=False)
        values = self._potential_at(nodes)
        order = np.argsort(values)
        mass = node_weights * np.exp(-values / self.temperature - self.log_partition_function)
        return values[order], np.cumsum(mass[order]) - 0.5 * mass[order]

    def sample(self, key: Any, n: int) -> np.ndarray:
        """Draw n independent points [n, d], exactly, with a JAX random key."""
        check_count("n", n)
        check_key("key", key)
        return self._sampler(np.random.default_rng(np.asarray(jax.random.key_data(key))), n)

    @cached_property
    def _sampler(self) -> PolarSampler:
        return PolarSampler(self._axis, self.log_density, zonal=self._zonal)

    def kl(self, cloud: Any, *, bandwidth: float | None = None) -> float:
        """KL(K∗q ‖ K∗ρ*) >= 0 on S¹ or S²: cloud and Gibbs measure smoothed alike, by quadrature.

        A lower bound of KL(q‖ρ*) (data processing) that tends to it as the kernel sharpens and particles
        fill it. With n samples of ρ* itself it reads about (effective number of bumps)/2n, not 0.

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

    def _smoothed(self, bandwidth: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, weights and log(K∗ρ*) for a kernel of this bandwidth; the last one asked for is kept."""
        if self._last_smoothed[0] == bandwidth:
            return self._last_smoothed[1]
        count = int(np.clip(8 / bandwidth, 32, 256))
        nodes, w = polar_quadrature(self._axis, np.pi, count, zonal=False)
        mass = w * np.exp(self.log_density(nodes))
        kernel, y = ChordalGaussian(bandwidth), jnp.asarray(nodes)
        smoothed = nodes, w, _smoothed_log_density(y, y, kernel, jnp.asarray(mass / mass.sum()))
        self._last_smoothed = bandwidth, smoothed
        return smoothed


def _smoothed_log_density(x: Any, y: Any, kernel: ChordalGaussian, w: Any) -> np.ndarray:
    """Log of the smoothed density of the cloud y at x, on the host."""
    method = "tiled" if x.shape[0] * y.shape[0] <= _EXACT_PAIRS else "auto"
    total = partition.log_partition(x, y, kernel, weights=w, method=method)
    return np.asarray(total, np.float64) - float(kernel.log_volume(x.shape[1]))


def cap_fraction(cloud: Any, centers: Any, *, radius: float) -> Any:
    """Mass of a cloud within `radius` (radians) of any of the centers [k, d]; jittable."""
    z = points(cloud)
    near = jnp.matmul(z, jnp.asarray(centers, z.dtype).T, precision="highest") > math.cos(radius)
    return mean(cloud, jnp.any(near, axis=1).astype(z.dtype))


def _check_caps(centers: Any, radius: float, d: int) -> np.ndarray:
    centers = np.asarray(check_cloud("centers", np.atleast_2d(np.asarray(centers))), np.float64)
    if centers.shape[1] != d:
        raise ValueError(f"centers must have shape [k, {d}], got {centers.shape}")
    check_positive("radius", radius)
    if radius > np.pi:
        raise ValueError(f"radius must lie in (0, π] radians, got {radius}")
    return centers
