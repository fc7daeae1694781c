"""Each cloud is a barrier to the other: the effective potential V_{1|2} = U_{12}/τ + log ρ̃_2.

With cloud 2 frozen, J_{1→2} = ∫V dρ_1 is linear in ρ_1: noiseless particles end in the minima of V, and
Langevin particles have the law e^{-V}/Z. J^Sym adds to V the field K(ρ_2/ρ̃_1), which is high where cloud 2
outweighs cloud 1, so that particles move further away from cloud 2. While both clouds move, V_{1|2} follows
the equation for densities. If each cloud in turn takes the best response ρ = e^{-V}/Z, a small difference of
degree ℓ is multiplied by -λ_ℓ. So with noise overlap is stable, unlike under the noiseless symmetric flow
(see `stability`), and two densities that start far apart become equal after some rounds.
"""

from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.coadaptation import ROUNDS, response, rounds, together
from ctflow.claims.evidence import Evidence, at_least, at_most, close, each_close, sphere, within
from ctflow.claims.fields import Effective, Tilted, cluster, great_circle, potential_at
from ctflow.claims.langevin import langevin
from ctflow.clouds import Pair
from ctflow.energies import Component, CrossEntropy, Energy, Potential, symmetric_in_fields
from ctflow.kernels import Exponential
from ctflow.storage.tables import columns

TITLE = "the other cloud is a barrier"
SOURCE = "first variations of J₁→₂ and J^Sym"
TEMPERATURES = (1.0, 0.6, 0.3)


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Checks with cloud 2 frozen, both moving, and best responses, at three temperatures on S¹ and S²."""
    n = 480 if quick else 20_000  # up to 480 points sums are exact, which compiles faster
    checks, maps, ends, running, responses, answers = [], [], [], [], [], []
    for d in (2, 3):
        for tau in TEMPERATURES:
            found, mapped, ended = _frozen(d, tau, n, seed)
            checks, maps, ends = checks + found, maps + mapped, [*ends, ended]
            found, moved = together(d, tau)
            checks, running = checks + found, running + moved
            answers += rounds(d, tau)
        responses += [response(d, tau, degree) for tau in (1.0, 0.3, 0.1) for degree in (1, 2, 3)]
    checks += each_close(
        responses,
        lambda r: (
            f"{sphere(r['d'])}, τ = {r['tau']:g}, degree {r['degree']}: best response to a small difference"
        ),
        relative=1e-3,
    )
    for d in (2, 3):
        for tau in TEMPERATURES:
            last = [row["divergence"] for row in answers if row["d"] == d and row["tau"] == tau][-1]
            name = f"{sphere(d)}, τ = {tau:g}: KL both ways after {ROUNDS} rounds of best responses"
            checks.append(at_most(name, 1e-6, last))
    curves = {"rounds": answers, "map": maps, "ends": ends, "run": running, "responses": responses}
    tables = {name: columns(rows) for name, rows in curves.items()}
    return Evidence(checks, tables, f"{n:,} Langevin particles; 100 particles a cloud")


def _frozen(d: int, tau: float, n: int, seed: int):
    where = f"{sphere(d)}, τ = {tau:g}"
    rng = np.random.default_rng([seed, d])
    key_start, key_noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), d))
    # U attracts to the pole. Cloud 2 is already near the pole, 0.3 radians off it.
    center = np.zeros(d)
    center[0], center[-1] = np.sin(0.3), np.cos(0.3)
    x, y = (jnp.asarray(cluster(rng, center, 100, 0.35)) for _ in range(2))
    v = Effective(Tilted(), y, temperature=tau, kernel=Exponential(tau))
    gibbs = ct.gibbs.GibbsMeasure(v, temperature=1.0, d=d)

    # Langevin particles in V
    start = ct.sphere.uniform(key_start, n, d)
    run = langevin(v, start, temperature=1.0, duration=8.0 / (d - 1), num_steps=400, key=key_noise)
    checks = []
    for axis, name in ((-1, "height"), (0, "mean along z₁")):
        exact = gibbs.mean(lambda z, axis=axis: z[:, axis])
        spread = np.sqrt(gibbs.mean(lambda z, axis=axis: z[:, axis] ** 2) - exact**2)
        found = run.cloud[:, axis].mean()
        checks.append(
            within(f"{where}: {name}, Langevin with cloud 2 frozen", exact, found, spread / np.sqrt(n))
        )

    # The noiseless one-directional flow
    energy = Component(Potential(Tilted(), temperature=tau), index=0) + CrossEntropy(Exponential(tau))
    alone = float(Potential(v, temperature=1.0)(x))
    checks.append(
        close(
            f"{where}: J₁→₂ with cloud 2 frozen against ∫V dρ₁", alone, energy(ct.Pair(x, y)), absolute=1e-12
        )
    )
    directional = _descend(Potential(v, temperature=1.0), x, tau)
    lowest = float(potential_at(v, gibbs.nodes).min())
    reached = np.asarray(potential_at(v, directional))
    checks += [
        at_most(
            f"{where}: steepest slope of V at the noiseless flow's end", 1e-3 / tau, _steepest(v, directional)
        ),
        close(f"{where}: lowest V reached against min V", lowest, reached.min(), absolute=2e-3 / tau),
    ]

    # Cloud 1 under the symmetric flow; the factor 2 cancels the ½ in J^Sym
    further = _descend(2.0 * Against(Tilted(), y, temperature=tau), x, tau)
    along = [float(jnp.mean(z @ jnp.asarray(center))) for z in (x, directional, further)]
    checks.append(
        at_least(
            f"{where}: mean height over cloud 2, one-directional less symmetric", 0.0, along[1] - along[2]
        )
    )
    angle, line = great_circle(d)
    mapped = [
        {"d": d, "tau": tau, "angle": a, "effective": e, "field": f}
        for a, e, f in zip(angle, np.asarray(potential_at(v, line)), -np.cos(angle) / tau, strict=True)
    ]
    ended = {"d": d, "tau": tau, "start": along[0], "one_directional": along[1], "symmetric": along[2]}
    return checks, mapped, ended


@jax.jit
def _steepest(potential, z):
    """The largest norm of a potential's tangential gradient at points [n, d]."""
    slopes = jax.grad(lambda z: jnp.sum(potential(z)))(z)
    return jnp.max(jnp.linalg.norm(ct.sphere.project_tangent(z, slopes), axis=1))


class Against(Energy):
    """J^Sym, with the same field for both clouds, as an energy of cloud 1 while cloud 2 is frozen."""

    potential: Any
    cloud: Any
    _: KW_ONLY
    temperature: Any

    def terms(self, clouds):
        """`symmetric`: J^Sym of the pair."""
        energy = symmetric_in_fields(self.potential, self.potential, temperature=self.temperature)
        return {"symmetric": energy(Pair(clouds, self.cloud))}


def _descend(energy, x, tau: float):
    """Cloud 1 [n, d] after 2000 steps of a noiseless flow."""
    flow = ct.flows.GradientFlow(0.02 * tau)
    return ct.evolve(energy, flow, flow.init(x), num_steps=2000).clouds
