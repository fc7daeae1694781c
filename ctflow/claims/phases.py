"""When a gap can open: a continuous transition at a critical temperature that the pairs' blur sets.

Beyond the paper. On latents on a ring, blurred by σ, J^Sym takes parallel rings to a radius r with
r² = τ/τ*(σ) below a critical temperature in closed form (`ctflow.claims.pairs`), and to r = 1 above. Started
on opposite sides they end 2√(1 - τ/τ*) apart. Both candidate mechanisms are in it. Effective temperature:
the temperature the rings feel stays at τ*, so that the energy below τ* is the same at every τ, and a
learned temperature falls to τ* and has no reason to go on. Neutral level: started on one side, the rings
end there with no gap, at the same energy (or a little less, where a wave forms). So heterogeneity makes
the room for a gap; whether it is used is neutral, and left to the start.

From overlap the state to leave is the ring itself. Its second variation out of plane, for heights ±εu of
mode m, is (ε²/τ)·½·(-g_1 - g_m) (m >= 1) or (ε²/τ)(-g_1) (m = 0), with g_m = I_m(1/τ)/I_0(1/τ) - e^{-m²σ²/2}:
at large σ a mode m >= 2 parts the clouds a little above τ* already, along a wave, with no centroid gap.
Without a spare dimension (d = 2), or with pairs in blocks of equals, overlap stays. Annealing the temperature
from above τ* to below it does not keep the clouds together (`ctflow.claims.schedules`).

On latents in two clusters the ring's symmetry is gone, and with it the neutral level near τ*. There τ* is
the temperature at which the best single cloud for both modalities turns unstable in antiphase
(`ctflow.claims.mixtures`); just below it every start, one without a gap, a random one or two opposite cones,
ends in the same gap. Further down the energy flattens again, close to -I(π), and the start decides on the
width; one cloud for both modalities then costs energy (`ctflow.claims.directions`).
"""

from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import special

import ctflow as ct
from ctflow.claims import mixtures, pairs, schedules
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close, sphere, table, within
from ctflow.claims.pairs import Cell

TITLE = "phase diagram of the modality gap"
SOURCE = "stationary parallel rings; second variation out of plane"
SIGMAS = (0.3, 0.5, 1.0)
RATIOS = (0.3, 0.6, 0.8, 0.9, 1.1, 1.5)
"""Temperatures, over τ*."""
MIXTURE_RATIOS = (0.3, 0.5, 0.9, 0.95, 1.05, 1.3)
"""The same for two clusters."""
STARTS = {"overlap": (0.0, 0.0), "one side": (0.5, 0.5), "near": (0.3, -0.3), "far": (0.95, -0.95)}
"""Heights of the two rings."""


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """The law of the gap from four starts in d = 3; other dimensions; blocks; the second variation."""
    n, num_steps, seeds = (48, 1500, 2) if quick else (96, 4000, 5)
    rows = _diagram(n, num_steps, seeds, seed)
    found, others = _elsewhere(n, num_steps, seed)
    checks = [check for sigma in SIGMAS for check in _law_of_the_gap(sigma, rows)]
    lowest = min(row["optimality_gap"] for row in rows)
    checks.append(at_least("all runs: J^Sym + log V + I(π)", -1e-4, lowest))
    slow, annealed = schedules.annealed(n, num_steps, seeds, seed)
    free, learned = schedules.learned(n, 2 * num_steps, seed)
    mixed, gaps = [], []
    for d in (3,) if quick else (3, 8):
        more, runs = _mixture(d, n, seeds, seed)
        mixed, gaps = mixed + more, gaps + runs
    curves = {"diagram": rows, "elsewhere": others, "annealed": annealed, "learned": learned, "mixture": gaps}
    return Evidence(
        checks + _curvatures() + found + slow + free + mixed,
        {name: table(part) for name, part in curves.items()},
    )


def _mixture(d: int, n: int, seeds: int, seed: int):
    """Latents in two clusters: every start on both sides of the critical temperature."""
    stars = mixtures.critical_temperatures(n, d, seed)
    cells, labels = [], []
    for sigma, ratio, kind, repeat in product(stars, MIXTURE_RATIOS, mixtures.STARTS, range(seeds)):
        clouds = mixtures.start(kind, n, d, np.random.default_rng([seed, repeat]))
        cells.append(Cell(sigma, ratio * stars[sigma], *clouds))
        labels.append({"d": d, "sigma": sigma, "ratio": ratio, "start": kind, "seed": repeat})
    laws = {sigma: mixtures.law(n, sigma) for sigma in stars}
    # Near τ* the clouds part slowly, in a quick round too.
    ends = pairs.descend("symmetric", [laws[cell.sigma] for cell in cells], cells, num_steps=4000)
    rows = [
        {
            **label,
            "tau": cell.tau,
            "star": stars[cell.sigma],
            **pairs.measures(ends, i, laws[cell.sigma]),
        }
        for i, (label, cell) in enumerate(zip(labels, cells, strict=True))
    ]
    checks = []
    for sigma, star in stars.items():
        checks += _opens(f"{sphere(d)}, mixture latents, σ = {sigma:g}", star, _of(rows, sigma))
    return checks, rows


