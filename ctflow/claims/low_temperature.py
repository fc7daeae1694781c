"""Low temperature: the Gibbs mass of {U <= min U + δ} tends to 1 as τ → 0, in any dimension.

For U(z) = -⟨z, a⟩ the Gibbs law is von Mises-Fisher with κ = 1/τ. Its mass in the cap ⟨z, a⟩ >= 1 - δ, by
quadrature, is compared with Langevin particles from a uniform start, in 2, 3, 8 and 64 dimensions. In high
dimension only low temperatures collect the mass: entropy favours the equator until 1/τ exceeds about d.
"""

import jax
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, at_least, within
from ctflow.claims.langevin import langevin
from ctflow.storage.tables import columns

TITLE = "low temperature: mass at the minimum"
SOURCE = "Gibbs measure by quadrature"
DELTA = 0.2


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check three temperatures in each dimension; the exact curve has 25."""
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
    return Evidence(checks, {"particles": columns(rows), "exact": columns(curve)}, f"{n:,} particles")


def _exact(potential, tau: float, d: int) -> float:
    gibbs = ct.gibbs.GibbsMeasure(potential, temperature=float(tau), d=d)
    return gibbs.cap_mass(np.eye(d)[:1], radius=np.arccos(1 - DELTA))


def _simulate(potential, tau: float, d: int, n: int, key) -> float:
    """Mass of the cap after a Langevin run from the uniform law, long enough to leave e⁻⁸ of the start."""
    key_start, key_noise = jax.random.split(key)
    # Late rates are about 1/τ + d - 1; the drift needs a few τ more for points on the far side. Steps are at
    # most 1/20 of the time scale of the curvature. Their number is the same at every τ, for one program.
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
