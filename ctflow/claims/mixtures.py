"""Two modalities of latents in two clusters, and the temperature below which one cloud splits in two.

Latents are n equally likely angles of 0.7·vM(0, 6) + 0.3·vM(π, 6), pairs are blurred by σ (balanced, so that
both marginals are uniform). π is symmetric, so J^Sym(x, y) = J^Sym(y, x): the best single cloud for both
modalities, x = y = z*, is stationary, and a displacement of the two is the sum of one in phase and one in
antiphase that do not mix. The gap opens where the lowest curvature of ε ↦ J^Sym(z* + εu, z* - εu) crosses
zero: this is `critical_temperatures`, from a single cloud, with no gap in it.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import pairs
from ctflow.latents import VonMisesMixture
from ctflow.sweeps import sweep

SIGMAS = (0.3, 0.5, 1.0)
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


def curvatures(
    n: int, sigmas: np.ndarray, d: int, taus: np.ndarray, seed: int, *, num_steps: int = 4000
) -> np.ndarray:
    """The lowest antiphase curvature of J^Sym at the best single cloud, for every blur and temperature."""
    laws = np.stack([law(n, sigma) for sigma in sigmas])
    one = start("overlap", n, d, np.random.default_rng(seed))[0]
    starts = np.broadcast_to(one, (len(taus), n, d))
    clouds = pairs.descend_together(laws, taus, starts, num_steps=num_steps).astype(np.float64)
    clouds /= np.linalg.norm(clouds, axis=-1, keepdims=True)
    tangents = np.linalg.svd(clouds[..., None, :])[2][..., 1:, :]

    def lowest(inputs):
        pi, tau, z, basis = inputs
        energy = pairs.energy_of("symmetric", pi, tau)

        def apart(coordinates):
            u = jnp.einsum("nk,nkd->nd", coordinates, basis)
            length = jnp.sqrt(1 + jnp.sum(u * u, axis=1, keepdims=True))
            return energy(ct.Pair((z + u) / length, (z - u) / length))

        # A displacement of every particle by one has length √n: curvature a particle.
        hessian = n * jax.hessian(apart)(jnp.zeros((n, d - 1))).reshape(n * (d - 1), -1)
        return jnp.linalg.eigvalsh(hessian)[0]

    return sweep(lowest, (laws, np.asarray(taus, np.float64), clouds, tangents))


@cache
def critical_temperatures(n: int, d: int, seed: int = 0) -> dict[float, float]:
    """τ* by σ, of `SIGMAS`: where the lowest antiphase curvature of the best single cloud crosses zero.

    Looked for in [0.15, 1], from above, on a grid of temperatures and then on a finer one; within 1 % or so.
    """
    low, high = np.full(len(SIGMAS), _LOWEST), np.full(len(SIGMAS), _HIGHEST)
    left, right = np.zeros(len(SIGMAS)), np.zeros(len(SIGMAS))
    for _ in range(2):
        taus = np.linspace(low, high, _COUNT, axis=1)
        found = curvatures(n, np.repeat(SIGMAS, _COUNT), d, taus.ravel(), seed).reshape(taus.shape)
        for index, (sigma, values) in enumerate(zip(SIGMAS, found, strict=True)):
            below = np.flatnonzero(values < 0)
            if len(below) == 0 or below[-1] == _COUNT - 1:
                raise ValueError(
                    f"no critical temperature in [{low[index]:g}, {high[index]:g}] for σ = {sigma:g}, d = {d}"
                )
            pair = slice(below[-1], below[-1] + 2)
            (low[index], high[index]), (left[index], right[index]) = taus[index, pair], values[pair]
    found = low + (high - low) * left / (left - right)
    return dict(zip(SIGMAS, found.tolist(), strict=True))
