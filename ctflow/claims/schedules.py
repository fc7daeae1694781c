"""Temperatures that change during a run, on pairs on a ring: annealed, and learned with the clouds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import pairs, ring
from ctflow.claims.evidence import Check, at_least, close
from ctflow.sweeps import sweep

SIGMA = 0.5


def annealed(n: int, num_steps: int, seeds: int, seed: int) -> tuple[list[Check], list[dict[str, Any]]]:
    """From overlap at a falling temperature, and at the last one throughout: neither ends overlapping."""
    stages = 8
    star, law = ring.critical_temperature(SIGMA), ring.law(n, SIGMA)
    schedules = {"annealed": np.geomspace(2, 0.3, stages), "fixed": np.full(stages, 0.3)}

    def run(inputs):
        law, temperatures, x, y = inputs

        def stage(clouds, tau):
            energy = pairs.energy_of("symmetric", law, tau)
            return ct.evolve(
                energy, pairs.FLOW, pairs.FLOW.init(clouds), num_steps=num_steps // 4
            ).clouds, None

        clouds, _ = jax.lax.scan(stage, ct.Pair(x, y), temperatures)
        return ct.diagnostics.energy_distance(*clouds, estimator="v")

    labels = [(name, repeat) for name in schedules for repeat in range(seeds)]
    starts = [ring.rings(n, 3, (0.0, 0.0), np.random.default_rng([seed, r]), 0.01) for _, r in labels]
    x, y = (np.stack(clouds) for clouds in zip(*starts, strict=True))
    temperatures = np.stack([schedules[name] * star for name, _ in labels])
    inputs = np.broadcast_to(law, (len(labels), n, n)), temperatures, x, y
    found = sweep(run, tuple(np.asarray(part, np.float32) for part in inputs))
    rows = [
        {"schedule": name, "seed": repeat, "energy_distance": distance}
        for (name, repeat), distance in zip(labels, found, strict=True)
    ]
    smallest = min(row["energy_distance"] for row in rows if row["schedule"] == "annealed")
    name = f"S², σ = {SIGMA:g}, annealed from 2 τ* to 0.3 τ*: energy distance from overlap"
    return [at_least(name, 0.02, smallest)], rows


def learned(n: int, num_steps: int, seed: int) -> tuple[list[Check], list[dict[str, Any]]]:
    """The temperature descends with the clouds, by gradient steps in log τ on J^Sym + log V.

    From above it falls to τ* and stops: the energy is flat below. Set out below, with rings at rest there,
    it stays where it is, and so does the gap.
    """
    star, law, saves = ring.critical_temperature(SIGMA), ring.law(n, SIGMA), 25

    def run(inputs):
        law, tau, x, y = inputs

        def step(carry, _):
            state, log_tau = carry
            energy = pairs.energy_of("symmetric", law, jnp.exp(log_tau))
            state = ct.evolve(energy, pairs.FLOW, state, num_steps=1)
            slope = jax.grad(lambda value: pairs.level("symmetric", law, value, state.clouds))(log_tau)
            return (state, log_tau - 0.03 * slope), None

        def stage(carry, _):
            carry, _ = jax.lax.scan(step, carry, length=num_steps // saves)
            state, log_tau = carry
            return carry, (jnp.exp(log_tau), ct.diagnostics.centroid_gap(*state.clouds))

        return jax.lax.scan(stage, (pairs.FLOW.init(ct.Pair(x, y)), jnp.log(tau)), length=saves)[1]

    ratios = np.array([2.0, 1.4, 0.7, 0.4])
    heights = [np.sqrt(max(0.0, 1 - ratio)) for ratio in ratios]
    rng = np.random.default_rng(seed)
    starts = [ring.rings(n, 3, (height, -height), rng) for height in heights]
    x, y = (np.stack(clouds) for clouds in zip(*starts, strict=True))
    inputs = np.broadcast_to(law, (len(ratios), n, n)), ratios * star, x, y
    taus, gaps = sweep(run, tuple(np.asarray(part, np.float32) for part in inputs))
    checks, rows = [], []
    for ratio, tau, gap in zip(ratios, taus / star, gaps, strict=True):
        name = f"S², σ = {SIGMA:g}, τ learned from {ratio:g} τ*"
        checks.append(close(f"{name}: last τ over τ*", min(1.0, ratio), tau[-1], absolute=0.03))
        if ratio < 1:
            checks.append(close(f"{name}: centroid gap", 2 * np.sqrt(1 - ratio), gap[-1], absolute=0.03))
        steps = num_steps // saves * np.arange(1, saves + 1)
        rows += [
            {"start": ratio, "step": a, "ratio": b, "gap": c} for a, b, c in zip(steps, tau, gap, strict=True)
        ]
    return checks, rows
