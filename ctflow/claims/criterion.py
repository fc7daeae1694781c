"""Where two modalities part: the best single cloud for both, and when it turns unstable against parting.

For a symmetric coupling J^Sym(x, y) = J^Sym(y, x). So the best single cloud, x = y = z*, is stationary, and
every displacement of the pair is the sum of an in-phase and an antiphase part, which do not mix. Overlap is
lost where the lowest curvature of ε ↦ J^Sym(z* + εu, z* - εu) crosses zero. This criterion needs only a
single cloud without a gap. It does not exclude a separated state of lower energy while overlap is stable.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import pairs
from ctflow.energies import Energy
from ctflow.running.sweep import sweep

STEP = 0.3
"""Step size of the flows here, as a multiple of τ; the fastest rate of J^Sym is about 2/τ."""


class Shared(Energy):
    """An energy of a Pair as an energy of a single cloud used for both: x = y."""

    part: Energy

    def __call__(self, clouds):
        """The part's energy of (z, z)."""
        return self.part(ct.Pair(clouds, clouds))

    def terms(self, clouds):
        """The part's terms."""
        return self.part.terms(ct.Pair(clouds, clouds))


def descend_together(laws: Any, taus: Any, starts: Any, *, num_steps: int) -> np.ndarray:
    """Minimise J^Sym with one cloud for both modalities, as in `pairs.descend`; returns clouds [runs, n, d].

    The points have the weights of the marginal of π [n, n].
    """

    def run(inputs):
        law, tau, z = inputs
        energy, cloud = Shared(pairs.energy_of("symmetric", law, tau)), ct.WeightedCloud(z, law.sum(axis=1))
        return ct.evolve(energy, pairs.FLOW, pairs.FLOW.init(cloud), num_steps=num_steps).clouds.points

    return sweep(run, tuple(np.asarray(stack, np.float32) for stack in (laws, taus, starts)))


def settle(laws: Any, taus: Any, starts: Any, *, num_steps: int) -> np.ndarray:
    """The best single clouds near `starts` [runs, n, d]: Adam first, then the gradient flow in float64."""

    def run(inputs):
        law, tau, z = inputs
        energy, flow = Shared(pairs.energy_of("symmetric", law, tau)), ct.flows.GradientFlow(STEP / 2 * tau)
        return ct.evolve(energy, flow, flow.init(ct.sphere.normalize(z)), num_steps=num_steps).clouds

    best = descend_together(laws, taus, starts, num_steps=4000)
    return sweep(run, tuple(np.asarray(stack, np.float64) for stack in (laws, taus, best)))


def lowest_curvatures(laws: np.ndarray, taus: np.ndarray, clouds: np.ndarray) -> np.ndarray:
    """The least curvature of ε ↦ J^Sym(z + εu, z - εu) over tangent u of mean square 1, [runs].

    Args:
        laws: π of every run, [runs, n, n], symmetric; its marginal gives the points' weights.
        taus: temperatures, [runs].
        clouds: z, stationary as one cloud for both modalities, [runs, n, d].
    """
    _, n, d = clouds.shape
    clouds = np.asarray(clouds, np.float64)
    clouds = clouds / np.linalg.norm(clouds, axis=-1, keepdims=True)
    tangents = np.linalg.svd(clouds[..., None, :])[2][..., 1:, :]

    def lowest(inputs):
        pi, tau, z, basis = inputs
        energy, weights = pairs.energy_of("symmetric", pi, tau), pi.sum(axis=1)

        def apart(coordinates):  # u of mean square 1 has coordinates of length 1
            u = jnp.einsum("nk,nkd->nd", coordinates, basis) / jnp.sqrt(weights)[:, None]
            length = jnp.sqrt(1 + jnp.sum(u * u, axis=1, keepdims=True))
            sides = ((z + u) / length, (z - u) / length)
            return energy(ct.Pair(*(ct.WeightedCloud(side, weights) for side in sides)))

        # Row by row: all rows at once take a matrix [n, n] for each of n(d-1) displacements, beyond a cache.
        _, curvature = jax.linearize(jax.grad(apart), jnp.zeros((n, d - 1)))
        units = jnp.eye(n * (d - 1)).reshape(-1, n, d - 1)
        hessian = jax.lax.map(curvature, units).reshape(n * (d - 1), -1)
        return jnp.linalg.eigvalsh(hessian)[0]

    return sweep(lowest, (np.asarray(laws, np.float64), np.asarray(taus, np.float64), clouds, tangents))


def parting_rates(
    laws: Any, taus: Any, clouds: np.ndarray, *, num_steps: int, rng: np.random.Generator
) -> np.ndarray:
    """Rates [runs], 1/time, at which two clouds that start 1e-9 radians apart part under J^Sym.

    Measured over the second half of the steps, when only the fastest antiphase displacement is left. The
    flow is the gradient flow of the theory, in float64.

    Args:
        laws: as in `lowest_curvatures`; the predicted rate is minus half of that curvature.
        taus: temperatures, [runs].
        clouds: z, [runs, n, d].
        num_steps: number of steps, each of size `STEP`·τ.
        rng: generator for the displacements.
    """

    def run(inputs):
        law, tau, z, v = inputs
        energy, flow = pairs.energy_of("symmetric", law, tau), ct.flows.GradientFlow(STEP * tau)
        clouds = ct.Pair(ct.sphere.normalize(z + 1e-9 * v), ct.sphere.normalize(z - 1e-9 * v))

        def distance(clouds):
            return jnp.sqrt(jnp.mean(jnp.sum((clouds.x - clouds.y) ** 2, axis=1)))

        half = ct.evolve(energy, flow, flow.init(clouds), num_steps=num_steps // 2)
        end = ct.evolve(energy, flow, half, num_steps=num_steps // 2)
        return jnp.log(distance(end.clouds) / distance(half.clouds)) / (num_steps // 2 * STEP * tau)

    noise = np.broadcast_to(rng.standard_normal(clouds.shape[1:]), clouds.shape)
    return sweep(run, tuple(np.asarray(stack, np.float64) for stack in (laws, taus, clouds, noise)))


def crossing(taus: np.ndarray, curvatures: np.ndarray) -> float:
    """The largest temperature, interpolated in ascending `taus`, at which the curvature crosses zero upwards.

    Raises:
        ValueError: the curvature does not cross zero between these temperatures.
    """
    below = np.flatnonzero(np.asarray(curvatures) < 0)
    if len(below) == 0 or below[-1] == len(taus) - 1:
        raise ValueError(f"no critical temperature between τ = {taus[0]:g} and {taus[-1]:g}")
    pair = slice(below[-1], below[-1] + 2)
    return float(np.interp(0.0, np.asarray(curvatures)[pair], np.asarray(taus)[pair]))
