"""Two modalities whose pairs have known probabilities, and clouds that descend on them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

import ctflow as ct
from ctflow.couplings import Coupling
from ctflow.kernels import Exponential
from ctflow.running.sweep import sweep

FLOW = ct.flows.Descent(optax.adam(1e-2))
"""What every run on pairs descends by; radians a step."""


class Cell(NamedTuple):
    """One run: blur σ, temperature τ, and the clouds it starts from, [n, d] each."""

    sigma: float
    tau: float
    x: np.ndarray
    y: np.ndarray


class Ends(NamedTuple):
    """What runs ended as, arrays [runs], and the clouds [runs, n, d].

    `energy` is J + log V, `slope` its derivative in log τ with the clouds held.
    """

    energy: Any
    slope: Any
    energy_distance: Any
    centroid_gap: Any
    paired_cosine: Any
    x: Any
    y: Any


def information(law: np.ndarray) -> float:
    """I(π) in nats."""
    outer = law.sum(axis=1)[:, None] * law.sum(axis=0)
    return float(special.xlogy(law, law / outer).sum())


def energy_of(kind: str, law: Any, tau: Any) -> Any:
    """J^Sym ("symmetric") or J_{1→2} ("one-directional") of pairs with probabilities π [n, n]."""
    n = law.shape[0]
    rows, cols = (index.ravel().astype(np.int32) for index in np.indices((n, n)))
    coupling = Coupling(jnp.asarray(rows), jnp.asarray(cols), jnp.ravel(law), shape=(n, n), complete=True)
    build = ct.energies.symmetric if kind == "symmetric" else ct.energies.directional
    return build(coupling, temperature=tau)


def level(kind: str, law: Any, log_tau: Any, clouds: Any) -> Any:
    """J + log V of a pair of clouds, differentiable in log τ."""
    tau: Any = jnp.exp(log_tau)
    return (energy_of(kind, law, tau) + ct.energies.LogVolume(Exponential(tau)))(clouds)


def descend(kind: str, laws: Any, cells: list[Cell], *, num_steps: int) -> Ends:
    """Every cell's clouds brought down by Adam in float32, as one program.

    Args:
        kind: of the energy, see `energy_of`.
        laws: π of every cell, [runs, n, n].
        cells: the runs; one n and d.
        num_steps: of Adam, at 1e-2 radians.
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
    """What a table says of a run's end."""
    return {
        "centroid_gap": ends.centroid_gap[index],
        "energy_distance": ends.energy_distance[index],
        "paired_cosine": ends.paired_cosine[index],
        "optimality_gap": ends.energy[index] + information(law),
    }
