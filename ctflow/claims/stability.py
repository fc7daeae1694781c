"""Overlapping uniform clouds: every mode's rate of growth or decay, and which mode wins.

A uniform cloud (exact quadrature nodes as particles) is displaced along the gradient of one zonal harmonic
and moved by the flow. The exponential rate of its amplitude is compared with the closed form of
`ctflow.meanfield.rates`. Two clouds displaced oppositely part in every mode, at every temperature.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, close, each_close, sphere
from ctflow.claims.fields import symmetric_without_potential, zonal
from ctflow.clouds import Pair, WeightedCloud
from ctflow.energies import SmoothedEntropy
from ctflow.kernels import Exponential
from ctflow.meanfield import HarmonicGrid, rates
from ctflow.running.evolve import evolve
from ctflow.running.sweep import sweep
from ctflow.storage.tables import columns

TITLE = "stability of the overlapping state"
SOURCE = "linearised flow; λ by Funk-Hecke"
TEMPERATURES = (1.0, 0.3, 0.1)
DEGREES = (1, 2, 3)
_SIZE = 1e-4
_PER_STEP = 1e-3
"""Growth of the logarithm of the amplitude per step; half of it is the relative error of an Euler step."""


def displaced(grid: HarmonicGrid, slope: np.ndarray) -> np.ndarray:
    """The nodes moved along slope·∇z, z the height; slope ε·dY/dz gives the density 1 + εeY, e = ℓ(ℓ+d-2)."""
    height = grid.nodes[:, -1:]
    tangent = slope[:, None] * (np.eye(grid.d)[-1] - height * grid.nodes)
    return np.asarray(ct.sphere.exp_map(jnp.asarray(grid.nodes), jnp.asarray(tangent)))


def measure(grid: HarmonicGrid, kind: str, num_steps: int, inputs):
    """Growth rate, 1/time, of a mode's amplitude; `inputs` is one row of the stacks made in `_rows`."""
    temperature, nodes, other, rate, coefficients = inputs
    weights = jnp.asarray(grid.weights)
    x = WeightedCloud(nodes, weights)
    if kind == "unimodal":
        energy, clouds = SmoothedEntropy(Exponential(temperature)), x
    else:
        energy, clouds = symmetric_without_potential(temperature), Pair(x, WeightedCloud(other, weights))
    step_size: Any = _PER_STEP / jnp.abs(rate)
    flow = ct.flows.GradientFlow(step_size)
    end = evolve(energy, flow, flow.init(clouds), num_steps=num_steps).clouds

    def amplitude(cloud):
        return jnp.sum(weights * jnp.polyval(coefficients, cloud.points[:, -1]))

    first, last = amplitude(x), amplitude(end if kind == "unimodal" else end.x)
    return jnp.log(last / first) / (num_steps * flow.step_size)


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check rates of degrees 1 to 3 at three temperatures, for J_τ and J^Sym; then the fastest degree."""
    rows = []
    for d, count in ((2, 24), (3, 12 if quick else 18)):
        grid = HarmonicGrid(d, 4, count=count)
        for kind in rates.Modes._fields:
            rows += _rows(grid, kind, 20 if quick else 100)
    checks = each_close(
        rows,
        lambda r: f"{sphere(r['d'])}, τ = {r['tau']:g}, degree {r['degree']}: {r['kind']} rate",
        relative=0.01,
    )
    winners = [_winner(tau) for tau in ((0.3, 0.05) if quick else (1.0, 0.3, 0.1, 0.05))]
    checks += [
        close(f"S¹, τ = {w['tau']:g}: degree that parts first", w["predicted"], w["simulated"], absolute=0.1)
        for w in winners
    ]
    return Evidence(
        checks, {"rates": columns(rows), "winners": columns(winners)}, "weighted quadrature nodes"
    )


def _rows(grid: HarmonicGrid, kind: str, num_steps: int) -> list[dict]:
    cells = [(tau, degree) for tau in TEMPERATURES for degree in DEGREES]
    predicted = np.array(
        [getattr(rates.growth(Exponential(tau), grid.d, max(DEGREES)), kind)[degree] for tau, degree in cells]
    )
    sign = -1 if kind == "antiphase" else 1
    waves = [zonal(grid.d, degree) for _, degree in cells]
    polynomials = [wave.convert(kind=np.polynomial.Polynomial).coef for wave, _ in waves]
    slopes = [_SIZE * slope(grid.nodes[:, -1]) for _, slope in waves]
    inputs = (
        np.array([tau for tau, _ in cells]),
        np.stack([displaced(grid, slope) for slope in slopes]),
        np.stack([displaced(grid, sign * slope) for slope in slopes]),
        predicted,
        np.stack([np.pad(p, (0, 4 - len(p)))[::-1] for p in polynomials]),
    )
    found = sweep(partial(measure, grid, kind, num_steps), inputs)
    return [
        {"d": grid.d, "kind": kind, "tau": tau, "degree": degree, "predicted": p, "simulated": s}
        for (tau, degree), p, s in zip(cells, predicted, found, strict=True)
    ]


def _winner(tau: float, max_degree: int = 12) -> dict:
    """Largest degree after 12 e-folds, for two clouds on the circle displaced equally in every degree."""
    grid = HarmonicGrid(2, max_degree, count=64)
    growth = rates.growth(Exponential(tau), 2, max_degree).antiphase
    degrees = range(1, max_degree + 1)
    # A displacement by ∇Y/e gives the density the same amplitude in every degree.
    slope = np.sum([zonal(2, m)[1](grid.nodes[:, 1]) / m**2 for m in degrees], axis=0)
    starts = [displaced(grid, sign * 1e-9 * slope) for sign in (1, -1)]
    weights = jnp.asarray(grid.weights)
    flow = ct.flows.GradientFlow(0.02 / growth.max())
    clouds = Pair(*(WeightedCloud(jnp.asarray(start), weights) for start in starts))
    end = evolve(symmetric_without_potential(tau), flow, flow.init(clouds), num_steps=600).clouds
    amplitudes = [
        abs(float(jnp.sum(weights * zonal(2, m)[0](np.asarray(end.x.points)[:, 1])))) for m in degrees
    ]
    return {"tau": tau, "predicted": int(np.argmax(growth)), "simulated": 1 + int(np.argmax(amplitudes))}
