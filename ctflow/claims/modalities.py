"""Three and more modalities: when they part, into what, and the least control.

This goes beyond the paper. Every two of K modalities have the loss J^Sym of one coupling (a clique), or each
has it with the first (a star). The best shared cloud is that of two modalities. With A and B the Hessians of
two modalities there in antiphase and in phase, displacements of a clique that add up to 0 have the Hessian
(K·A + (K-2)·B)/(K(K-1)), and a star is stable exactly where two modalities are (`ctflow.energies.several`).
So waves part a clique at lower temperatures the more modalities it has, and a star where they part two.
Levels part both below the same τ*, since for them A and B agree.

On a ring below τ*, each two of a clique need (1-a²)(1-b²) = (τ/τ*)². For three and more, all heights then
agree but for their signs: the ratio that two modalities are free to choose is fixed, and at least two of
three end at the same height. In a star all leaves agree but for their signs, and the ratio of hub to leaves
stays free.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import criterion, pairs, ring, ring_losses
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close
from ctflow.claims.least_control import TAU, controls, loss
from ctflow.energies import Energy, clique, star
from ctflow.running.sweep import sweep
from ctflow.storage.tables import columns

TITLE = "three and more modalities"
SOURCE = "Hessians of cliques and stars from those of two modalities; parallel rings in closed form"
SIGMA = 1.0
HEIGHTS = {
    "all above": (0.5, 0.3, 0.1),
    "one below": (0.4, 0.2, -0.3),
    "mirrored pair": (0.3, -0.3, 0.05),
}
"""Heights of three rings at the start."""
_N = 24
_PER_STEP = 0.3
_STEPS = 4000


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check the onset of parting against K, where three rings end, and least controls."""
    onsets, checks = _onsets((2, 3, 4) if quick else (2, 3, 4, 6), seed)
    ends, more = _ends(seed)
    least, also = _least(quick)
    tables = {"onsets": onsets, "ends": ends, "least": least}
    return Evidence(
        checks + more + also,
        {name: columns(rows) for name, rows in tables.items()},
        f"{_N} particles a cloud, 1 seed",
    )


def _energy(graph: Any, law: Any, tau: Any, modalities: int) -> Energy:
    return graph(pairs.energy_of("symmetric", law, tau), modalities)


def _onsets(counts: tuple[int, ...], seed: int) -> tuple[list[dict[str, Any]], list[Check]]:
    """Temperatures at which waves stop growing at the flat ring, by graph and number of modalities."""
    rows, checks = [], []
    law, star_tau = ring.law(_N, SIGMA), ring.critical_temperature(SIGMA)
    flat = jnp.asarray(ring.rings(_N, 3, (0.0, 0.0), np.random.default_rng(0), noise=0.0)[0])
    for graph, count in [(clique, count) for count in counts] + [(star, 3)]:
        predicted = ring_losses.onset_in_clique(SIGMA, count if graph is clique else 2)
        taus = predicted * np.array([0.985, 1.015])
        noise = np.random.default_rng([seed, count]).standard_normal((count, *flat.shape))

        def rate(tau: Any, graph: Any = graph, count: int = count, noise: Any = noise) -> Any:
            energy, flow = _energy(graph, law, tau, count), ct.flows.GradientFlow(_PER_STEP * tau * count / 2)
            state = flow.init(tuple(ct.sphere.normalize(flat + 1e-9 * part) for part in noise))

            def apart(state: Any) -> Any:
                stack = jnp.stack(state.clouds)
                return jnp.linalg.norm(stack - jnp.mean(stack, axis=0, keepdims=True))

            half = ct.evolve(energy, flow, state, num_steps=1200)
            end = ct.evolve(energy, flow, half, num_steps=600)
            return jnp.log(apart(end) / apart(half)) / (600 * flow.step_size)

        seen = criterion.crossing(taus, -np.asarray(sweep(rate, taus)))
        name = f"{graph.__name__} of {count}, σ = {SIGMA:g}: onset over τ*"
        checks.append(close(name, predicted / star_tau, seen / star_tau, relative=0.005))
        rows.append(
            {
                "graph": graph.__name__,
                "modalities": count,
                "predicted": predicted / star_tau,
                "simulated": seen / star_tau,
            }
        )
    return rows, checks


def _ends(seed: int) -> tuple[list[dict[str, Any]], list[Check]]:
    """Heights at which three parallel rings end at 0.8 τ*, in a clique and in a star."""
    rows, checks = [], []
    tau = 0.8 * ring.critical_temperature(SIGMA)
    law, height = ring.law(_N, SIGMA), ring_losses.height_in_clique(SIGMA, tau)
    starts = np.stack([np.stack([_ring(h) for h in heights]) for heights in HEIGHTS.values()])
    for graph in (clique, star):

        def end(clouds: Any, graph: Any = graph) -> Any:
            flow = ct.flows.GradientFlow(_PER_STEP * tau)
            state = flow.init(tuple(clouds))
            done = ct.evolve(_energy(graph, law, tau, 3), flow, state, num_steps=_STEPS)
            return jnp.stack([z[:, 2].mean() for z in done.clouds])

        for (name, start), found in zip(HEIGHTS.items(), sweep(end, starts), strict=True):
            row = {"graph": graph.__name__, "start": name, "predicted": height}
            row |= {f"start_{i}": h for i, h in enumerate(start)}
            rows.append(row | {f"end_{i}": float(h) for i, h in enumerate(found)})
            where = f"{graph.__name__} of 3, {name}"
            if graph is clique:
                off = float(np.max(np.abs(np.abs(found) - height)))
                checks.append(at_most(f"{where}: distance of the heights from ±{height:.3f}", 2e-3, off))
            else:
                hub, leaves = found[0], found[1:]
                product_ = (1 - hub**2) * (1 - leaves**2) / 0.64
                checks.append(
                    close(
                        f"{where}: (1-a²)(1-b²)/(τ/τ*)², hub and leaves", 1.0, product_.mean(), relative=0.01
                    )
                )
                spread = float(np.ptp(np.abs(leaves)))
                checks.append(at_most(f"{where}: difference of the leaves' |heights|", 5e-3, spread))
    return rows, checks


def _ring(height: float) -> np.ndarray:
    angle = 2 * np.pi * np.arange(_N) / _N
    radius = np.sqrt(1 - height**2)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.full(_N, height)])


def _least(quick: bool) -> tuple[list[dict[str, Any]], list[Check]]:
    """λ* of the divergence for two clusters on S²: a star's is that of two, a clique's is lower."""
    energy, control, found = loss(), controls()["divergence"], []
    shared = ct.stability.shared_equilibrium(energy, 3)
    for graph, count in [(clique, 2), (star, 3), (clique, 3)] + ([] if quick else [(clique, 4)]):
        several = ct.stability.shared_equilibrium(
            graph(energy, count), 3, start=shared.cloud, starts=0, modalities=count
        )
        least = ct.stability.least_control(graph(energy, count), graph(control, count), 3, shared=several)
        found.append({"graph": graph.__name__, "modalities": count, "strength": least.value})
    strengths = [row["strength"] for row in found]
    where = f"two clusters, S², τ = {TAU:g}: λ* of"
    checks = [
        close(f"{where} a star of 3, over that of two", 1.0, strengths[1] / strengths[0], relative=0.005),
        at_most(f"{where} a clique of 3, over that of two", 0.95, strengths[2] / strengths[0]),
        at_least(f"{where} a clique of 3", 0.01, strengths[2]),
    ]
    return found, checks
