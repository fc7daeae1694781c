"""Polar coordinates about an axis of S^{d-1}, for quadrature and for exact sampling of a density.

A point is z = cos θ · axis + sin θ · t, where t is a unit tangent at the axis: one of two sides for d = 2, an
azimuth φ for d = 3. A zonal function depends on θ alone, so one meridian represents all of them.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ctflow._base.adaptive import Boxes, resolve


@lru_cache(maxsize=256)
def polar_rule(d: int, radius: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles θ [count] and log weights [count] of Gauss-Legendre quadrature in θ on [0, radius].

    The weights integrate zonal functions against the uniform law of S^{d-1}: over [0, π] they sum to 1.
    The nodes are densest near both ends of the interval, so narrow kernels are resolved in any dimension.
    """
    t, w = special.roots_legendre(count)
    theta = radius * (t + 1) / 2
    return theta, np.log(radius / 2 * w) + _log_zone(d, theta)


def _log_zone(d: int, theta: np.ndarray) -> np.ndarray:
    """Log of the marginal density of θ under the uniform law, sin^{d-2} θ/B((d-1)/2, 1/2)."""
    log_total = 0.5 * np.log(np.pi) + special.gammaln((d - 1) / 2) - special.gammaln(d / 2)
    return (d - 2) * np.log(np.sin(theta)) - log_total