def _of(rows: list[dict[str, Any]], sigma: float) -> list[dict[str, Any]]:
    return [row for row in rows if row["sigma"] == sigma]


def _opens(where: str, star: float, rows: list[dict[str, Any]]) -> list[Check]:
    """From no gap above the predicted τ* to one gap, whatever the start, just below it."""

    def distances(ratio):
        return np.array([row["energy_distance"] for row in rows if row["ratio"] == ratio])

    # Just below τ* the squared gap, and so the energy distance, is linear in τ* - τ.
    near, nearer = (distances(ratio) for ratio in (0.9, 0.95))
    opened = star * (0.95 + 0.05 * nearer / (near - nearer))
    error = opened.std(ddof=1) / np.sqrt(len(opened))
    return [
        within(f"{where}: τ where the gap opens", star, opened.mean(), error, slack=0.02 * star),
        at_most(f"{where}, τ = 1.05 τ*: largest energy distance", 1e-3, distances(1.05).max()),
        at_least(f"{where}, τ = 0.95 τ*: least energy distance", 5e-3, nearer.min()),
        close(
            f"{where}, τ = 0.95 τ*: its least over its largest, all starts",
            1,
            nearer.min() / nearer.max(),
            absolute=0.05,
        ),
        at_least(f"{where}, τ = 0.5 τ*: least energy distance", 0.02, distances(0.5).min()),
        at_least(f"{where}: lowest J^Sym + log V + I(π)", -1e-4, min(row["optimality_gap"] for row in rows)),
    ]


def _diagram(n: int, num_steps: int, seeds: int, seed: int) -> list[dict[str, Any]]:
    """Every σ, temperature, start and seed."""
    cells, labels = [], []
    for sigma in SIGMAS:
        for ratio in RATIOS:
            tau = ratio * pairs.critical_temperature(sigma)
            for start, heights in STARTS.items():
                for repeat in range(seeds):
                    rng = np.random.default_rng([seed, repeat])
                    cells.append(Cell(sigma, tau, *pairs.rings(n, 3, heights, rng, 0.01)))
                    labels.append({"sigma": sigma, "ratio": ratio, "seed": repeat, "start": start})
    laws = {sigma: pairs.ring_law(n, sigma) for sigma in SIGMAS}
    ends = pairs.descend("symmetric", [laws[c.sigma] for c in cells], cells, num_steps=num_steps)
    return [
        {
            **label,
            "tau": cell.tau,
            "predicted": pairs.ring_gap(cell.sigma, cell.tau),
            **pairs.measures(ends, i, laws[cell.sigma]),
            "energy": ends.energy[i],
            "slope": ends.slope[i],
        }
        for i, (label, cell) in enumerate(zip(labels, cells, strict=True))
    ]


def _law_of_the_gap(sigma: float, rows: list[dict[str, Any]]) -> list[Check]:
    mine = _of(rows, sigma)
    apart = [row for row in mine if row["start"] in ("near", "far")]
    star, fitted = pairs.critical_temperature(sigma), []
    for repeat in sorted({row["seed"] for row in mine}):
        below = [row for row in apart if row["seed"] == repeat and row["ratio"] < 1]
        # 1 - gap²/4 = τ/τ*
        fitted.append(1 / np.mean([(1 - row["centroid_gap"] ** 2 / 4) / row["tau"] for row in below]))
    error = np.std(fitted, ddof=1) / np.sqrt(len(fitted))
    where = f"S², σ = {sigma:g}"
    checks = [within(f"{where}: τ*", star, np.mean(fitted), error, slack=0.005 * star)]
    for ratio in RATIOS:
        at = [row for row in apart if row["ratio"] == ratio]
        together = [row for row in mine if row["ratio"] == ratio and row["start"] == "one side"]
        worst = max(at, key=lambda row: abs(row["centroid_gap"] - row["predicted"]))
        closed = max(row["centroid_gap"] for row in together)
        name = f"{where}, τ = {ratio:g} τ*"
        checks += [
            close(
                f"{name}: gap from both sides, worst",
                worst["predicted"],
                worst["centroid_gap"],
                absolute=0.02,
            ),
            at_most(f"{name}: gap from one side, widest", 0.02, closed),
        ]
        if ratio < 1:
            energy, slope = (np.mean([row[key] for row in at]) for key in ("energy", "slope"))
            neutral = np.mean([row["energy"] for row in together])
            checks += [
                close(f"{name}: J + log V", pairs.ring_energy(sigma, star), energy, absolute=2e-3),
                at_most(f"{name}: how much higher from one side", 2e-3, neutral - energy),
                close(f"{name}: dJ/d log τ, what learns τ", 0.0, slope, absolute=5e-3),
            ]
    hot = [row["energy_distance"] for row in mine if row["ratio"] == 1.5]
    checks.append(at_most(f"{where}, τ = 1.5 τ*: largest energy distance", 1e-3, max(hot)))
    if sigma >= 0.5:
        cold = [r["energy_distance"] for r in mine if r["ratio"] == 0.8 and r["start"] == "overlap"]
        checks.append(at_least(f"{where}, τ = 0.8 τ*: energy distance from overlap", 0.02, min(cold)))
    return checks


