"""Temperatures that change during a run, for latents on a ring: annealed, or learned with the clouds."""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import pairs, ring
from ctflow.claims.evidence import Check, at_least, at_most, close
from ctflow.running.sweep import sweep

SIGMA = 0.5


def annealed(n: int, num_steps: int, seeds: int, seed: int) -> tuple[list[Check], list[dict[str, Any]]]:
    """Runs from overlap at a falling temperature or at the last one throughout; neither ends in overlap."""
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
    """The temperature is learned with the clouds, by gradient steps in log τ on the loss J^Sym + log V.

    From above τ* it falls until this slope is zero. On the way, just above τ*, overlapping clouds part along
    a wave (`ctflow.claims.overlap`). The wave has slightly less energy than the rings. It comes to rest at a
    temperature below τ* (0.979 τ* at σ = 0.5; about 0.7 τ* at σ = 1, approached slowly), with the two laws
    apart and the centroids together. If the temperature starts below τ*, with rings at rest, temperature
    and gap stay unchanged.
    """
    ratios, saves = (2.0, 1.4, 0.7, 0.4), 25

    def run(inputs):
        law, tau, x, y = inputs

        def slope_at(log_tau, clouds):
            return jax.grad(lambda value: pairs.level("symmetric", law, value, clouds))(log_tau)

        def step(carry, _):
            state, log_tau = carry
            energy = pairs.energy_of("symmetric", law, jnp.exp(log_tau))
            state = ct.evolve(energy, pairs.FLOW, state, num_steps=1)
            return (state, log_tau - 0.03 * slope_at(log_tau, state.clouds)), None

        def stage(carry, _):
            carry, _ = jax.lax.scan(step, carry, length=num_steps // saves)
            state, log_tau = carry
            clouds = state.clouds
            return carry, {
                "tau": jnp.exp(log_tau),
                "slope": slope_at(log_tau, clouds),
                "energy": pairs.level("symmetric", law, log_tau, clouds),
                "gap": ct.diagnostics.centroid_gap(*clouds),
                "energy_distance": ct.diagnostics.energy_distance(*clouds, estimator="v"),
            }

        return jax.lax.scan(stage, (pairs.FLOW.init(ct.Pair(x, y)), jnp.log(tau)), length=saves)[1]

    rng, cells = np.random.default_rng(seed), list(product((SIGMA, 1.0), ratios))
    stars = np.array([ring.critical_temperature(sigma) for sigma, _ in cells])
    heights = [np.sqrt(max(0.0, 1 - ratio)) for _, ratio in cells]
    starts = [ring.rings(n, 3, (height, -height), rng) for height in heights]
    x, y = (np.stack(clouds) for clouds in zip(*starts, strict=True))
    inputs = np.stack([ring.law(n, sigma) for sigma, _ in cells]), stars * [r for _, r in cells], x, y
    found = sweep(run, tuple(np.asarray(part, np.float32) for part in inputs))
    checks, rows = [], []
    for i, ((sigma, ratio), star) in enumerate(zip(cells, stars, strict=True)):
        course = {name: values[i] for name, values in found.items()}
        name = f"S², σ = {sigma:g}, τ learned from {ratio:g} τ*"
        checks.append(
            close(f"{name}: last slope of J + log V in log τ", 0.0, course["slope"][-1], absolute=2e-3)
        )
        if ratio < 1:
            checks += [
                close(f"{name}: last τ over τ*", ratio, course["tau"][-1] / star, absolute=0.03),
                close(f"{name}: centroid gap", 2 * np.sqrt(1 - ratio), course["gap"][-1], absolute=0.03),
            ]
        else:
            rings = ring.energy(sigma, star)
            checks += [
                at_most(f"{name}: last τ over τ*", 1.0, course["tau"][-1] / star),
                at_most(f"{name}: last J + log V, the rings' or lower", rings + 1e-4, course["energy"][-1]),
                at_least(f"{name}: last energy distance, a wave", 5e-3, course["energy_distance"][-1]),
                at_most(f"{name}: last centroid gap", 0.02, course["gap"][-1]),
            ]
        course["ratio"] = course.pop("tau") / star
        for k in range(saves):
            named = {key: values[k] for key, values in course.items()}
            rows.append({"sigma": sigma, "start": ratio, "step": num_steps // saves * (k + 1)} | named)
    return checks, rows
