"""Polar coordinates about an axis of S^{d-1}: quadrature, and exact sampling of a density.

A point is z = cos θ · axis + sin θ · t with t a unit tangent at the axis: one of two sides for d = 2, an
azimuth φ for d = 3. A zonal function depends on θ alone, and one meridian stands for all.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special


@lru_cache(maxsize=256)
def polar_rule(d: int, radius: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles θ [count] and log weights [count]: Gauss-Legendre in θ on [0, radius].

    The weights integrate zonal functions against the uniform law of S^{d-1}: over [0, π] they sum to 1.
    The nodes crowd at both poles, so that narrow kernels are resolved in any dimension.
    """
    t, w = np.polynomial.legendre.leggauss(count)
    theta = radius * (t + 1) / 2
    log_total = 0.5 * np.log(np.pi) + special.gammaln((d - 1) / 2) - special.gammaln(d / 2)
    return theta, np.log(radius / 2 * w) + (d - 2) * np.log(np.sin(theta)) - log_total


def polar_quadrature(
    axis: np.ndarray, radius: float, count: int, *, zonal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes [k, d] and weights [k] of the uniform law on the cap of `radius` about the axis.

    The weights' sum is the cap's mass; over the whole sphere (radius π) it is 1.

    Args:
        axis: unit vector [d].
        radius: in (0, π] radians.
        count: polar nodes; twice as many azimuths on S².
        zonal: integrate only functions of θ; needed for d > 3.
    """
    theta, log_weight = polar_rule(axis.shape[0], float(radius), count)
    phi = azimuths(axis.shape[0], 2 * count, zonal=zonal)
    grid = np.repeat(theta, phi.size), np.tile(phi, theta.size)
    return from_polar(axis, *grid), np.repeat(np.exp(log_weight) / phi.size, phi.size)


def azimuths(d: int, count: int, *, zonal: bool) -> np.ndarray:
    """The azimuths of a grid: one for a zonal function, two sides for d = 2, `count` for d = 3."""
    return 2 * np.pi * np.arange(1 if zonal else 2 if d == 2 else count) / (2 if d == 2 else count)


def from_polar(axis: np.ndarray, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Points [k, d] at angles θ [k] from the axis and azimuths φ [k] (0 or π for d = 2)."""
    frame = _frame(axis)
    tangent = np.cos(phi)[:, None] * frame[:, 1]
    if axis.shape[0] > 2:
        tangent = tangent + np.sin(phi)[:, None] * frame[:, 2]
    return np.cos(theta)[:, None] * axis + np.sin(theta)[:, None] * tangent


def _frame(axis: np.ndarray) -> np.ndarray:
    """An orthogonal matrix whose first column is the axis."""
    q, _ = np.linalg.qr(np.column_stack([axis, np.eye(axis.shape[0])]))
    return np.column_stack([axis, q[:, 1:]])


class PolarSampler:
    """Draws from a density on the sphere, exactly: a cell of a fine (θ, φ) grid, then rejection in it.

    Args:
        axis: unit vector [d].
        log_density: from points [k, d] to log densities [k] w.r.t. the uniform law.
        zonal: the density depends on θ alone; needed for d > 3.
    """

    NUM_POLAR, NUM_AZIMUTHS = 768, 1024
    MARGIN = 0.02  # how far log ρ may rise inside a cell above its corners and its centre

    def __init__(self, axis: np.ndarray, log_density: Callable[[np.ndarray], np.ndarray], *, zonal: bool):
        self.axis, self.log_density, self.zonal = axis, log_density, zonal
        turns = azimuths(axis.shape[0], self.NUM_AZIMUTHS, zonal=zonal)
        self.half_theta = np.pi / self.NUM_POLAR / 2
        self.half_phi = np.pi / self.NUM_AZIMUTHS if turns.size > 2 else 0.0
        middle = self.half_theta * (2 * np.arange(self.NUM_POLAR) + 1)
        self.theta, self.phi = np.repeat(middle, turns.size), np.tile(turns, middle.size)
        corners = [
            self._log_rho(self.theta + s * self.half_theta, self.phi + t * self.half_phi)
            for s, t in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))
        ]
        self.bound = np.max(corners, axis=0) + self.MARGIN
        self.cumulative = np.cumsum(np.exp(self.bound - self.bound.max()))
        self.cumulative /= self.cumulative[-1]

    def _log_rho(self, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """Log density in (θ, φ), the Jacobian sin^{d-2} θ included."""
        jacobian = (self.axis.shape[0] - 2) * np.log(np.maximum(np.sin(theta), 1e-300))
        return jacobian + self.log_density(from_polar(self.axis, theta, phi))

    def __call__(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n independent points [n, d]."""
        kept = [np.empty((0, self.axis.shape[0]))]
        while sum(map(len, kept)) < n:
            cell = np.searchsorted(self.cumulative, rng.random(n + 100))
            theta = self.theta[cell] + self.half_theta * rng.uniform(-1, 1, cell.size)
            phi = self.phi[cell] + self.half_phi * rng.uniform(-1, 1, cell.size)
            accepted = np.log1p(-rng.random(cell.size)) <= self._log_rho(theta, phi) - self.bound[cell]
            kept.append(self._points(rng, theta[accepted], phi[accepted]))
        return np.concatenate(kept)[:n]

    def _points(self, rng: np.random.Generator, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        if not self.zonal:
            return from_polar(self.axis, theta, phi)
        v = rng.standard_normal((theta.size, self.axis.shape[0]))
        v -= (v @ self.axis)[:, None] * self.axis
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        return np.cos(theta)[:, None] * self.axis + np.sin(theta)[:, None] * v