def _curvatures() -> list[Check]:
    """J^Sym of rings on one side and on both; its second variation at the overlapping ring, antiphase."""
    n, size, checks = 64, 1e-3, []
    angle = 2 * np.pi * np.arange(n) / n

    def rings_at(height: np.ndarray, sign: int = -1) -> ct.Pair:
        flat = np.sqrt(1 - height**2)
        up, down = (
            np.column_stack([flat * np.cos(angle), flat * np.sin(angle), s * height]) for s in (1, -1)
        )
        return ct.Pair(jnp.asarray(up), jnp.asarray(down))

    for sigma in (0.5, 1.0):
        law = jnp.asarray(pairs.ring_law(n, sigma))
        for ratio in (0.8, 1.1, 1.5):
            tau = ratio * pairs.critical_temperature(sigma)
            energy, modes = pairs.energy_of("symmetric", law, tau), np.arange(3)
            excess = special.ive(modes, 1 / tau) / special.ive(0, 1 / tau) - np.exp(
                -((modes * sigma) ** 2) / 2
            )
            sides = [float(energy(rings_at(np.full(n, 0.4), sign))) for sign in (1, -1)]
            name = f"S², σ = {sigma:g}, τ = {ratio:g} τ*: rings on one side against both"
            checks.append(close(name, *sides, absolute=1e-12))
            for mode in (0, 2):
                wave = np.cos(mode * angle)
                rise = energy(rings_at(size * wave)) - energy(rings_at(0 * wave))
                exact = -(excess[1] + excess[mode]) / tau * (1 if mode == 0 else 0.5)
                name = f"S², σ = {sigma:g}, τ = {ratio:g} τ*: curvature out of plane, mode {mode}"
                checks.append(close(name, exact, float(rise) / size**2, relative=1e-3, absolute=1e-4))
    return checks


def _elsewhere(n: int, num_steps: int, seed: int):
    """More dimensions to spare, or none; pairs in blocks."""
    sigma, checks, rows = 0.5, [], []
    tau = 0.6 * pairs.critical_temperature(sigma)
    law, widest = pairs.ring_law(n, sigma), pairs.ring_gap(sigma, tau)
    for d in (2, 4, 8):
        starts = [STARTS["overlap"]] if d == 2 else [STARTS["near"], STARTS["far"]]
        cells = [Cell(sigma, tau, *pairs.rings(n, d, h, np.random.default_rng(seed))) for h in starts]
        ends = pairs.descend("symmetric", [law] * len(cells), cells, num_steps=num_steps)
        for gap, energy in zip(ends.centroid_gap, ends.energy, strict=True):
            name = f"d = {d}, τ = 0.6 τ*"
            checks.append(at_most(f"{name}: centroid gap", 0.02 if d == 2 else widest + 0.02, gap))
            if d > 2:
                bound = pairs.ring_energy(sigma, tau) + 2e-3
                checks.append(at_most(f"{name}: J + log V", bound, energy))
            rows.append({"data": "ring", "d": d, "widest": widest, "gap": gap})
    block = np.kron(np.eye(n // 8), np.full((8, 8), 1 / 8))
    shares = (0.5, 1.0)
    mixed = [((1 - share) * np.eye(n) + share * block) / n for share in shares]
    clouds = pairs.rings(n, 3, STARTS["overlap"], np.random.default_rng(seed))
    ends = pairs.descend("symmetric", mixed, [Cell(s, 0.07, *clouds) for s in shares], num_steps=num_steps)
    for share, distance, gap in zip(shares, ends.energy_distance, ends.centroid_gap, strict=True):
        name = f"S², blocks of 8, share {share:g}, τ = 0.07: energy distance from overlap"
        checks.append(at_most(name, 0.01, distance))
        rows.append({"data": f"blocks {share:g}", "d": 3, "widest": 0.0, "gap": gap})
    return checks, rows
