"""Two modalities of latents in two clusters, and the temperature below which one cloud splits in two.

Latents are n equally likely angles of 0.7·vM(0, 6) + 0.3·vM(π, 6), pairs are blurred by σ (balanced, so that
both marginals are uniform). π is symmetric, so J^Sym(x, y) = J^Sym(y, x): the best single cloud for both
modalities, x = y = z*, is stationary, and a displacement of the two is the sum of one in phase and one in
antiphase that do not mix. The gap opens where the lowest curvature of ε ↦ J^Sym(z* + εu, z* - εu) crosses
zero: this is `critical_temperature`, from a single cloud, with no gap in it.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import pairs
from ctflow.latents import VonMisesMixture
from ctflow.sweeps import sweep

STARTS = ("overlap", "random", "opposite cones")
_LOWEST, _HIGHEST, _COUNT = 0.15, 1.0, 8


def angles(n: int) -> np.ndarray:
    """The latents, [n] in radians, in ascending order."""
    return VonMisesMixture().quantiles((np.arange(n) + 0.5) / n)


@cache
def law(n: int, sigma: float) -> np.ndarray:
    """π [n, n], symmetric with uniform marginals; matched pairs at σ = 0."""
    if sigma == 0:
        return np.eye(n) / n
    latents = angles(n)
    weights = ct.couplings.from_latents(latents, latents, bandwidth=sigma, dtype=np.float64).weights
    return np.asarray(weights).reshape(n, n)


def start(kind: str, n: int, d: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds [n, d] at one of the `STARTS`: at their latents on a circle, anywhere, in opposite cones."""

    def cloud(side: int) -> np.ndarray:
        z = rng.standard_normal((n, d))
        if kind == "opposite cones":
            z *= 0.15
            z[:, -1] += side
        if kind == "overlap":
            z *= 0.05
            z[:, 0] += np.cos(angles(n))
            z[:, 1] += np.sin(angles(n))
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    return cloud(1), cloud(-1)


def curvatures(n: int, sigma: float, d: int, taus: np.ndarray, seed: int, *, num_steps: int) -> np.ndarray:
    """The lowest antiphase curvature of J^Sym at the best single cloud, at every temperature."""
    pi = law(n, sigma)
    laws = np.broadcast_to(pi, (len(taus), n, n))
    one = start("overlap", n, d, np.random.default_rng(seed))[0]
    clouds = pairs.descend_together(
        laws, taus, np.broadcast_to(one, (len(taus), n, d)), num_steps=num_steps
    ).astype(np.float64)
    clouds /= np.linalg.norm(clouds, axis=-1, keepdims=True)
    tangents = np.linalg.svd(clouds[..., None, :])[2][..., 1:, :]

    def lowest(inputs):
        tau, z, basis = inputs
        energy = pairs.energy_of("symmetric", jnp.asarray(pi), tau)

        def apart(coordinates):
            u = jnp.einsum("nk,nkd->nd", coordinates, basis)
            length = jnp.sqrt(1 + jnp.sum(u * u, axis=1, keepdims=True))
            return energy(ct.Pair((z + u) / length, (z - u) / length))

        # A displacement of every particle by one has length √n: curvature a particle.
        hessian = n * jax.hessian(apart)(jnp.zeros((n, d - 1))).reshape(n * (d - 1), -1)
        return jnp.linalg.eigvalsh(hessian)[0]

    return sweep(lowest, (np.asarray(taus, np.float64), clouds, tangents))


@cache
def critical_temperature(n: int, sigma: float, d: int, seed: int = 0, num_steps: int = 4000) -> float:
    """τ*, where the lowest antiphase curvature of the best single cloud crosses zero; within 1 % or so.

    Looked for in [0.15, 1], from above, on a grid of temperatures and then on a finer one.
    """
    low, high = _LOWEST, _HIGHEST
    for _ in range(2):
        taus = np.linspace(low, high, _COUNT)
        found = curvatures(n, sigma, d, taus, seed, num_steps=num_steps)
        below = np.flatnonzero(found < 0)
        if len(below) == 0 or below[-1] == _COUNT - 1:
            raise ValueError(f"no critical temperature in [{low:g}, {high:g}] for σ = {sigma:g} and d = {d}")
        low, high = taus[below[-1]], taus[below[-1] + 1]
    left, right = found[below[-1]], found[below[-1] + 1]
    return float(low + (high - low) * left / (left - right))
