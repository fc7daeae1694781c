"""When a gap can open: a continuous transition at a critical temperature that the pairs' blur sets.

This goes beyond the paper. Latents on a ring with pairs blurred by σ have a critical temperature τ*(σ) in
closed form (`ctflow.claims.ring`). Below it two parallel rings can rest at any heights a, b with
(1-a²)(1-b²) = (τ/τ*)², all of one energy. The flow conserves a/b, so the start decides where they end: mirror
images 2√(1 - τ/τ*) apart, equal heights with one centroid, others in between. Two effects explain this.
Effective temperature: the rings always feel the temperature τ*, so that below τ* their energy is the same at
every τ. Neutral level: it costs nothing to move along the family. So heterogeneity makes room for a gap, and
the start decides how it is used. Starts perturbed by 0.01 still end within 0.012 of the predicted gap at
σ = 0.5, 0.8 and 1 (0.6 and 0.8 τ*); at σ = 0.3 and 0.6 τ* waves carry the rings to another ratio. Near τ*
parallel rings on one side are a saddle: a wave separates the two laws, while their centroids stay together.

From overlap, two laws part already above τ* (`ctflow.claims.overlap`). In d = 2 rings cannot leave the plane,
and at σ = 0.5 overlap stays. Pairs in blocks of equal latents make no room for a gap either. Clouds part even
if the temperature is annealed from above τ* to below it. A learned temperature comes to rest below τ*, with a
wave (`ctflow.claims.schedules`).

Latents in two clusters break the symmetry of the ring, and near τ* there is no neutral level. There τ* is the
temperature at which the best single cloud for both modalities turns unstable in antiphase
(`ctflow.claims.mixtures`). Just below it every start (overlapping, random, opposite cones) ends in the same
gap. Further down the energy is nearly flat again, close to -I(π), and the start decides the width; one cloud
for both modalities then has a higher energy (`ctflow.claims.directions`).
"""

from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import mixtures, pairs, ring, schedules
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close, sphere, within
from ctflow.claims.pairs import Cell
from ctflow.running.sweep import sweep
from ctflow.storage.tables import columns

