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


def lowest_curvatures(laws: np.ndarray, taus: np.ndarray, clouds: np.ndarray) -> np.ndarray:
    """The least curvature of ε ↦ J^Sym(z + εu, z - εu) over tangent u of mean square 1, [runs].

    Args:
        laws: π of every run, [runs, n, n], symmetric.
        taus: temperatures, [runs].
        clouds: z, stationary for one cloud as both modalities, [runs, n, d].
    """
    _, n, d = clouds.shape
    tangents = np.linalg.svd(clouds[..., None, :])[2][..., 1:, :]

    def lowest(inputs):
        pi, tau, z, basis = inputs
        energy = pairs.energy_of("symmetric", pi, tau)

        def apart(coordinates):
            u = jnp.einsum("nk,nkd->nd", coordinates, basis)
            length = jnp.sqrt(1 + jnp.sum(u * u, axis=1, keepdims=True))
            return energy(ct.Pair((z + u) / length, (z - u) / length))

        hessian = jax.hessian(apart)(jnp.zeros((n, d - 1))).reshape(n * (d - 1), -1)
        return n * jnp.linalg.eigvalsh(hessian)[0]  # u of mean square 1 has the squared length n

    return sweep(lowest, (np.asarray(laws, np.float64), np.asarray(taus, np.float64), clouds, tangents))


@cache
def critical_temperatures(n: int, d: int, seed: int = 0) -> dict[float, float]:
    """τ* by σ, of `SIGMAS`: where the lowest antiphase curvature of the best single cloud crosses zero.

    Interpolated on 16 temperatures from 0.15 to 1; within 1 % or so.
    """
    shape = len(SIGMAS), len(_TEMPERATURES)
    laws, taus = np.repeat([law(n, s) for s in SIGMAS], shape[1], axis=0), np.tile(_TEMPERATURES, shape[0])
    one = start("overlap", n, d, np.random.default_rng(seed))[0]
    best = pairs.descend_together(laws, taus, np.broadcast_to(one, (len(taus), n, d)), num_steps=4000)
    best = best.astype(np.float64)
    best /= np.linalg.norm(best, axis=-1, keepdims=True)
    stars = {}
    for sigma, found in zip(SIGMAS, lowest_curvatures(laws, taus, best).reshape(shape), strict=True):
        below = np.flatnonzero(found < 0)
        if len(below) == 0 or below[-1] == shape[1] - 1:
            raise ValueError(f"no critical temperature in [0.15, 1] for σ = {sigma:g} and d = {d}")
        pair = slice(below[-1], below[-1] + 2)
        stars[sigma] = float(np.interp(0.0, found[pair], _TEMPERATURES[pair]))
    return stars
