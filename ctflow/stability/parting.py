"""The lowest curvatures along which modalities can part from overlap, whatever graph of losses joins them."""

from typing import Any

import jax
import numpy as np

from ctflow.clouds import as_dtype, points, with_points
from ctflow.energy import as_energy
from ctflow.stability.spectrum import Modes, modes

_ROTATIONS = 28


def exchangeable(energy: Any, clouds: Any) -> bool:
    """Whether an energy stays the same when its clouds change places: tried at clouds displaced at random.

    Then displacements in antiphase and in phase do not mix. A star of modalities, whose hub is not a leaf,
    mixes them.
    """
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        z, tree = jax.tree.flatten(jax.tree.map(lambda p: np.asarray(p, np.float64), points(clouds)))
        moved = [p + 0.3 * rng.standard_normal(p.shape) for p in z]
        moved = [p / np.linalg.norm(p, axis=1, keepdims=True) for p in moved]
        # An exchange of the first two and a turn of all generate every order.
        orders = [moved, [moved[1], moved[0], *moved[2:]], [*moved[1:], moved[0]]]
        energy, clouds = as_dtype(as_energy(energy), np.float64), as_dtype(clouds, np.float64)
        values = [float(energy(with_points(clouds, jax.tree.unflatten(tree, order)))) for order in orders]
    return max(values) - min(values) <= 1e-9 * (1 + abs(values[0]))


def parting(energy: Any, clouds: Any, k: int = 1, *, tolerance: float = 1e-3) -> Modes:
    """The lowest curvatures at overlap: in antiphase if that does not mix with in phase, else of all kinds.

    Among all kinds, rotations of everything together have curvature 0. For k > 1, where neutral modes are
    counted, k is raised by their number, at most by 28, that of 8 dimensions. In more dimensions neutral
    modes can hide among rotations. Whether the lowest curvature is negative does not depend on that.
    """
    if exchangeable(energy, clouds):
        return modes(energy, clouds, k, "antiphase", tolerance=tolerance)
    z = jax.tree.leaves(points(clouds))
    n, d = z[0].shape
    rotations = min(d * (d - 1) // 2, _ROTATIONS) if k > 1 else 0
    return modes(energy, clouds, min(k + rotations, len(z) * n * (d - 1)), "all", tolerance=tolerance)


def neutral_apart(found: Modes) -> int:
    """How many independent neutral modes move the clouds against each other."""
    if found.kind == "antiphase":
        return found.neutral
    near = np.flatnonzero(found.near_zero)
    sides = [np.asarray(side)[near].reshape(near.size, -1) for side in jax.tree.leaves(found.mode)]
    apart = np.concatenate([side - sum(sides) / len(sides) for side in sides], axis=1)
    whole = np.concatenate(sides, axis=1)
    return int(np.linalg.matrix_rank(apart, tol=1e-2 * np.linalg.norm(whole, 2))) if near.size else 0