TITLE = "phase diagram of the modality gap"
SOURCE = "stationary parallel rings; curvature of the best single cloud"
SIGMAS = (0.3, 0.5, 1.0)
RATIOS = (0.3, 0.6, 0.8, 0.9, 1.1, 1.5)
"""Temperatures of rings as multiples of τ*."""
MIXTURE_RATIOS = (0.3, 0.5, 0.9, 0.95, 1.05, 1.3)
"""Temperatures of two clusters as multiples of τ*."""
STARTS = {"overlap": (0.0, 0.0), "one side": (0.5, 0.5), "near": (0.3, -0.3), "far": (0.95, -0.95)}
"""Heights of the two rings."""
LATITUDES = ((0.5, -0.1), (0.3, 0.2), (0.7, -0.5), (-0.05, 0.2), (-0.3, -0.6))
"""Latitudes of rings that are no mirror images, in radians: on opposite sides of the plane or on one."""
_N = 48


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check unequal rings, the gap from four starts in d = 3, other dimensions, blocks and clusters."""
    n, num_steps, seeds = (48, 1500, 2) if quick else (96, 4000, 5)
    rows = _diagram(n, num_steps, seeds, seed)
    found, others = _elsewhere(n, num_steps, seed)
    checks = [check for sigma in SIGMAS for check in _law_of_the_gap(sigma, rows)]
    family, ends = _family(quick)
    lowest = min(row["optimality_gap"] for row in rows)
    checks.append(at_least("all runs: J^Sym + log V + I(π)", -1e-4, lowest))
    slow, annealed = schedules.annealed(n, num_steps, seeds, seed)
    free, learned = schedules.learned(n, 2 * num_steps, seed)
    mixed, gaps = [], []
    for d in (3,) if quick else (3, 8):
        more, runs = _mixture(d, n, seeds, seed)
        mixed, gaps = mixed + more, gaps + runs
    more, sizes = _sizes((24, 48) if quick else (24, 48, 80, 96, 160), n, seed)
    mixed += more
    curves = {
        "family": ends,
        "diagram": rows,
        "elsewhere": others,
        "annealed": annealed,
        "learned": learned,
        "mixture": gaps,
        "sizes": sizes,
    }
    return Evidence(
        family + checks + found + slow + free + mixed,
        {name: columns(part) for name, part in curves.items()},
        f"{n} particles a cloud, {seeds} seeds a start",
    )


def _family(quick: bool) -> tuple[list[Check], list[dict[str, Any]]]:
    """Parallel rings at unequal heights: where the flows of particles and of densities take them."""
    duration, steps = 60.0, 8000  # a step is at most a tenth of τ
    sigmas = (0.5, 1.0) if quick else (0.3, 0.5, 0.8, 1.0)
    # At σ = 0.3 and 0.6 τ* rounding errors alone grow into waves, so that cell is left out.
    cells = [
        (sigma, ratio, latitudes)
        for sigma, ratio, latitudes in product(sigmas, (0.6, 0.8), LATITUDES)
        if (sigma, ratio) != (0.3, 0.6)
    ]
    taus = [ratio * ring.critical_temperature(sigma) for sigma, ratio, _ in cells]
    starts = [
        ring.rings(_N, 3, tuple(np.sin(pair)), np.random.default_rng(0), noise=0.0) for *_, pair in cells
    ]

    def ended(inputs):
        law, tau, x, y = inputs
        energy, flow = pairs.energy_of("symmetric", law, tau), ct.flows.GradientFlow(duration / steps)
        clouds = ct.evolve(energy, flow, flow.init(ct.Pair(x, y)), num_steps=steps).clouds
        distance = ct.diagnostics.energy_distance(*clouds, estimator="v")
        value = pairs.level("symmetric", law, jnp.log(tau), clouds)
        return jnp.mean(clouds.x[:, -1]), jnp.mean(clouds.y[:, -1]), distance, value

    laws = np.stack([ring.law(_N, sigma) for sigma, *_ in cells])
    found = sweep(ended, (laws, np.array(taus), *map(np.stack, zip(*starts, strict=True))))
    checks, rows = [], []
    for (sigma, ratio, latitudes), tau, a, b, distance, value in zip(cells, taus, *found, strict=True):
        start = np.sin(latitudes)
        (high, low), dense = (
            ring.ends(sigma, tau, start),
            ring.latitudes(sigma, tau, start, np.array([duration])),
        )
        name = f"S², σ = {sigma:g}, τ = {ratio:g} τ*, from latitudes {latitudes[0]:g}, {latitudes[1]:g}"
        checks += [
            close(f"{name}: centroid gap", abs(high - low), abs(a - b), absolute=1e-3),
            close(f"{name}: a/b, conserved", start[0] / start[1], a / b, relative=1e-3),
            close(f"{name}: a, by the equation for densities", dense[0][-1], a, absolute=1e-3),
            close(f"{name}: J + log V", ring.energy(sigma, tau), value, absolute=1e-4),
        ]
        rows.append(
            {
                **{"sigma": sigma, "ratio": ratio, "a_start": start[0], "b_start": start[1], "a": a, "b": b},
                **{"a_predicted": high, "b_predicted": low, "energy_distance": distance, "energy": value},
            }
        )
    return checks, rows


def _mixture(d: int, n: int, seeds: int, seed: int):
    """Latents in two clusters: runs from every start above and below the critical temperature."""
    stars = mixtures.critical_temperatures(n, d, seed)
    cells, labels = [], []
    for sigma, ratio, kind, repeat in product(stars, MIXTURE_RATIOS, mixtures.STARTS, range(seeds)):
        clouds = mixtures.start(kind, n, d, np.random.default_rng([seed, repeat]))
        cells.append(Cell(sigma, ratio * stars[sigma], *clouds))
        labels.append({"d": d, "sigma": sigma, "ratio": ratio, "start": kind, "seed": repeat})
    laws = {sigma: mixtures.law(n, sigma) for sigma in stars}
    # Near τ* the clouds part slowly, so the quick round takes as many steps.
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


def _sizes(sizes: tuple[int, ...], n: int, seed: int) -> tuple[list[Check], list[dict[str, Any]]]:
    """Critical temperatures of two clusters for several numbers of latents, and for infinitely many."""
    stars = {size: mixtures.critical_temperatures(size, 3, seed) for size in sizes}
    limits = mixtures.critical_temperatures(n, 3, seed, population=True)
    checks = [
        close(
            f"S², mixture latents, σ = {sigma:g}: τ* of {n} latents over that of infinitely many",
            1,
            stars[n][sigma] / limit,
            absolute=0.05,
        )
        for sigma, limit in limits.items()
    ]
    rows = [
        {"sigma": sigma, "n": size, "star": of[sigma], "limit": limit}
        for sigma, limit in limits.items()
        for size, of in stars.items()
    ]
    return checks, rows


def _of(rows: list[dict[str, Any]], sigma: float) -> list[dict[str, Any]]:
    return [row for row in rows if row["sigma"] == sigma]


def _opens(where: str, star: float, rows: list[dict[str, Any]]) -> list[Check]:
    """Checks: no gap above the predicted τ*, and the same gap from every start just below it."""

    def distances(ratio):
        return np.array([row["energy_distance"] for row in rows if row["ratio"] == ratio])

    # Just below τ* the energy distance, like the squared gap, is proportional to τ* - τ.
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
    """Runs for every σ, temperature, start and seed, as table rows."""
    cells, labels = [], []
    for sigma in SIGMAS:
        for ratio in RATIOS:
            tau = ratio * ring.critical_temperature(sigma)
            for start, heights in STARTS.items():
                for repeat in range(seeds):
                    rng = np.random.default_rng([seed, repeat])
                    cells.append(Cell(sigma, tau, *ring.rings(n, 3, heights, rng, 0.01)))
                    labels.append({"sigma": sigma, "ratio": ratio, "seed": repeat, "start": start})
    laws = {sigma: ring.law(n, sigma) for sigma in SIGMAS}
    ends = pairs.descend("symmetric", [laws[c.sigma] for c in cells], cells, num_steps=num_steps)
    return [
        {
            **label,
            "tau": cell.tau,
            "predicted": ring.gap(cell.sigma, cell.tau),
            **pairs.measures(ends, i, laws[cell.sigma]),
            "energy": ends.energy[i],
            "slope": ends.slope[i],
        }
        for i, (label, cell) in enumerate(zip(labels, cells, strict=True))
    ]


def _law_of_the_gap(sigma: float, rows: list[dict[str, Any]]) -> list[Check]:
    mine = _of(rows, sigma)
    apart = [row for row in mine if row["start"] in ("near", "far")]
    star, fitted = ring.critical_temperature(sigma), []
    for repeat in sorted({row["seed"] for row in mine}):
        below = [row for row in apart if row["seed"] == repeat and row["ratio"] < 1]
        # Invert 1 - gap²/4 = τ/τ*.
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
                f"{name}: centroid gap from mirror images, worst",
                worst["predicted"],
                worst["centroid_gap"],
                absolute=0.02,
            ),
            at_most(f"{name}: centroid gap from equal heights, widest", 0.02, closed),
        ]
        if ratio < 1:
            energy, slope = (np.mean([row[key] for row in at]) for key in ("energy", "slope"))
            neutral = np.mean([row["energy"] for row in together])
            checks += [
                close(f"{name}: J + log V", ring.energy(sigma, star), energy, absolute=2e-3),
                at_most(f"{name}: how much higher from equal heights", 2e-3, neutral - energy),
                close(f"{name}: dJ/d log τ, what learns τ", 0.0, slope, absolute=5e-3),
            ]
    hot = [row["energy_distance"] for row in mine if row["ratio"] == 1.5]
    checks.append(at_most(f"{where}, τ = 1.5 τ*: largest energy distance", 1e-3, max(hot)))
    if sigma >= 0.5:
        cold = [r["energy_distance"] for r in mine if r["ratio"] == 0.8 and r["start"] == "overlap"]
        checks.append(at_least(f"{where}, τ = 0.8 τ*: energy distance from overlap", 0.02, min(cold)))
    if sigma == 1:
        near = [row["energy_distance"] for row in mine if row["ratio"] == 0.9 and row["start"] == "one side"]
        name = f"{where}, τ = 0.9 τ*: energy distance from equal heights, a wave"
        checks.append(at_least(name, 0.02, min(near)))
    return checks


def _elsewhere(n: int, num_steps: int, seed: int):
    """Rings in other dimensions, and pairs in blocks."""
    sigma, checks, rows = 0.5, [], []
    tau = 0.6 * ring.critical_temperature(sigma)
    law, widest = ring.law(n, sigma), ring.gap(sigma, tau)
    for d in (2, 4, 8):
        starts = [STARTS["overlap"]] if d == 2 else [STARTS["near"], STARTS["far"]]
        cells = [Cell(sigma, tau, *ring.rings(n, d, h, np.random.default_rng(seed))) for h in starts]
        ends = pairs.descend("symmetric", [law] * len(cells), cells, num_steps=num_steps)
        for gap, energy in zip(ends.centroid_gap, ends.energy, strict=True):
            name = f"d = {d}, τ = 0.6 τ*"
            checks.append(at_most(f"{name}: centroid gap", 0.02 if d == 2 else widest + 0.02, gap))
            if d > 2:
                bound = ring.energy(sigma, tau) + 2e-3
                checks.append(at_most(f"{name}: J + log V", bound, energy))
            rows.append({"data": "ring", "d": d, "widest": widest, "gap": gap})
    block = np.kron(np.eye(n // 8), np.full((8, 8), 1 / 8))
    shares = (0.5, 1.0)
    mixed = [((1 - share) * np.eye(n) + share * block) / n for share in shares]
    clouds = ring.rings(n, 3, STARTS["overlap"], np.random.default_rng(seed))
    ends = pairs.descend("symmetric", mixed, [Cell(s, 0.07, *clouds) for s in shares], num_steps=num_steps)
    for share, distance, gap in zip(shares, ends.energy_distance, ends.centroid_gap, strict=True):
        name = f"S², blocks of 8, share {share:g}, τ = 0.07: energy distance from overlap"
        checks.append(at_most(name, 0.01, distance))
        rows.append({"data": f"blocks {share:g}", "d": 3, "widest": 0.0, "gap": gap})
    return checks, rows
