"""When a run may stop: the energy no longer falls, or has fallen far enough.

A rule is any function from the energies at the saves so far, [k], to a bool.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ctflow import sphere
from ctflow._base.checks import check_count, check_positive
from ctflow.clouds import points, weights
from ctflow.flows import jitted_velocity, move

__all__ = [
    "Plateau",
    "Target",
    "fastest_rate",
]

_MOST_MOVES = 20


@dataclass(frozen=True)
class Plateau:
    """Stop once the energy has stayed within `tolerance` for some saves.

    Args:
        tolerance: > 0, in nats. The energy of a stochastic flow scatters, and never stays within less.
        saves: >= 2, how many of the last energies are looked at.
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
        """Whether the last energy is there."""
        return bool(energies[-1] <= self.energy)


def fastest_rate(energy: Any, clouds: Any, ahead: float = 0.0, *, iterations: int = 8) -> Array:
    """The fastest rate at which small displacements of the points die, 1/time, >= 0; from below.

    The largest decay rate of the linearised velocity, by power iterations on its differences over small
    angles; displacements that grow do not count, since no step is too large for them to settle. Explicit
    steps above 2/rate do not settle.

    Args:
        energy: an energy of `ct.energies`.
        clouds: the clouds at which to look.
        ahead: time, >= 0. The rate is also looked at on the way that the clouds would take within this
            time. Points that steps too large have thrown out of a narrow well are led back into it, where
            the rate is.
        iterations: >= 1, power iterations at the clouds themselves; more come closer to the rate.
    """
    random = np.random.default_rng(0)
    u = jax.tree.map(lambda z: random.standard_normal(z.shape), points(clouds))
    u, away = _start(clouds, u)
    here = jitted_velocity(energy, clouds)
    size = fastest = jnp.zeros((), jax.tree.leaves(here)[0].dtype)
    left = ahead
    for i in range(iterations + _MOST_MOVES):
        there, time = jitted_velocity(energy, away), 0.0
        if i >= iterations - 1 and left > 0:  # an Euler step that settles itself
            time = min(left, 1 / float(size)) if size > 0 else left
            left -= time
        clouds, u, away, size, fastest = _iterate(clouds, here, there, u, size, fastest, time)
        if time > 0:
            here = jitted_velocity(energy, clouds)
        elif i >= iterations - 1:
            break
    return fastest


# These programs depend on the clouds' shape alone: of an energy, only the velocity is compiled.


@jax.jit
def _start(clouds: Any, u: Any) -> tuple[Any, Any]:
    """A direction of any numbers, made one of displacements; and the clouds displaced by it."""
    u = _unit(clouds, jax.tree.map(lambda z, a: jnp.asarray(a, z.dtype), points(clouds), u))
    return u, _displaced(clouds, u)


@jax.jit
def _iterate(clouds: Any, here: Any, there: Any, u: Any, size: Any, fastest: Any, time: Any) -> Any:
    """One power iteration, after which the clouds walk for some time.

    Args:
        clouds: the clouds.
        here: their velocity.
        there: the velocity of the clouds displaced by `u`.
        u: the direction of the displacements.
        size: the largest |rate| so far.
        fastest: the fastest decay so far.
        time: to walk, may be 0.

    Returns:
        The clouds, the next direction, the clouds displaced by it, and size and fastest anew.
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
    # Shifted by the size of all rates, so that those of growth do not take over.
    # Where nothing but the fastest growth is left, that difference may be nothing at all.
    shifted = jax.tree.map(lambda a, b: size * a - b, u, change)
    left_over = jnp.any(jnp.stack([jnp.any(a != 0) for a in jax.tree.leaves(shifted)]))
    u = jax.tree.map(lambda a, b: jnp.where(left_over, a, b), shifted, u)
    clouds = move(clouds, jax.tree.map(lambda v: jnp.asarray(time, v.dtype) * v, here))
    u = _unit(clouds, u)
    return clouds, u, _displaced(clouds, u), size, jnp.where(rate > fastest, rate, fastest)


def _unit(clouds: Any, u: Any) -> Any:
    """Tangent, no point displaced by more than 1, those without weight not at all: they do not move."""
    u = jax.tree.map(sphere.project_tangent, points(clouds), u)
    u = jax.tree.map(lambda w, a: jnp.where(w[:, None] > 0, a, 0), weights(clouds), u)
    largest = jnp.max(jnp.stack([jnp.max(jnp.sum(a**2, axis=1)) for a in jax.tree.leaves(u)]))
    return jax.tree.map(lambda a: a / jnp.sqrt(jnp.where(largest > 0, largest, 1)), u)


def _angle(dtype: Any) -> Array:
    return jnp.asarray(1e-3 if dtype == jnp.float32 else 1e-4, dtype)


def _displaced(clouds: Any, u: Any) -> Any:
    return move(clouds, jax.tree.map(lambda a: _angle(a.dtype) * a, u))
