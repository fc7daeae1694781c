"""The least strength of a control that prevents a gap, predicted from one cloud without a gap.

Two clusters of latents, pairs blurred by σ = 0.5, temperature 0.3. A control is added to J^Sym with strength
λ. `ct.stability.least_control` gives the least λ* at which overlap is stable, or says that no strength
suffices. Particles set out from disturbed overlap with strengths around λ*. They part at first, and keep a
gap at the end, only below it. From disturbed overlap: a parted state can persist above λ* for runs that start
in it (`ct.stability.control_price` follows it).

The squared distance of the means cannot close the gap in law at any strength: along displacements that move
no mean it has no curvature.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import ctflow as ct
from ctflow.claims import mixtures
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close, sphere
from ctflow.claims.onset import parting_rate
from ctflow.energies import CentroidGap, Energy, EnergyDistance, MaximumMeanDiscrepancy, SymmetricDivergence
from ctflow.running.sweep import sweep
from ctflow.storage.tables import columns

TITLE = "the least control that prevents a gap"
SOURCE = "zero of the lowest antiphase curvature of J^Sym + λ·control at the best shared cloud (ct.stability)"
TAU, SIGMA = 0.3, 0.5
BELOW, ABOVE = (0.94, 0.97), 1.03
"""Strengths at which rates of parting are measured, as multiples of λ*."""
STRENGTHS = (0.5, 0.8, 0.9, 1.1, 1.2, 1.5)
"""Strengths of the runs to the end, as multiples of λ*."""
STRONG = 100.0
"""Strength of a control that never suffices."""
_N = 24
_STEPS = 8000


def controls(temperature: float = TAU) -> dict[str, Energy]:
    """The controls by name."""
    return {
        "divergence": SymmetricDivergence(ct.kernels.Exponential(temperature)),
        "MMD²": MaximumMeanDiscrepancy(ct.kernels.ChordalGaussian(0.5)),
        "energy distance": EnergyDistance(softening=0.3),
        "means": CentroidGap(),
    }


def loss() -> ct.energies.Symmetric:
    """J^Sym of the pairs in two clusters."""
    pairs = ct.couplings.from_matrix(mixtures.law(_N, SIGMA), dtype=np.float64)
    return ct.energies.symmetric(pairs, temperature=TAU)


def strength_seen(
    energy: Energy, control: Energy, least: Any, step_size: float, rng: np.random.Generator
) -> float:
    """The strength at which clouds beside overlap stop parting, from their rates at two strengths below.

    The lowest curvature has a kink at λ*, where other displacements take over, so the rates are extrapolated
    from below.
    """
    at = [least.value * ratio for ratio in BELOW]
    first, second = (parting_rate(energy + s * control, least.shared, step_size, rng) for s in at)
    return at[1] + (at[1] - at[0]) * second / (first - second)


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check λ* against the strength at which particles stop parting, the gaps at the end, and the price."""
    checks, found, runs, prices = [], [], [], []
    for d in (3,) if quick else (3, 8):
        energy = loss()
        free = ct.stability.lowest_state(energy, d)
        for name, control in controls().items():
            least = ct.stability.least_control(energy, control, d, shared=free.shared)
            row, more = _onset(energy, control, d, least, name, seed)
            found.append(row)
            checks += more
            ends, more = _ends(energy, control, d, least, name, seed)
            runs += ends
            checks += more
        price, more = _price(energy, d, free)
        prices += price
        checks += more
    tables = {"strengths": found, "runs": runs, "price": prices}
    return Evidence(
        checks, {name: columns(rows) for name, rows in tables.items()}, f"{_N} particles a cloud, 1 seed"
    )


