"""Low temperature: the Gibbs mass of {U <= min U + δ} tends to 1 as τ → 0, in any dimension.

U(z) = -⟨z, a⟩, whose Gibbs law is von Mises-Fisher with κ = 1/τ: its mass of the cap ⟨z, a⟩ >= 1 - δ by
quadrature, against Langevin particles from a uniform start, in 2, 3, 8 and 64 dimensions. In high
dimension the mass comes late: entropy pulls to the equator until 1/τ exceeds about d.
"""

import jax
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, at_least, table, within
from ctflow.claims.langevin import langevin

TITLE = "low temperature: mass at the minimum"
SOURCE = "Gibbs measure by quadrature"
DELTA = 0.2


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Three temperatures in each dimension; more in the exact curve."""
    n = 2_000 if quick else 10_000
    rows, curve = [], []
    for d in (2, 3, 8, 64):
        potential = ct.potentials.Linear(np.eye(d)[0])
        for tau in np.geomspace(2, 0.004, 25):
            curve.append({"d": d, "tau": tau, "exact": _exact(potential, tau, d)})
        for index, tau in enumerate((1.0, 0.2, 0.05) if d < 64 else (0.02, 0.01, 0.005)):
            key = jax.random.fold_in(jax.random.key(seed), 10 * d + index)
            mass = _simulate(potential, tau, d, n, key)
            exact = _exact(potential, tau, d)
            error = np.sqrt(max(exact * (1 - exact), 1 / n) / n)
            rows.append({"d": d, "tau": tau, "exact": exact, "simulated": mass, "error": error})
    checks = [
        within(
            f"d = {r['d']}, τ = {r['tau']:g}: mass within {DELTA} of min U",
            r["exact"],
            r["simulated"],
            r["error"],
        )
        for r in rows
    ]
    for d in (2, 3, 8, 64):
        masses = [r["simulated"] for r in rows if r["d"] == d]
        checks.append(at_least(f"d = {d}: gain of mass as τ falls", 0.0, min(np.diff(masses))))
    return Evidence(checks, {"particles": table(rows), "exact": table(curve)}, f"{n:,} particles")


def _exact(potential, tau: float, d: int) -> float:
    gibbs = ct.gibbs.GibbsMeasure(potential, temperature=float(tau), d=d)
    return gibbs.cap_mass(np.eye(d)[:1], radius=np.arccos(1 - DELTA))


def _simulate(potential, tau: float, d: int, n: int, key) -> float:
    """Langevin from the uniform law until e⁻⁸ of it is left: rates are about 1/τ + d - 1 in the end."""
    key_start, key_noise = jax.random.split(key)
    # The drift takes a few τ more to bring points from the other side. Steps are a 20th of the curvature's
    # time or less; their number is the same at every τ, so that one program serves.
    num_steps = 320
    duration = 4 * tau + 8 / (d - 1 + 1 / tau) if tau < 1 / (d - 1) else 10 / (d - 1)
    run = langevin(
        potential,
        ct.sphere.uniform(key_start, n, d),
        temperature=tau,
        duration=duration,
        num_steps=num_steps,
        key=key_noise,
    )
    return float(np.mean(run.cloud[:, 0] >= 1 - DELTA))
