"""Two modalities with latents in two clusters, and the temperature below which one cloud splits in two.

Latents are n equally likely angles of 0.7·vM(0, 6) + 0.3·vM(π, 6). Pairs are blurred by σ, balanced so that
both marginals are uniform. The temperature τ* at which overlap is lost follows from the best single cloud
for both modalities (`ctflow.claims.criterion`). It depends on n, because few latents lie between the
clusters: at n near 100 their positions still move τ* by 5 % from its limit for infinitely many latents.
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
    """Two clouds [n, d] of one of the `STARTS`: near their latents on a circle, random, or opposite cones."""

    def cloud(side: int) -> np.ndarray:
        z = rng.standard_normal((n, d))
        if kind == "opposite cones":
            z *= 0.15
            z[:, -1] += side
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    if kind == "overlap":
        return _around_circle(angles(n), d, rng), _around_circle(angles(n), d, rng)
    return cloud(1), cloud(-1)


def _around_circle(angle: np.ndarray, d: int, rng: np.random.Generator) -> np.ndarray:
    """A cloud near the unit circle of the first two axes, with noise of 0.05."""
    z = 0.05 * rng.standard_normal((len(angle), d))
    z[:, :2] += np.column_stack([np.cos(angle), np.sin(angle)])
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@cache
def population_law(n: int, sigma: float) -> np.ndarray:
    """The law π of infinitely many latents: masses [n, n] on n equally spaced angles."""
    angle = 2 * np.pi * np.arange(n) / n
    mass = VonMisesMixture().density(angle)
    mass /= mass.sum()
    apart = np.remainder(angle[:, None] - angle + np.pi, 2 * np.pi) - np.pi
    log_kernel = -(apart**2) / (2 * sigma**2)
    return ct.couplings.balance(log_kernel, row_marginal=mass, col_marginal=mass)


@cache
def critical_temperatures(n: int, d: int, seed: int = 0, *, population: bool = False) -> dict[float, float]:
    """τ* for each σ of `SIGMAS`: where the lowest antiphase curvature of the best single cloud crosses zero.

    Interpolated between 16 temperatures from 0.15 to 1, with an error of about 1 %.

    Args:
        n: number of latents.
        d: dimension of the clouds, >= 3.
        seed: for the start.
        population: take infinitely many latents, by n quadrature points, instead of n latents.
    """
    shape, of = (len(SIGMAS), len(_TEMPERATURES)), population_law if population else law
    laws, taus = np.repeat([of(n, s) for s in SIGMAS], shape[1], axis=0), np.tile(_TEMPERATURES, shape[0])
    angle = 2 * np.pi * np.arange(n) / n if population else angles(n)
    one = _around_circle(angle, d, np.random.default_rng(seed))
    best = descend_together(laws, taus, np.broadcast_to(one, (len(taus), n, d)), num_steps=4000)
    found = lowest_curvatures(laws, taus, best).reshape(shape)
    return {sigma: crossing(_TEMPERATURES, of) for sigma, of in zip(SIGMAS, found, strict=True)}