def polar_quadrature(
    axis: np.ndarray, radius: float, count: int, *, zonal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature nodes [k, d] and weights [k] for the uniform law on the cap of `radius` about the axis.

    The weights sum to the mass of the cap, which is 1 for the whole sphere (radius π).

    Args:
        axis: unit vector [d].
        radius: in (0, π] radians.
        count: number of polar nodes; on S² there are twice as many azimuths.
        zonal: the integrands depend on θ alone; required for d > 3.
    """
    theta, log_weight = polar_rule(axis.shape[0], float(radius), count)
    phi = azimuths(axis.shape[0], 2 * count, zonal=zonal)
    grid = np.repeat(theta, phi.size), np.tile(phi, theta.size)
    return from_polar(axis, *grid), np.repeat(np.exp(log_weight) / phi.size, phi.size)


def azimuths(d: int, count: int, *, zonal: bool) -> np.ndarray:
    """Azimuths of a grid: one for a zonal function, else two sides for d = 2 and `count` for d = 3."""
    return 2 * np.pi * np.arange(1 if zonal else 2 if d == 2 else count) / (2 if d == 2 else count)


def from_polar(axis: np.ndarray, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Points [k, d] at angles θ [k] from the axis and azimuths φ [k] (0 or π for d = 2), radians."""
    frame = _frame(axis)
    tangent = np.cos(phi)[:, None] * frame[:, 1]
    if axis.shape[0] > 2:
        tangent = tangent + np.sin(phi)[:, None] * frame[:, 2]
    return np.cos(theta)[:, None] * axis + np.sin(theta)[:, None] * tangent


def to_polar(axis: np.ndarray, z: np.ndarray) -> tuple[Any, Any]:
    """Angles θ and azimuths φ of points [..., d], inverse of `from_polar`; for d = 2, θ signed and φ = 0."""
    height, *tangent = np.moveaxis(z @ _frame(axis), -1, 0)
    if axis.shape[0] == 2:
        return np.arctan2(tangent[0], height), np.zeros_like(height)
    return np.arctan2(np.hypot(*tangent), height), np.arctan2(tangent[1], tangent[0])


def _frame(axis: np.ndarray) -> np.ndarray:
    """The axis and one (d = 2) or two unit tangents, orthogonal columns [d, 2 or 3]."""
    others = np.argsort(np.abs(axis), kind="stable")[: min(2, axis.shape[0] - 1)]
    q, _ = np.linalg.qr(np.column_stack([axis, np.eye(axis.shape[0])[:, others]]))
    return np.column_stack([axis, q[:, 1:]])


class Strip(NamedTuple):
    """A chart of the points with start <= θ <= stop and, on S², edges(θ)[0] <= φ <= edges(θ)[1].

    If `edges` is None, the one coordinate is θ: a signed angle on the circle, else (`zonal`) the angle of a
    meridian that represents all points with the same θ. Otherwise there are two coordinates in [0, 1]. The
    first is s, where θ = start + (stop - start) sin²(πs/2) removes the square roots at the ends of edges that
    are arcs of circles. The second is the relative position of φ between the edges.
    """

    axis: np.ndarray
    start: float
    stop: float
    zonal: bool
    edges: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None

    def boxes(self, spacing: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corners [m, k], in the coordinates, of boxes about `spacing` radians wide."""
        length = self.stop - self.start
        if self.edges is None:
            lines = [np.linspace(self.start, self.stop, 1 + max(1, round(length / spacing)))]
        else:
            lower, upper = self.edges(np.linspace(self.start, self.stop, 9)[1:-1])
            counts = (max(1, round(size / spacing)) for size in (1.6 * length, np.max(upper - lower)))
            lines = [np.linspace(0, 1, 1 + count) for count in counts]
        low = np.meshgrid(*(line[:-1] for line in lines), indexing="ij")
        high = np.meshgrid(*(line[1:] for line in lines), indexing="ij")
        return np.stack(low, axis=-1).reshape(-1, len(lines)), np.stack(high, axis=-1).reshape(-1, len(lines))

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [n, d] at coordinates [n, k], and the log density [n] of the uniform law there."""
        d = self.axis.shape[0]
        if self.edges is None:
            z = from_polar(self.axis, x[:, 0], np.zeros(len(x)))
            return z, _log_zone(d, x[:, 0]) if self.zonal else np.full(len(x), -np.log(2 * np.pi))
        turn, length = np.pi * x[:, 0], self.stop - self.start
        theta = self.start + length * np.sin(turn / 2) ** 2
        lower, upper = self.edges(theta)
        area = np.sin(theta) * np.sin(turn) * np.maximum(upper - lower, 0) * length / 8
        with np.errstate(divide="ignore"):
            log_area = np.maximum(np.log(area), -700)
        return from_polar(self.axis, theta, lower + x[:, 1] * (upper - lower)), log_area


def whole(axis: np.ndarray, *, zonal: bool) -> Strip:
    """The whole sphere as a strip; `zonal`, required for d > 3, is for functions of θ alone."""
    if zonal:
        return Strip(axis, 0.0, np.pi, True)
    if axis.shape[0] == 2:
        return Strip(axis, -np.pi, np.pi, False)
    return Strip(axis, 0.0, np.pi, False, full_ring)


def full_ring(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges 0 and 2π, the full range of azimuths, for every θ."""
    return np.zeros_like(theta), np.full_like(theta, 2 * np.pi)


class PolarSampler:
    """Exact sampler of a density on the sphere: draw one of the boxes that resolve it, then reject inside it.

    Args:
        axis: unit vector [d].
        log_density: smooth function from points [k, d] to log densities [k] w.r.t. the uniform law, up to a
            constant.
        zonal: the density depends on θ alone; required for d > 3.

    Raises:
        ValueError: the density is too sharp or too rough for `adaptive.resolve`.
    """

    def __init__(self, axis: np.ndarray, log_density: Callable[[np.ndarray], np.ndarray], *, zonal: bool):
        self.strip, self.log_density = whole(axis, zonal=zonal), log_density
        self._use(fine_boxes(log_density, self.strip, subject="log_density is too sharp or too rough"))

    @classmethod
    def from_boxes(
        cls, strip: Strip, boxes: Boxes, log_density: Callable[[np.ndarray], np.ndarray]
    ) -> "PolarSampler":
        """A sampler from boxes of `fine_boxes` that resolve the density on the whole sphere."""
        sampler = object.__new__(cls)
        sampler.strip, sampler.log_density = strip, log_density
        sampler._use(boxes)
        return sampler

    def _use(self, boxes: Boxes) -> None:
        self.boxes = boxes
        log_mass = boxes.bound + np.log(boxes.high - boxes.low).sum(axis=1)
        self.cumulative = np.cumsum(np.exp(log_mass - log_mass.max()))
        self.cumulative /= self.cumulative[-1]

    def __call__(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n independent points [n, d].

        Raises:
            ValueError: log ρ exceeds the bound of a box at some point, so the draw would not be exact.
        """
        kept, low, width = [], self.boxes.low, self.boxes.high - self.boxes.low
        while sum(map(len, kept)) < n:
            box = np.searchsorted(self.cumulative, rng.random(n + 100), side="right")
            x = low[box] + width[box] * rng.random((box.size, low.shape[1]))
            z, log_area = self.strip.at(x)
            excess = self.log_density(z) + log_area - self.boxes.bound[box]
            if excess.max() > 0:
                raise ValueError(
                    f"log_density must be smooth to be drawn from: inside a cell of the sampler it is "
                    f"{excess.max():.1e} nats above the cell's bound, at {z[excess.argmax()]}"
                )
            accepted = np.log1p(-rng.random(box.size)) <= excess
            kept.append(self._turned(rng, x[accepted, 0]) if self.strip.zonal else z[accepted])
        return np.concatenate(kept)[:n]

    def _turned(self, rng: np.random.Generator, theta: np.ndarray) -> np.ndarray:
        """Points [n, d] at angles θ [n] from the axis, in uniformly random directions around it."""
        axis = self.strip.axis
        v = rng.standard_normal((theta.size, axis.shape[0]))
        v -= (v @ axis)[:, None] * axis
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        return np.cos(theta)[:, None] * axis + np.sin(theta)[:, None] * v


def fine_boxes(
    log_density: Callable[[np.ndarray], np.ndarray], strip: Strip, *, subject: str, noise: float = 0.0
) -> Boxes:
    """Boxes for draws and distributions, each with at most 3e-4 of the mass (1e-3 in two coordinates)."""
    one = strip.edges is None
    return resolve(
        log_density,
        strip,
        spacing=0.1 if one else 0.4,
        max_mass=3e-4 if one else 1e-3,
        subject=subject,
        noise=noise,
    )
