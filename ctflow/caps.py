"""Unions of caps of one radius, cut into strips on which integrands are smooth.

On S², cap i contributes its part outside caps 0 … i-1. On the ring at angle θ about its centre, another cap
covers an arc |φ - φ_j| < α_j(θ), known in closed form; each gap between the arcs is the width of a strip. The
arcs and their order change only at angles where the ring touches a cap, or where the circles of two caps meet
on it, so the strips end there. On the circle, and about a symmetry axis, caps are intervals.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from ctflow._base.polar import Strip, full_ring, to_polar


def strips(centers: np.ndarray, radius: float, *, axis: np.ndarray | None = None) -> list[Strip]:
    """Strips that cover each point of the union of the caps exactly once.

    Args:
        centers: unit vectors [k, d], float64.
        radius: in (0, π] radians.
        axis: for d > 3, the unit vector [d] such that every center is ± axis; the strips are zonal about it.
    """
    if axis is not None:
        intervals = [(0.0, radius) if center @ axis > 0 else (np.pi - radius, np.pi) for center in centers]
        return [Strip(axis, *interval, True) for interval in _merged(intervals)]
    if centers.shape[1] == 2:
        return _arcs_of_a_circle(centers, radius)
    return [strip for i in range(len(centers)) for strip in _outside(centers[i], centers[:i], radius)]


def _merged(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Disjoint intervals in ascending order with the same union."""
    merged: list[tuple[float, float]] = []
    for start, stop in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _arcs_of_a_circle(centers: np.ndarray, radius: float) -> list[Strip]:
    first, intervals = centers[0], []
    for center in centers:
        middle = float(to_polar(first, center)[0])
        for turn in (-2 * np.pi, 0.0, 2 * np.pi):
            start, stop = middle - radius + turn, middle + radius + turn
            intervals.append((max(start, -np.pi), min(stop, np.pi)))
    return [Strip(first, *pair, False) for pair in _merged([i for i in intervals if i[0] < i[1]])]


def _outside(center: np.ndarray, others: np.ndarray, radius: float) -> list[Strip]:
    """The part of a cap on S² outside the caps about the `others`, as strips about its centre."""
    distance, azimuth = to_polar(center, others)
    ends = [radius - distance, distance - radius, distance + radius, 2 * np.pi - distance - radius]
    ends.append(to_polar(center, _crossings(others, radius))[0])
    inner = np.concatenate(ends)
    edges = np.unique(np.concatenate([[0.0, radius], inner[(inner > 0) & (inner < radius)]]))
    found = []
    for start, stop in pairwise(edges):
        half = _half_arcs(np.array([(start + stop) / 2]), distance, radius)[0]
        if stop - start < 1e-14 or (half == np.pi).any():
            continue
        covered = half > 0
        gaps = _gaps(distance[covered], azimuth[covered], half[covered], radius)
        found += [Strip(center, start, stop, False, gap) for gap in gaps]
    return found


def _crossings(centers: np.ndarray, radius: float) -> np.ndarray:
    """Points [c, 3] where the circles of two caps meet."""
    j, k = np.triu_indices(len(centers), 1)
    total, normal = centers[j] + centers[k], np.cross(centers[j], centers[k])
    square = np.sum(total**2, axis=1)  # 4 cos² of half the distance
    height = 1 - 4 * np.cos(radius) ** 2 / np.maximum(square, 1e-300)
    meet = (height >= 0) & (np.linalg.norm(normal, axis=1) > 0)
    middle = 2 * np.cos(radius) * total[meet] / square[meet, None]
    normal = normal[meet] / np.linalg.norm(normal[meet], axis=1, keepdims=True)
    step = np.sqrt(height[meet])[:, None] * normal
    return np.concatenate([middle + step, middle - step])


def _half_arcs(theta: np.ndarray, distance: np.ndarray, radius: float) -> np.ndarray:
    """Half lengths α of the arcs that caps at these distances cover on the rings at θ, [rings, caps].

    α is an angle of the spherical triangle with sides θ, distance and radius, by the half-angle formula.
    """
    theta = theta[:, None]
    s = (theta + distance + radius) / 2
    far = np.sin(np.maximum(s - theta, 0)) * np.sin(np.maximum(s - distance, 0))
    near = np.sin(np.minimum(s, np.pi)) * np.sin(np.maximum(s - radius, 0))
    half = 2 * np.arctan2(np.sqrt(far), np.sqrt(np.maximum(near, 0)))
    return np.where((s <= radius) | (s >= np.pi), np.pi, half)


def _gaps(distance: np.ndarray, azimuth: np.ndarray, half: np.ndarray, radius: float) -> list:
    """Edge functions of the gaps between the arcs; `half` are the arcs' half lengths on one ring."""
    if len(half) == 0:
        return [full_ring]
    turn = 2 * np.pi
    found = []
    for j in range(len(half)):
        end = azimuth[j] + half[j]
        inside = np.abs((end - azimuth + np.pi) % turn - np.pi) < half
        inside[j] = False
        if not inside.any():
            starts = azimuth - half
            starts = starts + turn * np.ceil((end - starts) / turn)
            k = int(np.argmin(starts))
            upper = azimuth[k] + round((starts[k] - azimuth[k] + half[k]) / turn) * turn
            pair = distance[[j, k]], radius
            found.append(partial(_between, azimuth[j], upper, *pair))
    return found


def _between(first: float, second: float, distance: np.ndarray, radius: float, theta: np.ndarray):
    """Azimuths on rings θ: the end of the arc about `first` and the start of the arc about `second`."""
    half = _half_arcs(theta, distance, radius)
    return first + half[:, 0], second - half[:, 1]
