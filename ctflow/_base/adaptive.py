"""Adaptive quadrature of a density that does not miss narrow peaks.

The domain is a chart: the image of a box in one or two coordinates, such as `polar.Strip`. It is divided into
boxes with Gauss-Legendre nodes, and each box is halved until it is resolved or empty. A box is resolved if
the Legendre series of the density and of its logarithm converge within the order of the nodes. It is empty if
its mass is negligible even with an upper bound of the logarithm between the nodes. At low temperature the
density is 0 at the nodes of a wide box whether or not a peak lies between them; only the logarithm shows it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from scipy import special

ORDER = 12  # nodes per coordinate in a box
_MAX_NODES = 2**21
_CHUNK = 4096  # nodes that are evaluated at a time
_MAX_ROUNDS = 40  # rounds of halving; enough for boxes 1e-9 radians wide
_TAIL = 3  # number of last Legendre coefficients whose size estimates the error of a series
_MAX_LOG_TAIL = 1e-2  # largest error of log ρ in a resolved box, nats
_MAX_LOG_RANGE = 20.0  # largest range of log ρ in a resolved box, nats
_LOG_EMPTY = -41.0  # a box is empty if the log of its share of the total mass is below this


@runtime_checkable
class Chart(Protocol):
    """A domain of integration in k = 1 or 2 coordinates."""

    def boxes(self, spacing: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corners [m, k] of boxes that cover it, at most about `spacing` radians wide."""
        ...

    def at(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [n, d] at coordinates [n, k], and the log of the area per unit of the coordinates, [n]."""
        ...


class Boxes(NamedTuple):
    """m boxes that cover a chart, each with P = ORDER^k nodes.

    Attributes:
        low: lower corners in the chart's coordinates, [m, k].
        high: upper corners, [m, k].
        log_rho: log ρ at the nodes, [m, P].
        log_weight: log of the quadrature weights for the uniform law at the nodes, [m, P].
        bound: upper bound of log(ρ · area per unit of the coordinates) in each box, [m].
    """

    low: np.ndarray
    high: np.ndarray
    log_rho: np.ndarray
    log_weight: np.ndarray
    bound: np.ndarray

    @property
    def coordinates(self) -> np.ndarray:
        """The nodes in the chart's coordinates, [m · P, k]."""
        return _nodes(self.low, self.high).reshape(-1, self.low.shape[1])

    @property
    def log_mass(self) -> float:
        """Log of ∫ρ over the chart."""
        return float(np.asarray(special.logsumexp(self.log_rho + self.log_weight)))


class _Judged(NamedTuple):
    """Criteria for m boxes: logs of mass bound and error, tail and range of log ρ, coordinate to halve."""

    log_bound: np.ndarray
    log_tail: np.ndarray
    rho_tail: np.ndarray
    rho_range: np.ndarray
    split: np.ndarray


def resolve(
    log_density: Callable[[np.ndarray], np.ndarray],
    chart: Chart,
    *,
    spacing: float,
    subject: str,
    log_total: float | None = None,
    max_mass: float = np.inf,
    noise: float = 0.0,
) -> Boxes:
    """Boxes that resolve a density on a chart; the error of each box is below 1e-10 of the total mass.

    Args:
        log_density: smooth function from points [n, d] to log ρ [n].
        chart: domain of integration.
        spacing: initial width of the boxes, in radians. A feature of log ρ much narrower than spacing / ORDER
            can be missed.
        subject: start of the error message, such as "log_density is too sharp or too rough".
        log_total: log of the total mass, to which errors are relative; the mass of the chart by default.
        max_mass: largest share of the total mass in one box.
        noise: relative rounding error of ρ; the tolerance is at least twice this.

    Raises:
        ValueError: log ρ is not finite, or too many or too small boxes are needed.
    """
    boxes, judged = _evaluate(log_density, chart, *chart.boxes(spacing))
    log_tolerance, rounds = np.log(max(1e-10, 2 * noise)), 0
    while True:
        total = boxes.log_mass if log_total is None else log_total
        empty = judged.log_bound < total + _LOG_EMPTY
        resolved = (
            (judged.rho_range < _MAX_LOG_RANGE)
            & (judged.rho_tail < _MAX_LOG_TAIL)
            & (judged.log_tail < total + log_tolerance)
            & (judged.log_bound < total + np.log(max_mass))
        )
        failed = ~(empty | resolved)
        if not failed.any():
            return boxes
        rounds += 1
        if rounds > _MAX_ROUNDS or (len(failed) + failed.sum()) * boxes.log_rho.shape[1] > _MAX_NODES:
            raise ValueError(
                f"{subject} for {_MAX_NODES} quadrature nodes: {int(failed.sum())} of {len(failed)} boxes "
                "are not resolved; raise the temperature or smooth the potential"
            )
        low, high = _halved(boxes.low[failed], boxes.high[failed], judged.split[failed])
        new = _evaluate(log_density, chart, low, high)
        boxes = Boxes(*(np.concatenate([a[~failed], b]) for a, b in zip(boxes, new[0], strict=True)))
        judged = _Judged(*(np.concatenate([a[~failed], b]) for a, b in zip(judged, new[1], strict=True)))


def _evaluate(log_density, chart: Chart, low: np.ndarray, high: np.ndarray) -> tuple[Boxes, _Judged]:
    x = _nodes(low, high)
    m, count, k = x.shape
    x = x.reshape(-1, k)
    log_rho, log_area = np.empty(len(x)), np.empty(len(x))
    for first in range(0, len(x), _CHUNK):  # in high dimension the points take most of the memory
        part = slice(first, first + _CHUNK)
        z, log_area[part] = chart.at(x[part])
        log_rho[part] = log_density(z)
        if not np.isfinite(log_rho[part]).all():
            bad = np.flatnonzero(~np.isfinite(log_rho[part]))[0]
            raise ValueError(f"log_density must be finite, got {log_rho[part][bad]} at {z[bad]}")
    log_rho, log_area = log_rho.reshape(m, count), log_area.reshape(m, count)
    value = log_rho + log_area
    top = value.max(axis=1)
    density, tails = np.exp(value - top[:, None]), []
    for of in (density, log_rho):
        tails.append(np.stack([_tail(of, axis, k) for axis in range(k)], axis=1))
    variation = np.stack([_variation(log_rho, axis, k) for axis in range(k)], axis=1)
    rho_tail, rho_range = tails[1].max(axis=1), np.ptp(log_rho, axis=1)
    # Upper bound between the nodes: for a series that converges, the largest node value is exceeded by less
    # than an eighth of the range. The tail accounts for the rest of the series.
    bound = top + np.ptp(value, axis=1) / 8 + 4 * rho_tail
    log_volume = np.log(high - low).sum(axis=1)
    # Halve along the largest variation of log ρ, or, if that is small, along the density's largest tail.
    steep = rho_range > _MAX_LOG_RANGE
    unresolved = tails[0].max(axis=1) > 1e-12
    by_tail = (tails[0] + 1e-6 * variation).argmax(axis=1)
    split = np.where(steep | ~unresolved, (variation + 1e-9 * (high - low)).argmax(axis=1), by_tail)
    weight = log_area + log_volume[:, None] + np.log(_rule(k)[1])
    judged = _Judged(
        log_bound=bound + log_volume,
        log_tail=top + log_volume + np.log(tails[0].max(axis=1) + 1e-300),
        rho_tail=rho_tail,
        rho_range=rho_range,
        split=split,
    )
    return Boxes(low, high, log_rho, weight, bound), judged


def _halved(low: np.ndarray, high: np.ndarray, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row = np.arange(len(split))
    middle = (low[row, split] + high[row, split]) / 2
    left, right = high.copy(), low.copy()
    left[row, split] = right[row, split] = middle
    return np.concatenate([low, right]), np.concatenate([left, high])


def _nodes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Gauss-Legendre nodes [m, P, k] of m boxes."""
    return low[:, None] + (high - low)[:, None] * _rule(low.shape[1])[0]


@lru_cache
def _rule(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes [P, k] and weights [P] in the unit box."""
    t, w = special.roots_legendre(ORDER)
    t, w = (t + 1) / 2, w / 2
    if k == 1:
        return t[:, None], w
    return np.stack(np.meshgrid(t, t, indexing="ij"), axis=-1).reshape(-1, 2), np.outer(w, w).ravel()


@lru_cache
def _last_coefficients() -> np.ndarray:
    """Matrix [_TAIL, ORDER] that maps values at the nodes to the last Legendre coefficients."""
    t, w = special.roots_legendre(ORDER)
    degree = np.arange(ORDER - _TAIL, ORDER)
    return (degree[:, None] + 0.5) * w * special.eval_legendre(degree[:, None], t)


def _along(values: np.ndarray, axis: int, k: int) -> np.ndarray:
    """Values [m, P] rearranged into lines along one coordinate, [m, lines, ORDER]."""
    lines = values.reshape(-1, *[ORDER] * k)
    return np.moveaxis(lines, axis + 1, -1).reshape(len(values), -1, ORDER)


def _tail(values: np.ndarray, axis: int, k: int) -> np.ndarray:
    """Sum of the sizes of the last Legendre coefficients along one coordinate, on the worst line, [m]."""
    return np.abs(_along(values, axis, k) @ _last_coefficients().T).sum(axis=-1).max(axis=1)


def _variation(values: np.ndarray, axis: int, k: int) -> np.ndarray:
    """Largest minus smallest value along one coordinate, on the worst line, [m]."""
    return np.ptp(_along(values, axis, k), axis=-1).max(axis=1)
