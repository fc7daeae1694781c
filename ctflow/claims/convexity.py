"""F is strictly convex along mixtures of laws; J^Sym is not.

F along ρ_t = (1-t)ρ_0 + tρ_1 has second derivative ∫(ρ_1-ρ_0)²/ρ_t dμ > 0. At two overlapping uniform
clouds J^Sym has second variation -(2λ_ℓ + λ_ℓ²) in antiphase, where a mode of degree ℓ is added to one
density and subtracted from the other. Clouds are weighted quadrature nodes, so there is no sampling noise.
"""

import jax.numpy as jnp
import numpy as np

from ctflow.claims.evidence import Evidence, at_least, each_close, sphere
from ctflow.claims.fields import symmetric_without_potential, zonal
from ctflow.clouds import Pair, WeightedCloud
from ctflow.energies import SmoothedEntropy
from ctflow.kernels import Exponential
from ctflow.meanfield import HarmonicGrid, rates
from ctflow.storage.tables import columns

TITLE = "convexity of F, and of J^Sym not"
SOURCE = "second variations in closed form"
TEMPERATURES = (1.0, 0.3, 0.1)
DEGREES = (1, 2, 3)
_STEP = 1e-3


def second_difference(values, step: float) -> float:
    """F'' from (f(-h), f(0), f(h)); with error about h²f''''/12."""
    before, middle, after = values
    return float((before - 2 * middle + after) / step**2)


def curvature(grid: HarmonicGrid, degree: int, tau: float, kind: str) -> float:
    """Second variation of the computed energy along one zonal mode of the weights, by finite differences."""
    nodes = jnp.asarray(grid.nodes)
    mode = zonal(grid.d, degree)[0](grid.nodes[:, -1])
    energy = SmoothedEntropy(Exponential(tau)) if kind == "unimodal" else symmetric_without_potential(tau)

    def at(size):
        clouds = [
            WeightedCloud(nodes, jnp.asarray(grid.weights * (1 + s * size * mode)))
            for s in (1, -1 if kind == "antiphase" else 1)
        ]
        return energy(clouds[0] if kind == "unimodal" else Pair(*clouds))

    return second_difference([at(s) for s in (-_STEP, 0.0, _STEP)], _STEP)


def along_mixture(d: int, tau: float) -> list[dict]:
    """F'' along the mixture of two Gibbs laws of opposite potentials, in closed form and by differences."""
    grid = HarmonicGrid(d, 1, count=64)
    height = grid.nodes[:, -1]
    ends = [np.exp(s * height / tau) for s in (1, -1)]
    first, second = (rho / (grid.weights @ rho) for rho in ends)

    def free_energy(t):
        rho = (1 - t) * first + t * second
        return grid.weights @ (rho * (-height / tau + np.log(rho)))

    rows = []
    for t in (0.1, 0.5, 0.9):
        exact = grid.weights @ ((second - first) ** 2 / ((1 - t) * first + t * second))
        found = second_difference([free_energy(t + s) for s in (-_STEP, 0, _STEP)], _STEP)
        rows.append({"d": d, "tau": tau, "t": t, "predicted": exact, "simulated": found})
    return rows


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check both second variations at three temperatures on S¹ and S²."""
    mixtures, modes = [], []
    for d in (2, 3):
        grid = HarmonicGrid(d, 4, count=24 if d == 2 else 14)
        for tau in TEMPERATURES:
            mixtures += along_mixture(d, tau)
            exact = rates.curvatures(Exponential(tau), d, max(DEGREES))
            modes += [
                {
                    "d": d,
                    "tau": tau,
                    "degree": degree,
                    "kind": kind,
                    "predicted": getattr(exact, kind)[degree],
                    "simulated": curvature(grid, degree, tau, kind),
                }
                for kind in (("unimodal", "antiphase") if quick else exact._fields)
                for degree in DEGREES
            ]
    checks = each_close(
        mixtures,
        lambda r: f"{sphere(r['d'])}, τ = {r['tau']:g}, t = {r['t']:g}: F'' along a mixture",
        relative=1e-3,
    )
    checks += each_close(
        modes,
        lambda r: f"{sphere(r['d'])}, τ = {r['tau']:g}, degree {r['degree']}: {r['kind']} curvature",
        relative=1e-4,
    )
    lowest = min(r["simulated"] for r in mixtures)
    checks.append(at_least("smallest F'' of all mixtures", 0.0, lowest))
    return Evidence(checks, {"mixtures": columns(mixtures), "modes": columns(modes)})