def _onset(
    energy: Energy, control: Energy, d: int, least: Any, name: str, seed: int
) -> tuple[dict[str, Any], list[Check]]:
    """λ*, and the strength at which clouds beside overlap stop parting."""
    rng, where = np.random.default_rng([seed, d]), f"{name}, {sphere(d)}"
    if np.isinf(least.value):
        rate = parting_rate(energy + STRONG * control, least.shared, 0.3 * TAU / 40, rng)
        row = {"control": name, "d": d, "predicted": np.inf, "simulated": np.inf}
        return row, [at_least(f"{where}, λ = {STRONG:g}: rate at which clouds part", 0.01, rate)]
    seen = strength_seen(energy, control, least, 0.3 * TAU, rng)
    above = parting_rate(energy + ABOVE * least.value * control, least.shared, 0.3 * TAU, rng)
    row = {"control": name, "d": d, "predicted": least.value, "simulated": seen}
    return row, [
        close(f"{where}: strength at which clouds stop parting", least.value, seen, relative=0.02),
        at_most(f"{where}, {ABOVE:g} λ*: rate at which clouds part", 0.0, above),
    ]


def _ends(
    energy: Energy, control: Energy, d: int, least: Any, name: str, seed: int
) -> tuple[list[dict[str, Any]], list[Check]]:
    """The gap in law after a long run from disturbed overlap, by strength."""
    rng = np.random.default_rng([seed, d, 1])
    z = np.asarray(least.shared.cloud)
    start = ct.Pair(
        *(ct.sphere.normalize(jnp.asarray(z + 0.05 * rng.standard_normal(z.shape))) for _ in "xy")
    )
    suffices = np.isfinite(least.value)
    ratios = np.array(STRENGTHS) if suffices else np.ones(1)
    strengths = ratios * (least.value if suffices else STRONG)
    flow = ct.flows.Descent(optax.adam(optax.cosine_decay_schedule(1e-2, _STEPS)))

    def end(strength: Any) -> Any:
        clouds = ct.evolve(energy + strength * control, flow, flow.init(start), num_steps=_STEPS).clouds
        return (
            ct.diagnostics.energy_distance(*clouds, estimator="v"),
            ct.diagnostics.centroid_gap(*clouds),
        )

    distances, gaps = sweep(end, strengths)
    rows = [
        {"control": name, "d": d, "ratio": r, "strength": s, "energy_distance": e, "centroid_gap": g}
        for r, s, e, g in zip(ratios, strengths, distances, gaps, strict=True)
    ]
    where = f"{name}, {sphere(d)}"
    if not suffices:
        return rows, [
            at_least(f"{where}, λ = {STRONG:g}: energy distance at the end", 1e-3, distances[0]),
            at_most(f"{where}, λ = {STRONG:g}: centroid gap at the end", 1e-2, gaps[0]),
        ]
    at = dict(zip(STRENGTHS, distances, strict=True))
    return rows, [
        at_least(f"{where}, 0.9 λ*: energy distance at the end", 2e-4, at[0.9]),
        at_most(f"{where}, 1.1 λ*: energy distance at the end", 1e-4, at[1.1]),
    ]


def _price(energy: ct.energies.Symmetric, d: int, free: Any) -> tuple[list[dict[str, Any]], list[Check]]:
    """Energy paid for the divergence term: second order for weak ones, the excess of overlap for strong."""
    control = controls()["divergence"]
    weak = ct.stability.control_price(energy, control, free.clouds, [1e-6]).reach
    strengths = [weak * factor for factor in (0.02, 0.1, 0.5, 2.5)]
    strengths += [strength for strength in (0.05, 0.1, 0.3, 1.0, 3.0) if strength > strengths[-1]]
    found = ct.stability.control_price(energy, control, free.clouds, strengths)
    rows = [
        {
            "d": d,
            "strength": strength,
            "predicted": found.predicted[i],
            "simulated": found.value[i],
            "energy_distance": found.distance[i],
            "recall": found.recall[i],
            "overlap": free.value,
            "recall_before": found.before[3],
        }
        for i, strength in enumerate(strengths)
    ]
    name = f"price of the divergence, {sphere(d)}"
    return rows, [
        close(f"{name}: nats at a weak strength", found.predicted[0], found.value[0], relative=0.05),
        close(f"{name}: nats at λ = 3, the excess of overlap", free.value, found.value[-1], relative=0.02),
    ]
