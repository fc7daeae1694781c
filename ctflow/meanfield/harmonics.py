"""Real spherical harmonics on a quadrature grid of S¹ or S²: transforms between values and coefficients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special

from ctflow._base.checks import check_count


class HarmonicGrid:
    """Nodes on S^{d-1} and the real harmonics up to degree L there, orthonormal for the uniform law.

    The nodes are equally spaced angles on the circle; on S² they are Gauss-Legendre heights times equally
    spaced azimuths. An integral of a product of harmonics is exact if their degrees sum to less than 2·count.

    Args:
        d: 2 or 3.
        max_degree: L >= 1, the largest degree of the harmonics.
        count: number of heights on S², half the number of angles on the circle; > `max_degree`.

    Attributes:
        nodes: points [k, d].
        weights: weights of the nodes for the uniform law, [k], summing to 1.
        degrees: degrees ℓ of the harmonics, [b].
        laplacian: eigenvalues ℓ(ℓ+d-2) of -Δ, [b].

    Raises:
        ValueError: d is not 2 or 3, or `count` is too small.
    """

    def __init__(self, d: int, max_degree: int, *, count: int):
        if d not in (2, 3):
            raise ValueError(f"d must be 2 or 3, got {d}")
        check_count("max_degree", max_degree)
        check_count("count", count, minimum=max_degree + 1)
        self.d, self.max_degree = d, max_degree
        phi = np.pi * np.arange(2 * count) / count
        circle = np.column_stack([np.cos(phi), np.sin(phi)])
        if d == 2:
            self.nodes, self.weights = circle, np.full(phi.size, 1 / phi.size)
            columns = {degree: _waves(degree, phi) for degree in range(max_degree + 1)}
        else:
            height, weight = special.roots_legendre(count)
            radius = np.sqrt(1 - height**2)
            rings = radius[:, None, None] * circle
            self.nodes = np.concatenate(
                [rings, np.broadcast_to(height[:, None, None], (count, phi.size, 1))], axis=2
            ).reshape(-1, 3)
            self.weights = np.repeat(weight / 2 / phi.size, phi.size)
            columns = {degree: _of_degree(degree, np.arccos(height), phi) for degree in range(max_degree + 1)}
        self.degrees = np.repeat(list(columns), [len(c) for c in columns.values()])
        self.laplacian = self.degrees * (self.degrees + d - 2.0)
        self.basis = np.stack([column for several in columns.values() for column in several], axis=1)
        self._projector = (self.basis * self.weights[:, None]).T

    def analyse(self, values: np.ndarray) -> np.ndarray:
        """Coefficients [..., b] of values at the nodes [..., k]."""
        return values @ self._projector.T

    def synthesise(self, coefficients: np.ndarray) -> np.ndarray:
        """Values at the nodes [..., k] from coefficients [..., b]."""
        return coefficients @ self.basis.T


def densities_at(
    nodes: np.ndarray, weights: np.ndarray, starts: Sequence[Callable[[np.ndarray], Any]]
) -> np.ndarray:
    """Values [starts, k] of densities at quadrature nodes [k, d] with weights [k].

    Raises:
        ValueError: values with a wrong shape, not finite or negative, or a mass that differs from 1 by 1e-3.
    """
    values = []
    for start in starts:
        value = np.asarray(start(nodes), np.float64)
        if value.shape != (len(nodes),):
            raise ValueError(f"a start must give one density per point, [{len(nodes)}], got {value.shape}")
        mass = float(weights @ value)
        if not (np.isfinite(value).all() and (value >= 0).all() and abs(mass - 1) < 1e-3):
            raise ValueError(
                "a start must be a density w.r.t. the uniform law, >= 0 with mass 1 at the quadrature nodes, "
                f"got values from {value.min():.3g} to {value.max():.3g} with mass {mass:.6g}; divide it by "
                "its mass, or use a larger max_degree for a narrow one"
            )
        values.append(value)
    return np.stack(values)


def _waves(order: int, phi: np.ndarray) -> list[np.ndarray]:
    if order == 0:
        return [np.ones_like(phi)]
    return [np.sqrt(2) * np.cos(order * phi), np.sqrt(2) * np.sin(order * phi)]


def _of_degree(degree: int, theta: np.ndarray, phi: np.ndarray) -> list[np.ndarray]:
    """The 2·degree + 1 harmonics of this degree on the grid θ × φ, with ascending orders."""
    columns = []
    for order in range(degree + 1):
        polar = np.sqrt(4 * np.pi) * special.sph_legendre_p(degree, order, theta)
        columns += [np.outer(polar, wave).ravel() for wave in _waves(order, phi)]
    return columns
