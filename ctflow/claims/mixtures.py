"""Two modalities of latents in two clusters, and the temperature below which one cloud splits in two.

Latents are n equally likely angles of 0.7·vM(0, 6) + 0.3·vM(π, 6), pairs are blurred by σ (balanced, so
that both marginals are uniform). The temperature τ* at which overlap is lost follows from the best single
cloud for both modalities (`ctflow.claims.criterion`). It depends on n: the few latents between the clusters
weigh.
"""

from functools import cache

import numpy as np

import ctflow as ct
from ctflow.claims.criterion import crossing, descend_together, lowest_curvatures
from ctflow.latents import VonMisesMixture

SIGMAS = (0.3, 0.5, 1.0)
STARTS = ("overlap", "random", "opposite cones")
_TEMPERATURES = np.linspace(0.15, 1.0, 16)


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


@cache
def critical_temperatures(n: int, d: int, seed: int = 0) -> dict[float, float]:
    """τ* by σ, of `SIGMAS`: where the lowest antiphase curvature of the best single cloud crosses zero.

    Interpolated on 16 temperatures from 0.15 to 1; within 1 % or so.
    """
    shape = len(SIGMAS), len(_TEMPERATURES)
    laws, taus = np.repeat([law(n, s) for s in SIGMAS], shape[1], axis=0), np.tile(_TEMPERATURES, shape[0])
    one = start("overlap", n, d, np.random.default_rng(seed))[0]
    best = descend_together(laws, taus, np.broadcast_to(one, (len(taus), n, d)), num_steps=4000)
    found = lowest_curvatures(laws, taus, best).reshape(shape)
    return {sigma: crossing(_TEMPERATURES, of) for sigma, of in zip(SIGMAS, found, strict=True)}
