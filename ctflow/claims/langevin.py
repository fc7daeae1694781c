"""Langevin particles in a potential, shared by several claims."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ctflow.clouds import as_dtype
from ctflow.energies import Potential
from ctflow.flows import Langevin
from ctflow.running.solver import solve


class Run(NamedTuple):
    """The final particles [n, d], and what was saved at `times` [saves + 1], beginning with the start."""

    cloud: np.ndarray
    times: np.ndarray
    saved: Any


def moving(start: Any) -> Any:
    """A start in float32, whose rounding is far below the particles' noise; it takes a third of the time."""
    return as_dtype(start, jnp.float32)


def measured(save: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`save` of float32 clouds, computed in float64: means over many points keep their digits."""
    return lambda clouds: save(as_dtype(clouds, jnp.float64))


def langevin(
    potential: Any,
    start: Any,
    *,
    temperature: float,
    duration: float,
    num_steps: int,
    key: Any,
    save: Callable[[Any], Any] = jnp.mean,
    saves: int = 1,
) -> Run:
    """Run particles for a time `duration`. Runs with equal `num_steps` share one compiled program."""
    solution = solve(
        Potential(potential, temperature=temperature),
        moving(jnp.asarray(start)),
        Langevin(duration / num_steps),
        num_steps=num_steps,
        key=key,
        save_every=num_steps // saves,
        save=measured(save),
    )
    return Run(np.asarray(solution.clouds, np.float64), np.asarray(solution.times), solution.saved)
