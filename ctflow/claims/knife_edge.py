"""Knife-edge: two overlapping clouds stay together only if their fields differ by a constant.

With U_12 = U_21 + c, equal clouds stay equal up to rounding at all times. (The symmetric flow leaves overlap
invariant, although overlap is a saddle: see `stability`.) Any other difference parts them at once, with
relative velocity -½P∇(U_12 - U_21)/τ at every point (P: tangent projection). This holds for every kernel,
since both see the same barrier. Their distance after a short time is ∝ the size ε of the difference.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, close, sphere
from ctflow.claims.fields import Tilted
from ctflow.energies import symmetric_in_fields
from ctflow.flows import velocity
from ctflow.storage.tables import columns

TITLE = "knife-edge of overlap"
SOURCE = "first variation of J^Sym at ρ₁ = ρ₂"
TEMPERATURES = (1.0, 0.3, 0.1)


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check invariance, initial relative velocity, and distance against ε, at three temperatures."""
    n, sizes = 60 if quick else 400, np.array([0.01, 0.02, 0.04, 0.08])
    checks, rows = [], []
    for d in (2, 3):
        cloud = ct.sphere.von_mises_fisher(jax.random.key(seed), jnp.asarray(np.eye(d)[0]), 2.0, n)
        for tau in TEMPERATURES:
            where = f"{sphere(d)}, τ = {tau:g}"
            together = _distance(_moved(cloud, Tilted(), Tilted(0.0, 3.0), tau, 200))
            checks.append(
                close(f"{where}: distance of equal clouds, U₁₂ = U₂₁ + 3", 0.0, together, absolute=1e-12)
            )

            difference = Tilted(0.5)
            apart = velocity(
                symmetric_in_fields(difference, Tilted(), temperature=tau), ct.Pair(cloud, cloud)
            )
            relative = np.asarray(apart.x - apart.y)
            gradient = jax.vmap(jax.grad(difference))(cloud) - jax.vmap(jax.grad(Tilted()))(cloud)
            expected = -0.5 * np.asarray(ct.sphere.project_tangent(cloud, gradient)) / tau
            worst = np.abs(relative - expected).max()
            checks.append(
                close(
                    f"{where}: relative velocity at first, RMS",
                    np.sqrt((expected**2).sum(axis=1).mean()),
                    np.sqrt((relative**2).sum(axis=1).mean()),
                    relative=1e-10,
                )
            )
            checks.append(
                close(f"{where}: the same, largest error of a point", 0.0, worst, absolute=1e-10 / tau)
            )
            gaps = [_distance(_moved(cloud, Tilted(size), Tilted(), tau, 200)) for size in sizes]
            slope = np.polyfit(np.log(sizes), np.log(gaps), 1)[0]
            checks.append(close(f"{where}: exponent of ε in the distance", 1.0, slope, absolute=0.02))
            rows += [{"d": d, "tau": tau, "size": s, "distance": g} for s, g in zip(sizes, gaps, strict=True)]
    return Evidence(checks, {"gaps": columns(rows)}, f"{n} particles a cloud")


def _moved(cloud: Any, first: Tilted, second: Tilted, tau: float, num_steps: int) -> ct.Pair:
    """Two equal clouds after `num_steps` steps of the symmetric flow, with step size τ/100."""
    flow = ct.flows.GradientFlow(0.01 * tau)
    energy = symmetric_in_fields(first, second, temperature=tau)
    return ct.evolve(energy, flow, flow.init(ct.Pair(cloud, cloud)), num_steps=num_steps).clouds


def _distance(clouds: ct.Pair) -> float:
    """Root mean square distance between corresponding points."""
    return float(jnp.sqrt(jnp.mean(jnp.sum((clouds.x - clouds.y) ** 2, axis=1))))
