"""Two modalities whose pairs have known probabilities, and clouds that descend their energies."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

import ctflow as ct
from ctflow.kernels import Exponential
from ctflow.partition.staged import exponential
from ctflow.running.sweep import sweep

FLOW = ct.flows.Descent(optax.adam(1e-2))
"""The flow of every run on pairs: Adam, with learning rate 1e-2 radians per step."""
LOWEST = 0.0255
"""No claim has pairs at a lower temperature; there a sum in float32 would be NaN."""


class Cell(NamedTuple):
    """One run: blur σ in radians, temperature τ, and the two starting clouds, [n, d] each."""

    sigma: float
    tau: float
    x: np.ndarray
    y: np.ndarray


class Ends(NamedTuple):
    """Results of several runs: arrays [runs], and the final clouds x and y, [runs, n, d].

    `energy` is J + log V in nats; `slope` is its derivative in log τ for fixed clouds.
    """

    energy: Any
    slope: Any
    energy_distance: Any
    centroid_gap: Any
    paired_cosine: Any
    x: Any
    y: Any


def information(law: np.ndarray) -> float:
    """The mutual information I(π) of a law π [n, m], in nats."""
    outer = law.sum(axis=1)[:, None] * law.sum(axis=0)
    return float(special.xlogy(law, law / outer).sum())


def energy_of(kind: str, law: Any, tau: Any) -> Any:
    """J^Sym (kind "symmetric") or J_{1→2} ("one-directional") for pairs with probabilities π [n, n].

    `tau` may be traced. It must be at least `LOWEST`.
    """
    build = ct.energies.symmetric if kind == "symmetric" else ct.energies.directional
    kernel = exponential(tau, lowest=LOWEST, dtype=np.float32)
    return build(ct.couplings.complete(law), temperature=tau, kernel=kernel)


def level(kind: str, law: Any, log_tau: Any, clouds: Any) -> Any:
    """J + log V of a pair of clouds, in nats; differentiable in log τ."""
    tau: Any = jnp.exp(log_tau)
    return (energy_of(kind, law, tau) + ct.energies.LogVolume(Exponential(tau)))(clouds)


def descend(kind: str, laws: Any, cells: list[Cell], *, num_steps: int) -> Ends:
    """Minimise the energy of every cell by Adam in float32; one program for all cells.

    Args:
        kind: energy, see `energy_of`.
        laws: π of every cell, [runs, n, n].
        cells: the runs; n and d must be the same for all.
        num_steps: steps of Adam, see `FLOW`.
    """

    def run(inputs):
        law, tau, x, y = inputs
        energy = energy_of(kind, law, tau)
        clouds = ct.evolve(energy, FLOW, FLOW.init(ct.Pair(x, y)), num_steps=num_steps).clouds

        value, slope = jax.value_and_grad(lambda log_tau: level(kind, law, log_tau, clouds))(jnp.log(tau))
        gap = ct.diagnostics.centroid_gap(*clouds)
        distance = ct.diagnostics.energy_distance(*clouds, estimator="v")
        return Ends(value, slope, distance, gap, jnp.mean(jnp.sum(clouds.x * clouds.y, axis=1)), *clouds)

    stacks = np.asarray(laws), [c.tau for c in cells], [c.x for c in cells], [c.y for c in cells]
    return sweep(run, tuple(np.asarray(stack, np.float32) for stack in stacks))


def measures(ends: Ends, index: int, law: np.ndarray) -> dict[str, Any]:
    """Table entries for the end of run `index`; `optimality_gap` is J + log V + I(π)."""
    return {
        "centroid_gap": ends.centroid_gap[index],
        "energy_distance": ends.energy_distance[index],
        "paired_cosine": ends.paired_cosine[index],
        "optimality_gap": ends.energy[index] + information(law),
    }
