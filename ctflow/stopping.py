"""Stopping rules for a run, and the fastest rate of an energy.

A stopping rule is any function from the energies at the saves so far, [k], to a bool.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ctflow import sphere
from ctflow._base.checks import check_count, check_positive
from ctflow.clouds import points, weights, with_points
from ctflow.flows import jitted_velocity, move

__all__ = [
    "Plateau",
    "Target",
    "fastest_rate",
]

_MOST_MOVES = 20


@dataclass(frozen=True)
class Plateau:
    """Stop once the energies at the last `saves` saves lie within `tolerance` of each other.

    Args:
        tolerance: > 0, in nats. For a stochastic flow, choose it larger than the scatter of the energy;
            otherwise the rule never applies.
        saves: >= 2, the number of last energies to compare.
    """

    tolerance: float = 1e-6
    saves: int = 5

    def __post_init__(self):
        check_positive("tolerance", self.tolerance)
        check_count("saves", self.saves, minimum=2)

    def __call__(self, energies: np.ndarray) -> bool:
        """Whether the last energies lie within the tolerance."""
        return len(energies) >= self.saves and float(np.ptp(energies[-self.saves :])) <= self.tolerance


@dataclass(frozen=True)
class Target:
    """Stop once the energy is at or below a value, in nats."""

    energy: float

    def __post_init__(self):
        if not np.isfinite(self.energy):
            raise ValueError(f"energy must be finite, got {self.energy}")

    def __call__(self, energies: np.ndarray) -> bool:
        """Whether the last energy is at or below the target."""
        return bool(energies[-1] <= self.energy)


def fastest_rate(energy: Any, clouds: Any, ahead: float = 0.0, *, iterations: int = 8) -> Array:
    """Estimate from below the fastest rate at which small displacements of the points decay, 1/time, >= 0.

    This is the largest decay rate of the linearised velocity, found by power iterations on finite
    differences of the velocity over small angles. Displacements that grow do not count. Explicit steps above
    2/rate do not settle.

    Args:
        energy: an energy of `ct.energies`.
        clouds: the clouds at which to evaluate the rate.
        ahead: time, >= 0. The rate is also evaluated along the path of the clouds over this time. This finds
            the rate in a narrow well even after steps that are too large have thrown points out of it.
        iterations: >= 1, power iterations at the clouds themselves; more iterations are more accurate.
    """
    return fastest_rate_of(partial(jitted_velocity, energy), clouds, ahead, iterations=iterations)


def fastest_rate_of(
    velocity: Callable[[Any], Any], clouds: Any, ahead: float = 0.0, *, iterations: int = 8
) -> Array:
    """`fastest_rate` for a compiled velocity, a function of the clouds."""
    random = np.random.default_rng(0)
    u = jax.tree.map(lambda z: jnp.asarray(random.standard_normal(z.shape), z.dtype), points(clouds))
    here = velocity(clouds)
    size = fastest = jnp.zeros((), jax.tree.leaves(here)[0].dtype)
    _, u, away, *_ = _iterate(clouds, here, here, u, size, fastest, 0.0)  # no iteration: it scales u
    left = ahead
    for i in range(iterations + _MOST_MOVES):
        there, time = velocity(away), 0.0
        if i >= iterations - 1 and left > 0:  # an Euler step short enough to settle
            time = min(left, 1 / float(size)) if size > 0 else left
            left -= time
        clouds, u, away, size, fastest = _iterate(clouds, here, there, u, size, fastest, time)
        if time > 0:
            here = velocity(clouds)
        elif i >= iterations - 1:
            break
    return fastest


# This depends on the clouds' shapes alone, so a new energy compiles only its velocity.
@jax.jit
def _iterate(clouds: Any, here: Any, there: Any, u: Any, size: Any, fastest: Any, time: Any) -> Any:
    """One power iteration, after which the clouds move with their velocity for some time.

    Args:
        clouds: the clouds.
        here: their velocity.
        there: the velocity of the clouds displaced by `u`.
        u: the direction of the displacements.
        size: the largest |rate| so far.
        fastest: the fastest decay rate so far.
        time: how long the clouds move, >= 0.

    Returns:
        The moved clouds, the next direction, the clouds displaced by it, and the updated size and fastest.
    """
    change = jax.tree.map(lambda a, b: (b - a) / _angle(a.dtype), here, there)
    change = jax.tree.map(sphere.project_tangent, points(clouds), change)

    def dot(a, b):  # ∫⟨a, b⟩ dq, in which the linearised velocity is symmetric
        each = jax.tree.map(lambda w, p, q: jnp.sum(w[:, None] * p * q), weights(clouds), a, b)
        return sum(jax.tree.leaves(each))

    norm = dot(u, u)
    norm = jnp.where(norm > 0, norm, 1)
    rate = -dot(u, change) / norm
    size = jnp.maximum(size, jnp.sqrt(dot(change, change) / norm))
    # Shift all rates by the largest |rate|, so that the iteration does not converge to a growing direction.
    # If u is the direction of fastest growth, the difference may be 0; then u is kept.
    shifted = jax.tree.map(lambda a, b: size * a - b, u, change)
    left_over = jnp.any(jnp.stack([jnp.any(a != 0) for a in jax.tree.leaves(shifted)]))
    u = jax.tree.map(lambda a, b: jnp.where(left_over, a, b), shifted, u)
    clouds = move(clouds, jax.tree.map(lambda v: jnp.asarray(time, v.dtype) * v, here))
    u = _unit(clouds, u)
    return clouds, u, _displaced(clouds, u), size, jnp.where(rate > fastest, rate, fastest)


def _unit(clouds: Any, u: Any) -> Any:
    """`u` made tangent and scaled to a largest row norm of 1; rows of weight 0 are 0: they do not move."""
    u = jax.tree.map(sphere.project_tangent, points(clouds), u)
    u = jax.tree.map(lambda w, a: jnp.where(w[:, None] > 0, a, 0), weights(clouds), u)
    largest = jnp.max(jnp.stack([jnp.max(jnp.sum(a**2, axis=1)) for a in jax.tree.leaves(u)]))
    return jax.tree.map(lambda a: a / jnp.sqrt(jnp.where(largest > 0, largest, 1)), u)


def _angle(dtype: Any) -> Array:
    return jnp.asarray(1e-3 if dtype == jnp.float32 else 1e-4, dtype)


def _displaced(clouds: Any, u: Any) -> Any:
    """The clouds moved by small angles; scaling back to the sphere is the geodesic up to third order."""
    moved = jax.tree.map(lambda z, a: z + _angle(a.dtype) * a, points(clouds), u)
    return with_points(clouds, jax.tree.map(_onto_sphere, moved))


def _onto_sphere(z: Array) -> Array:
    return z / jnp.linalg.norm(z, axis=1, keepdims=True)
