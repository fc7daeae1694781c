"""Langevin particles in a potential, as several claims run them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ctflow.energies import Potential
from ctflow.flows import Langevin
from ctflow.running.solver import solve


class Run(NamedTuple):
    """Particles at the end, and what was saved at times [saves + 1], the start first."""

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
    """Run particles for `duration`. Equal `num_steps` at several temperatures compile one program."""
    solution = solve(
        Potential(potential, temperature=temperature),
        jnp.asarray(start),
        Langevin(duration / num_steps),
        num_steps=num_steps,
        key=key,
        save_every=num_steps // saves,
        save=save,
    )
    return Run(np.asarray(solution.cloud), np.asarray(solution.times), solution.saved)
