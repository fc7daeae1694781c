"""Both clouds move: by alternating best responses, or together under the flow of J^Sym."""

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Check, close, sphere
from ctflow.claims.fields import Effective, Tilted, great_circle, potential_at, zonal
from ctflow.clouds import WeightedCloud
from ctflow.energies import symmetric_in_fields
from ctflow.kernels import Exponential
from ctflow.meanfield import DensityFlow, HarmonicGrid

ROUNDS = 60
TIMES = (0.0, 0.05, 0.1, 0.15)


def together(d: int, tau: float) -> tuple[list[Check], list[dict]]:
    """V_{1|2} along the great circle while both clouds move: particles against the equation for densities.

    Both clouds start from one density. They part because U_12 - U_21 is not constant.
    """
    steps, fields = 48, (Tilted(), Tilted(0.5))
    reference = DensityFlow(fields, temperature=tau, d=d, max_degree=32 if d == 2 else 8)
    grid, start = reference.grid, lambda z: 1 + 0.5 * z[:, 0]
    densities = reference.solve((start, start), TIMES)
    nodes = jnp.asarray(grid.nodes)
    cloud = WeightedCloud(nodes, jnp.asarray(grid.weights * start(grid.nodes)))
    flow, energy = ct.flows.GradientFlow(TIMES[-1] / steps), symmetric_in_fields(*fields, temperature=tau)
    state = flow.init(ct.Pair(cloud, cloud))
    angle, line = great_circle(d)
    checks, rows = [], []
    for index, time in enumerate(TIMES):
        if index:
            state = ct.evolve(energy, flow, state, num_steps=steps // (len(TIMES) - 1))
        exact = WeightedCloud(nodes, jnp.asarray(grid.weights * densities[index, 1]))
        predicted, simulated = (
            np.asarray(
                potential_at(Effective(fields[0], second, temperature=tau, kernel=Exponential(tau)), line)
            )
            for second in (exact, state.clouds.y)
        )
        worst = np.argmax(np.abs(simulated - predicted))
        name = f"{sphere(d)}, τ = {tau:g}: V₁₂ at t = {time:g} of a run of both, where furthest off"
        checks.append(close(name, predicted[worst], simulated[worst], absolute=2e-3 / tau))
        rows += [
            {"d": d, "tau": tau, "time": time, "angle": a, "predicted": p, "simulated": s}
            for a, p, s in zip(angle, predicted, simulated, strict=True)
        ]
    return checks, rows


def rounds(d: int, tau: float) -> list[dict]:
    """KL(1‖2) + KL(2‖1) after each round of best responses, for two different densities in one field."""
    grid = HarmonicGrid(d, 4, count=48 if d == 2 else 16)
    nodes, height = jnp.asarray(grid.nodes), grid.nodes[:, 0]
    first, second = (1 + side * 0.9 * height for side in (1, -1))
    rows = []
    for index in range(ROUNDS + 1):
        divergence = grid.weights @ ((first - second) * np.log(first / second))
        rows.append({"d": d, "tau": tau, "round": index, "divergence": divergence})
        first = np.asarray(_answer(nodes, jnp.asarray(grid.weights), jnp.asarray(second), tau))
        second = np.asarray(_answer(nodes, jnp.asarray(grid.weights), jnp.asarray(first), tau))
    return rows


@jax.jit
def _answer(nodes, quadrature, density, tau):
    """Best response e^{-V}/Z at the nodes to another cloud with the given density."""
    kernel = Exponential(tau)
    v = Effective(Tilted(), WeightedCloud(nodes, quadrature * density), temperature=tau, kernel=kernel)
    answer = jnp.exp(-v(nodes))
    return answer / (quadrature @ answer)


def response(d: int, tau: float, degree: int) -> dict:
    """Best response to a uniform cloud with a small zonal mode, without a field: the factor of that mode."""
    grid = HarmonicGrid(d, 4, count=24 if d == 2 else 14)
    mode = zonal(d, degree)[0](grid.nodes[:, -1])
    nodes, size = jnp.asarray(grid.nodes), 1e-4
    cloud = WeightedCloud(nodes, jnp.asarray(grid.weights * (1 + size * mode)))
    v = Effective(ct.potentials.Linear(jnp.zeros(d)), cloud, temperature=tau, kernel=Exponential(tau))
    density = np.exp(-np.asarray(potential_at(v, nodes)))
    density /= grid.weights @ density
    eigenvalue = Exponential(tau).degree_coefficients(d, degree)[degree]
    found = grid.weights @ (density * mode) / size
    return {"d": d, "tau": tau, "degree": degree, "predicted": -eigenvalue, "simulated": found}
