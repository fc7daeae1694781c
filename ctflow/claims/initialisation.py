"""Not an artifact of the start: heterogeneity makes room for a gap, and the start decides how it is used.

Two rings of latents, blurred by σ, start overlapping, on one side of their plane, or apart. With matched
pairs (σ = 0) the critical temperature is 0 (`ctflow.claims.ring`): in d > 2 every start ends without a gap.
With σ = 0.5 and τ < τ* there is room for a gap: on S² mirror images end 2√(1 - τ/τ*) apart, however far apart
they start; rings of equal height keep one centroid. So half of the paper's statement holds: the start alone
makes no gap where heterogeneity makes no room for one. But where there is room, the start decides. On the
circle (d = 2) there is no room, and two arcs stay where they are.

On latents in two clusters (`ctflow.claims.mixtures`) both halves of the statement hold: from overlapping,
random and opposite starts matched pairs end without a gap and blurred pairs with one. The width of that gap
depends on the start.
"""

from typing import Any

import numpy as np

from ctflow.claims import mixtures, pairs, ring
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close, sphere
from ctflow.claims.pairs import Cell
from ctflow.storage.tables import columns

TITLE = "the gap and its initialisation"
SOURCE = "critical temperature of parallel rings: 0 for matched pairs"
STARTS = {"overlap": (0.0, 0.0), "one side": (0.6, 0.6), "apart": (0.3, -0.3), "far apart": (0.95, -0.95)}
"""Heights of the two rings."""
_TAU = 0.1


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check every start with and without heterogeneity, in up to 32 dimensions; two arcs on the circle."""
    n, num_steps, seeds = (48, 2000, 2) if quick else (96, 5000, 5)
    rows = []
    for d in (2, 3, 8) if quick else (2, 3, 8, 32):
        rows += _rows(d, n, num_steps, seeds, seed)
    checks = [
        at_least("all runs: J^Sym + log V + I(π)", -1e-4, min(row["optimality_gap"] for row in rows)),
        *_checks(rows),
    ]
    found, mixed = _on_mixture((3, 8) if quick else (3, 8, 32), n, num_steps, seeds, seed)
    curves = {"runs": columns(rows), "mixture": columns(mixed)}
    return Evidence(checks + found, curves, f"{n} particles a cloud, {seeds} seeds a start")


def _on_mixture(dims: tuple[int, ...], n: int, num_steps: int, seeds: int, seed: int):
    """Latents in two clusters: starts without a gap, at random, and with the widest gap."""
    rows, checks = [], []
    for d in dims:
        cells, labels = [], []
        for sigma in (0.0, 0.5):
            for kind in mixtures.STARTS:
                for repeat in range(seeds):
                    rng = np.random.default_rng([seed, repeat])
                    cells.append(Cell(sigma, _TAU, *mixtures.start(kind, n, d, rng)))
                    labels.append({"d": d, "sigma": sigma, "start": kind, "seed": repeat})
        laws = {sigma: mixtures.law(n, sigma) for sigma in (0.0, 0.5)}
        ends = pairs.descend("symmetric", [laws[cell.sigma] for cell in cells], cells, num_steps=num_steps)
        for index, (label, cell) in enumerate(zip(labels, cells, strict=True)):
            initial = np.linalg.norm(cell.x.mean(axis=0) - cell.y.mean(axis=0))
            ended = pairs.measures(ends, index, laws[cell.sigma])
            rows.append({**label, "initial_gap": initial, **ended})
        for kind in mixtures.STARTS:
            matched, blurred = (
                [r["energy_distance"] for r in rows if (r["d"], r["sigma"], r["start"]) == (d, sigma, kind)]
                for sigma in (0.0, 0.5)
            )
            where = f"{sphere(d)}, mixture latents, start {kind}"
            checks.append(at_most(f"{where}, σ = 0: energy distance", 0.01, max(matched)))
            checks.append(at_least(f"{where}, σ = 0.5: energy distance", 0.02, min(blurred)))
    return checks, rows


def _rows(d: int, n: int, num_steps: int, seeds: int, seed: int) -> list[dict[str, Any]]:
    cells, labels = [], []
    for sigma in (0.0, 0.5):
        for start, heights in STARTS.items():
            if d > 2 or start == "overlap":
                for repeat in range(seeds):
                    rng = np.random.default_rng([seed, repeat])
                    cells.append(Cell(sigma, _TAU, *ring.rings(n, d, heights, rng, 0.01)))
                    labels.append({"d": d, "sigma": sigma, "start": start, "seed": repeat})
        if d == 2:
            for repeat in range(seeds):
                rng = np.random.default_rng([seed, repeat])
                arcs = [np.pi * side + 0.3 * rng.standard_normal(n) for side in (0, 1)]
                cells.append(Cell(sigma, _TAU, *(np.column_stack([np.cos(a), np.sin(a)]) for a in arcs)))
                labels.append({"d": d, "sigma": sigma, "start": "far apart", "seed": repeat})
    laws = {sigma: ring.law(n, sigma) for sigma in (0.0, 0.5)}
    ends = pairs.descend("symmetric", [laws[cell.sigma] for cell in cells], cells, num_steps=num_steps)
    return [
        {
            **label,
            "initial_gap": np.linalg.norm(cell.x.mean(axis=0) - cell.y.mean(axis=0)),
            **pairs.measures(ends, i, laws[cell.sigma]),
        }
        for i, (label, cell) in enumerate(zip(labels, cells, strict=True))
    ]


def _checks(rows: list[dict[str, Any]]) -> list[Check]:
    def of(d, sigma, *starts):
        return [r for r in rows if r["d"] == d and r["sigma"] == sigma and r["start"] in starts]

    checks, room = [], ring.gap(0.5, _TAU)
    for d in sorted({row["d"] for row in rows} - {2}):
        for start in STARTS:
            worst = max(row["centroid_gap"] for row in of(d, 0.0, start))
            checks.append(at_most(f"{sphere(d)}, σ = 0, start {start}: centroid gap", 0.02, worst))
    for start in ("apart", "far apart"):
        for row in of(3, 0.5, start):
            name = f"S², σ = 0.5, start {start}, seed {row['seed']}: centroid gap"
            checks.append(close(name, room, row["centroid_gap"], absolute=0.02))
    together = max(row["centroid_gap"] for row in of(3, 0.5, "one side"))
    checks.append(at_most("S², σ = 0.5, start one side: centroid gap", 0.02, together))
    flat = max(row["energy_distance"] for row in of(2, 0.5, "overlap"))
    checks.append(at_most("S¹, σ = 0.5, start overlap: energy distance", 0.02, flat))
    for sigma in (0.0, 0.5):
        trapped = of(2, sigma, "far apart")
        checks.append(
            at_least(
                f"S¹, σ = {sigma:g}, two arcs: energy above −I(π), trapped there",
                0.05,
                min(row["optimality_gap"] for row in trapped),
            )
        )
    return checks
