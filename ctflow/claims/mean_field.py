"""Particles against their mean field: statistical error N^{-1/2}, and the equations themselves.

In the middle of the relaxation, the mean height of N Langevin particles differs from the Fokker-Planck value
by √(Var/N). Particles under the flows of J_τ and J^Sym follow the equations for densities, which are solved
with harmonics. These particles start as weighted quadrature nodes, so that there is no sampling error;
independent particles would follow up to an error ∝ N^{-1/2}.
"""

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, close, sphere, within
from ctflow.claims.fields import Tilted
from ctflow.claims.langevin import langevin
from ctflow.claims.relaxation import draw_start, start_density
from ctflow.clouds import WeightedCloud
from ctflow.energies import symmetric_in_fields, unimodal
from ctflow.meanfield import DensityFlow, FokkerPlanck
from ctflow.storage.tables import columns

TITLE = "particles against mean field"
SOURCE = "central limit; equations for densities"
TEMPERATURES = (1.0, 0.5, 0.3)
_TIME = 0.15


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check Langevin and the two flows at three temperatures on S¹ and S²."""
    sizes, repeats = (100, 400, 1600), 40 if quick else 200
    checks, sampling, fields = [], [], []
    for d in (2, 3):
        for tau in TEMPERATURES:
            found, rows = _langevin(d, tau, sizes, repeats, seed)
            checks, sampling = checks + found, sampling + rows
            found, rows = _flows(d, tau)
            checks, fields = checks + found, fields + rows
    sample = f"{repeats} runs each of {', '.join(map(str, sizes))} particles; quadrature nodes"
    return Evidence(checks, {"sampling": columns(sampling), "flows": columns(fields)}, sample)


def _langevin(d: int, tau: float, sizes, repeats: int, seed: int):
    """Error of the mean height against N. Particles do not interact, so all sizes and repeats are one run."""
    where = f"{sphere(d)}, τ = {tau:g}"
    gibbs = ct.gibbs.GibbsMeasure(ct.potentials.Linear(jnp.asarray(np.eye(d)[0])), temperature=tau, d=d)
    flow = FokkerPlanck(gibbs)
    rho = flow.node_weights * flow.density(start_density, [_TIME])[0]
    exact = rho @ flow.nodes[:, 0]
    spread = np.sqrt(rho @ flow.nodes[:, 0] ** 2 - exact**2)
    key_start, key_noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), 10 * d))
    ends = langevin(
        gibbs.potential,
        draw_start(key_start, sum(sizes) * repeats, d),
        temperature=tau,
        duration=_TIME,
        num_steps=40,
        key=key_noise,
    ).cloud[:, 0]
    rows, first = [], 0
    for size in sizes:
        means = ends[first : first + size * repeats].reshape(repeats, size).mean(axis=1)
        first += size * repeats
        error = np.sqrt(np.mean((means - exact) ** 2))
        rows.append({"d": d, "tau": tau, "N": size, "predicted": spread / np.sqrt(size), "simulated": error})
    # The root mean square of r normal draws has a relative error of 1/√(2r).
    relative = 1 / np.sqrt(2 * repeats)
    logs = np.log(sizes)
    slope = np.polyfit(logs, np.log([row["simulated"] for row in rows]), 1)[0]
    error = relative / np.sqrt(((logs - logs.mean()) ** 2).sum())
    checks = [
        within(f"{where}: exponent of N in the error of the mean", -0.5, slope, error),
        within(
            f"{where}: error of the mean at N = {sizes[-1]}",
            rows[-1]["predicted"],
            rows[-1]["simulated"],
            relative * rows[-1]["predicted"],
        ),
    ]
    return checks, rows


def _flows(d: int, tau: float):
    where = f"{sphere(d)}, τ = {tau:g}"
    steps = 40
    checks, rows = [], []
    potentials, starts = (Tilted(), Tilted(0.5)), (start_density, lambda z: 1 + 0.5 * z[:, 0])
    for name, count in (("J flow", 1), ("J^Sym flow", 2)):
        reference = DensityFlow(potentials[:count], temperature=tau, d=d, max_degree=32 if d == 2 else 8)
        grid = reference.grid
        exact = reference.solve(starts[:count], [0.0, _TIME])
        heights = exact[-1] @ (grid.weights * grid.nodes[:, -1])
        nodes = jnp.asarray(grid.nodes)
        clouds = tuple(
            WeightedCloud(nodes, jnp.asarray(grid.weights * s(grid.nodes))) for s in starts[:count]
        )
        flow = ct.flows.GradientFlow(_TIME / steps)
        if count == 1:
            energy, clouds = unimodal(potentials[0], temperature=tau), clouds[0]
        else:
            energy, clouds = symmetric_in_fields(*potentials, temperature=tau), ct.Pair(*clouds)
        end = ct.evolve(energy, flow, flow.init(clouds), num_steps=steps).clouds
        seen = [ct.clouds.mean(c, c.points[:, -1]) for c in ((end,) if count == 1 else end)]
        for index in range(count):
            label = f"{where}, {name}, cloud {index + 1}: mean height at t = {_TIME}"
            checks.append(close(label, heights[index], seen[index], absolute=2e-3 / tau))
            rows.append(
                {"d": d, "tau": tau, "flow": name, "predicted": heights[index], "simulated": seen[index]}
            )
        energies = reference.energy(exact)
        checks.append(close(f"{where}, {name}: energy then", energies[-1], energy(end), absolute=2e-3 / tau))
    return checks, rows
