"""Two modalities of a latent angle: pairs on a ring, blurred by σ, and clouds that descend on them.

Latents are n equally spaced angles; the partner of one is displaced by a normal angle of standard deviation
σ (wrapped). Both marginals are uniform, the coupling is known exactly, and so is what follows.

Take rings x = (r cos θ, r sin θ, a), y = (r cos θ, r sin θ, b) with |a|² = |b|² = 1 - r². Then
s_ij = r² cos(θ_i - θ_j) + ⟨a, b⟩, and J^Sym does not see the constant: it is stationary when
I_1(κ)/I_0(κ) = e^{-σ²/2} at κ = r²/τ. With κ* its solution, τ* = 1/κ* is critical: above it r = 1 and the
rings overlap; below it r² = τ/τ*, so that the temperature they feel, τ/r², stays at τ*, and there is room
off the plane, 1 - τ/τ*. How the two use it is neutral: both on one side (no gap), or apart by up to
2√(1 - τ/τ*).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize, special

import ctflow as ct
from ctflow._pytree import pytree
from ctflow.couplings import Coupling
from ctflow.energies import Energy
from ctflow.kernels import Exponential
from ctflow.sweeps import sweep

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


def ring_law(n: int, sigma: float) -> np.ndarray:
    """Probabilities π_ij [n, n] of pairs of angles; matched pairs at σ = 0."""
    if sigma == 0:
        return np.eye(n) / n
    angle = 2 * np.pi * np.arange(n) / n
    apart = angle[:, None] - angle
    turns = 2 * np.pi * np.arange(-4, 5)[:, None, None]
    weights = np.exp(-((apart + turns) ** 2) / (2 * sigma**2)).sum(axis=0)
    return weights / weights.sum()


def information(law: np.ndarray) -> float:
    """I(π) in nats."""
    outer = law.sum(axis=1)[:, None] * law.sum(axis=0)
    return float(special.xlogy(law, law / outer).sum())


def mean_cosine(kappa: Any) -> Any:
    """I_1(κ)/I_0(κ), the mean cosine of a von Mises law."""
    return special.ive(1, kappa) / special.ive(0, kappa)


def critical_temperature(sigma: float) -> float:
    """τ* = 1/κ* with I_1(κ*)/I_0(κ*) = e^{-σ²/2}."""
    target = np.exp(-(sigma**2) / 2)
    found = optimize.root_scalar(lambda kappa: mean_cosine(kappa) - target, bracket=(1e-9, 1e6))
    return 1 / float(found.root)


def ring_gap(sigma: float, tau: float) -> float:
    """The widest distance of two parallel rings, 2√(1 - τ/τ*), or 0 above τ*."""
    return 2 * max(0.0, 1 - tau / critical_temperature(sigma)) ** 0.5


def ring_energy(sigma: float, tau: float) -> float:
    """J^Sym + log V of the two parallel rings (of many points): the same at every τ below τ*."""
    kappa = 1 / max(tau, critical_temperature(sigma))
    return float(np.log(special.ive(0, kappa)) + kappa * (1 - np.exp(-(sigma**2) / 2)))


def rings(
    n: int, d: int, heights: tuple[float, float], rng: np.random.Generator, noise: float = 0.003
) -> tuple:
    """Two parallel rings at heights along the last axis, shaken a little; in d = 2 heights are left out."""
    angle = 2 * np.pi * np.arange(n) / n
    clouds = []
    for height in heights:
        z = np.zeros((n, d))
        z[:, 0], z[:, 1] = np.cos(angle), np.sin(angle)
        if d > 2:
            z[:, :2] *= np.sqrt(1 - height**2)
            z[:, -1] = height
        z += noise * rng.standard_normal(z.shape)
        clouds.append(z / np.linalg.norm(z, axis=1, keepdims=True))
    return tuple(clouds)


def energy_of(kind: str, law: Any, tau: Any) -> Any:
    """J^Sym ("symmetric") or J_{1→2} ("one-directional") of pairs with probabilities π [n, n]."""
    n = law.shape[0]
    rows, cols = (index.ravel().astype(np.int32) for index in np.indices((n, n)))
    coupling = Coupling(jnp.asarray(rows), jnp.asarray(cols), jnp.ravel(law), shape=(n, n), complete=True)
    build = ct.energies.symmetric if kind == "symmetric" else ct.energies.directional
    return build(coupling, temperature=tau)


def level(kind: str, law: Any, log_tau: Any, clouds: Any) -> Any:
    """J + log V of a pair of clouds, differentiable in log τ."""
    moved: Any = jnp.exp(log_tau)
    d, dtype = clouds.x.shape[1], clouds.x.dtype
    return energy_of(kind, law, moved)(clouds) + Exponential(moved).log_volume(d, dtype)


@pytree
class Shared(Energy):
    """An energy of a Pair as one of a single cloud that is both: x = y."""

    part: Energy

    def __call__(self, clouds):
        """The part's energy of (z, z)."""
        return self.part(ct.Pair(clouds, clouds))

    def terms(self, clouds):
        """The part's terms."""
        return self.part.terms(ct.Pair(clouds, clouds))


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


def descend_together(laws: Any, taus: Any, starts: Any, *, num_steps: int) -> np.ndarray:
    """J^Sym brought down by one cloud for both modalities, as in `descend`; the clouds [runs, n, d]."""

    def run(inputs):
        law, tau, z = inputs
        energy = Shared(energy_of("symmetric", law, tau))
        return ct.evolve(energy, FLOW, FLOW.init(z), num_steps=num_steps).clouds

    return sweep(run, tuple(np.asarray(stack, np.float32) for stack in (laws, taus, starts)))
