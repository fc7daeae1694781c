"""Langevin particles in a potential, shared by several claims."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ctflow.energies import Potential
from ctflow.flows import Langevin
from ctflow.running.solver import solve


class Run(NamedTuple):
    """The final particles [n, d], and what was saved at `times` [saves + 1], beginning with the start."""

    cloud: np.ndarray
    times: np.ndarray
    saved: Any


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
        jnp.asarray(start),
        Langevin(duration / num_steps),
        num_steps=num_steps,
        key=key,
        save_every=num_steps // saves,
        save=save,
    )
    return Run(np.asarray(solution.clouds), np.asarray(solution.times), solution.saved)
