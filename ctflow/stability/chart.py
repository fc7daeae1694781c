"""Displacements of clouds as coordinates, in the metric in which curvature is a rate of the flow.

A displacement u of the points has the mean square ∫|u|² dq = Σ_i w_i |u_i|², all clouds together. Points have
d - 1 coordinates each, √w_i times those of u_i in an orthonormal basis of the tangent space, so the mean
square is the sum of the squares of all coordinates. The energy along straight lines of coordinates, with
points scaled back to the sphere, has the Hessian of the energy along geodesics.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray
from ctflow.clouds import points, weights, with_points

KINDS = ("all", "antiphase", "in phase")


def mixing(kind: str, count: int) -> np.ndarray | None:
    """How `count` clouds move by a common displacement or several, [count, m]; None: each by its own.

    In phase all clouds move alike. In antiphase the clouds' displacements add up to 0: of two clouds, one
    moves against the other.
    """
    if kind == "all":
        return None
    if kind == "in phase":
        return np.full((count, 1), count**-0.5)
    apart = np.tril(np.ones((count, count)), -1)[:, : count - 1]
    apart[np.arange(count - 1), np.arange(count - 1)] = -np.arange(count - 1, 0, -1)
    return apart / np.linalg.norm(apart, axis=0)


def tangent(z: Float[AnyArray, "n d"], coordinates: Float[AnyArray, "n e"]) -> Float[Array, "n d"]:
    """The tangent vectors at z with these coordinates, e = d - 1, in a basis that depends on z alone.

    The basis is the image of the first d - 1 axes under the reflection that takes the last axis to ±z.
    """
    side = jnp.where(z[:, -1:] < 0, -1, 1).astype(z.dtype)
    mirror = jnp.asarray(z).at[:, -1:].add(side)  # z ± e_d, the longer of the two
    flat = jnp.pad(coordinates, ((0, 0), (0, 1)))
    along = jnp.sum(mirror * flat, axis=1, keepdims=True) / jnp.sum(mirror**2, axis=1, keepdims=True)
    return flat - 2 * along * mirror


def displacement(clouds: Any, mix: Any, coordinates: Any) -> Any:
    """The displacements, shaped like the points, with these coordinates.

    Args:
        clouds: the clouds.
        mix: of `mixing`.
        coordinates: [m, n, d-1] for a mix [count, m]; a list of [n, d-1] for None.
    """
    z, tree = jax.tree.flatten(points(clouds))
    if mix is not None:
        coordinates = jnp.einsum("km,mne->kne", jnp.asarray(mix, z[0].dtype), coordinates)
    moved = [
        tangent(p, a) * jnp.where(w > 0, 1 / jnp.sqrt(jnp.where(w > 0, w, 1)), 0)[:, None]
        for p, a, w in zip(z, coordinates, jax.tree.leaves(weights(clouds)), strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


@partial(jax.jit, static_argnames="kind")
def displacements(clouds: Any, vectors: Any, *, kind: str) -> Any:
    """The displacements with flat coordinates [k, …], shaped like the points with a leading axis [k]."""
    mix = mixing(kind, len(jax.tree.leaves(points(clouds))))
    _, unravel = ravel_pytree(at_rest(clouds, mix))
    return jax.lax.map(lambda vector: displacement(clouds, mix, unravel(vector)), vectors)


def at_rest(clouds: Any, mix: Any) -> Any:
    """Coordinates of 0, shaped as `displacement` takes them."""
    z = jax.tree.leaves(points(clouds))
    if mix is None:
        return [jnp.zeros_like(p[:, 1:]) for p in z]
    return jnp.zeros((mix.shape[1], *z[0][:, 1:].shape), z[0].dtype)


def moved(clouds: Any, u: Any) -> Any:
    """The clouds displaced by u, shaped like the points, and scaled back to the sphere."""
    onto = jax.tree.map(
        lambda z, v: (z + v) / jnp.linalg.norm(z + v, axis=1, keepdims=True), points(clouds), u
    )
    return with_points(clouds, onto)


def along(energy: Any, clouds: Any, mix: Any, coordinates: Any) -> Any:
    """The energy of the displaced clouds."""
    return energy(moved(clouds, displacement(clouds, mix, coordinates)))


@partial(jax.jit, static_argnames="kind")
def slope(energy: Any, clouds: Any, *, kind: str) -> Any:
    """The gradient in the coordinates; its norm is the root mean square speed of the flow."""
    mix = mixing(kind, len(jax.tree.leaves(points(clouds))))
    return jax.grad(partial(along, energy, clouds, mix))(at_rest(clouds, mix))


def speed(energy: Any, clouds: Any, *, kind: str = "all") -> float:
    """Root mean square speed of the flow along displacements of a kind, in radians per time."""
    slopes = jax.tree.leaves(slope(energy, clouds, kind=kind))
    return float(np.sqrt(sum(np.sum(np.asarray(part, np.float64) ** 2) for part in slopes)))


@partial(jax.jit, static_argnames="kind")
def curvature(energy: Any, clouds: Any, coordinates: Any, *, kind: str) -> Any:
    """The Hessian times a vector of coordinates."""
    mix = mixing(kind, len(jax.tree.leaves(points(clouds))))
    gradient = jax.grad(partial(along, energy, clouds, mix))
    return jax.jvp(gradient, (at_rest(clouds, mix),), (coordinates,))[1]


@partial(jax.jit, static_argnames="kind")
def hessian(energy: Any, clouds: Any, *, kind: str) -> Any:
    """The Hessian as a matrix, row by row."""
    mix = mixing(kind, len(jax.tree.leaves(points(clouds))))
    start, unravel = ravel_pytree(at_rest(clouds, mix))
    gradient = jax.grad(lambda flat: along(energy, clouds, mix, unravel(flat)))
    _, times = jax.linearize(gradient, start)
    return jax.lax.map(times, jnp.eye(len(start), dtype=start.dtype))


def coincide(clouds: Any) -> bool:
    """Whether all clouds are the same points with the same weights, up to rounding."""
    z, w = jax.tree.leaves(points(clouds)), jax.tree.leaves(weights(clouds))
    if len({p.shape for p in z}) > 1:
        return False
    eps = float(jnp.finfo(z[0].dtype).eps)
    apart = max(float(jnp.max(jnp.abs(p - z[0]))) for p in z)
    uneven = max(float(jnp.max(jnp.abs(v - w[0]) / jnp.maximum(w[0], eps))) for v in w)
    return apart < 100 * eps and uneven < 100 * eps
