"""When a run may stop: the energy no longer falls, or has fallen far enough; and when it never will.

A rule is any function from the energies at the saves so far, [k], to a bool.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow import sphere
from ctflow.checks import check_count, check_positive
from ctflow.clouds import points
from ctflow.flows import move, velocity

_ITERATIONS = 16


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


@jax.jit
def fastest_rate(energy: Any, clouds: Any) -> jax.Array:
    """The fastest rate at which small displacements of the points grow or die, 1/time; from below.

    The largest |λ| of the linearised velocity, by power iterations on its differences over small angles:
    explicit steps above 2/λ do not settle.
    """
    here = velocity(energy, clouds)
    dtype = jax.tree.leaves(here)[0].dtype
    angle = jnp.asarray(1e-2 if dtype == jnp.float32 else 1e-4, dtype)
    z, tree = jax.tree.flatten(points(clouds))
    keys = jax.random.split(jax.random.key(0), len(z))
    starts = [jax.random.normal(key, part.shape, dtype) for key, part in zip(keys, z, strict=True)]
    start = jax.tree.map(sphere.project_tangent, points(clouds), jax.tree.unflatten(tree, starts))

    def unit(u):  # no point is displaced by more than 1
        largest = jnp.max(jnp.stack([jnp.max(jnp.sum(a**2, axis=1)) for a in jax.tree.leaves(u)]))
        return jax.tree.map(lambda a: a / jnp.sqrt(jnp.where(largest > 0, largest, 1)), u)

    def change(u):
        there = velocity(energy, move(clouds, jax.tree.map(lambda a: angle * a, u)))
        difference = jax.tree.map(lambda a, b: (a - b) / angle, there, here)
        return jax.tree.map(sphere.project_tangent, points(clouds), difference)

    def dot(a, b):
        return sum(jnp.sum(p * q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    def iterate(_, carry):
        u, _ = carry
        changed = change(u)
        return unit(changed), jnp.abs(dot(u, changed)) / dot(u, u)

    return jax.lax.fori_loop(0, _ITERATIONS, iterate, (unit(start), jnp.zeros((), dtype)))[1]
