"""Sums over all pairs and their gradients, in NumPy: what the package's sums are compared with.

Nothing here is the package's.
"""

from typing import Any, NamedTuple

import numpy as np

TILE = 2000


class Case(NamedTuple):
    """Clouds x [n, d], y [m, d], weights [m], cotangent [n], and what is asked of the sum."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    cotangent: np.ndarray
    kernel: int
    width: float
    degree: int
    dtype: str
    rtol: float
    exclude_self: bool


def unit(z: np.ndarray, precision: Any = np.float64) -> np.ndarray:
    """Rows of unit length."""
    z = np.asarray(z, precision)
    return z / np.sqrt(np.sum(z * z, axis=1, keepdims=True))


def _profiles(number: int, theta: np.ndarray, h: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log κ - log κ(1) at angles, its derivative in the angle, and in log h."""
    half = np.sin(theta / 2) ** 2
    if number == 0:
        return -2 * half / h, -np.sin(theta) / h, 2 * half / h
    if number == 1:
        return -2 * half / h**2, -np.sin(theta) / h**2, 4 * half / h**2
    return -(theta**2) / (2 * h**2), -theta / h**2, theta**2 / h**2


def _angles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Angles [n, m] between unit vectors, exact at 0 and π too."""
    if x.shape[1] == 2:
        turn = np.arctan2(x[:, 1], x[:, 0])[:, None] - np.arctan2(y[:, 1], y[:, 0])[None]
        return np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    near, far = (
        np.sqrt(sum((a[:, None] + s * b[None]) ** 2 for a, b in zip(x.T, y.T, strict=True))) for s in (-1, 1)
    )
    return 2 * np.arctan2(near, far)


class Exact(NamedTuple):
    """Sums over all pairs.

    Attributes:
        field: f [n], relative to κ(1).
        x: ∇L [n, d].
        y: gradient in y over w [m, d].
        weights: gradient in the weights [m].
        temperature: gradient in log h, without that of κ(1).
        rows: Σ_i |g_i ∂L_i| for the last three: what a relative error of every row is taken from.
    """

    field: np.ndarray
    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    temperature: float
    rows: tuple[np.ndarray, np.ndarray, float]


def exact(case: Case, precision: Any = np.float64) -> Exact:
    """The sums of a case, its numbers rounded to its dtype, in tiles of rows."""
    x, y = (unit(np.asarray(z, case.dtype), precision) for z in (case.x, case.y))
    w, g, h = (
        np.asarray(a, case.dtype).astype(precision) for a in (case.weights, case.cotangent, case.width)
    )
    field, of_x, of_y, of_weights, of_h = (0 * a for a in (x[:, 0], x, y, w, h))
    rows: list[Any] = [0 * w, 0 * w, 0 * h]
    for first in range(0, len(x), TILE):
        here = slice(first, first + TILE)
        theta = _angles(x[here], y)
        log_kernel, slope, by_h = _profiles(case.kernel, theta, h)
        kernel = np.exp(log_kernel)
        if case.exclude_self:
            kernel[np.arange(len(theta)), first + np.arange(len(theta))] = 0
        field[here] = f = kernel @ w
        sine = np.sin(theta)
        # Over sin θ the slope multiplies P_x y, whose length is sin θ: 0 at coincident and antipodal points.
        apart = sine > 4 * np.finfo(precision).eps
        force = kernel * np.where(apart, -slope / np.where(apart, sine, 1), 0)
        pull = (force * w) @ y
        of_x[here] = (pull - np.sum(pull * x[here], axis=1, keepdims=True) * x[here]) / f[:, None]
        share = g[here] / f
        of_weights += share @ kernel
        of_y += (force * share[:, None]).T @ x[here]
        of_h += share @ (kernel * by_h) @ w
        size = np.abs(share)
        rows[0] += size @ (kernel * np.abs(slope))
        rows[1] += size @ kernel
        rows[2] += size @ (kernel * np.abs(by_h)) @ w
    of_y -= np.sum(of_y * y, axis=1, keepdims=True) * y
    return Exact(field, of_x, of_y, of_weights, float(of_h), tuple(rows))
