"""Where overlap is lost: every mode of the flat ring, and the onset from the best single cloud.

This goes beyond the paper. Latents lie on a ring and pairs are blurred by σ. Two overlapping clouds part as
soon as some antiphase displacement grows. At the flat ring the rate of every mode is known (`ring.growth`):
out of plane and along the ring, in antiphase and in phase. At τ*, below which parallel rings can leave the
plane, a wave with m >= 2 grows already. So two laws part above τ*, but their centroids do not: only the
energy distance shows it. For σ above 0.57 the flat ring is the overlapping state at the onset (though up to
0.68 it buckles at higher temperatures), and the onset has a closed form. For smaller σ the ring has buckled
in phase into a curve of lower energy, a seam, and the onset is where the seam's lowest antiphase curvature is
zero (`ctflow.claims.criterion`). On the circle itself (d = 2) waves along the ring part the clouds if σ
exceeds 0.50 and τ is low enough (run at σ = 0.8 and 1).
"""

from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import criterion, pairs, ring
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close, each_close
from ctflow.claims.pairs import Cell
from ctflow.running.sweep import sweep
from ctflow.storage.tables import columns

TITLE = "where overlap is lost"
SOURCE = "second variation of J^Sym at the flat ring in closed form; at the best single cloud by its Hessian"
SIGMAS = (0.3, 0.5, 0.8, 1.0)
"""σ of the onsets; at 0.3 and 0.5 the overlapping state is a seam, at 0.8 and 1 the flat ring."""
_N = 48
_SIZE = 1e-5
_PER_RUN, _STEPS = 0.02, 20
"""Largest growth of the logarithm of a mode's amplitude in a run, and the number of steps of a run."""
_AROUND = np.array([0.96, 0.985, 1.015, 1.04])
"""Temperatures at which runs look for parting clouds, as multiples of the predicted onset."""
_STEPS_TO_PART = {0.3: 40_000, 0.5: 8000, 0.8: 3000, 1.0: 3000}
"""Number of steps of size 0.3τ, by σ: a seam has many slow displacements, so small σ needs more."""


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check the rates of the modes, the onset from both sides, and the circle."""
    rates = _rates((0.5, 0.8) if quick else SIGMAS, (0.8, 1.2), range(4) if quick else range(7))
    name = "S², σ = {sigma:g}, τ = {ratio:g} τ*, {kind}, mode {mode}: rate"
    tolerances = {"relative": 0.01, "absolute": 1e-3}
    checks = each_close(rates, lambda r: name.format(**r).replace("_", " "), **tolerances)
    found, onsets, ends = _onsets((0.5, 0.8) if quick else SIGMAS, seed)
    more, circle = _on_circle(quick, seed)
    curves = {"rates": rates, "onsets": onsets, "ends": ends, "circle": circle}
    tables = {name: columns(part) for name, part in curves.items()}
    return Evidence(checks + found + more, tables, f"{_N} particles a cloud, 1 seed")


def _rates(sigmas: Any, ratios: Any, modes: Any) -> list[dict[str, Any]]:
    """Growth rate of each mode: rows with the prediction and the rate after a small displacement."""
    angle = 2 * np.pi * np.arange(_N) / _N
    cells: list[Any] = list(product(sigmas, ratios, ring.Growth._fields, modes))
    rows, displacements, inputs = [], [], []
    for sigma, ratio, kind, mode in cells:
        tau, along = ratio * ring.critical_temperature(sigma), kind.endswith("along")
        predicted = float(getattr(ring.growth(sigma, tau, np.array([mode])), kind)[0])
        wave, sign = np.cos(mode * angle), -1 if kind.startswith("antiphase") else 1
        outwards = np.array([along * -np.sin(angle), along * np.cos(angle), (not along) + 0 * angle]).T
        displacements.append(wave[:, None] * outwards)
        rows.append({"sigma": sigma, "ratio": ratio, "kind": kind, "mode": mode, "predicted": predicted})
        duration = min(_PER_RUN / max(abs(predicted), 1e-3), _STEPS * criterion.STEP * tau)
        inputs.append((ring.law(_N, sigma), tau, sign, duration))
    flat = jnp.asarray(ring.rings(_N, 3, (0.0, 0.0), np.random.default_rng(0), noise=0.0)[0])

    def rate(given):
        law, tau, sign, duration, shape = given
        flow = ct.flows.GradientFlow(duration / _STEPS)
        start = ct.Pair(*(ct.sphere.normalize(flat + s * _SIZE * shape) for s in (1.0, sign)))
        end = ct.evolve(
            pairs.energy_of("symmetric", law, tau), flow, flow.init(start), num_steps=_STEPS
        ).clouds

        def amplitude(clouds):
            return jnp.sum(shape * (clouds.x - flat))

        return jnp.log(amplitude(end) / amplitude(start)) / duration

    laws, *numbers = zip(*inputs, strict=True)
    stacks = (np.stack(laws), *(np.array(column, np.float64) for column in numbers), np.stack(displacements))
    return [row | {"simulated": value} for row, value in zip(rows, sweep(rate, stacks), strict=True)]


def _onsets(sigmas: Any, seed: int) -> tuple[list[Check], list[dict[str, Any]], list[dict[str, Any]]]:
    """Temperatures at which the best single cloud turns unstable, and at which simulated clouds part."""
    checks, onsets, ends = [], [], []
    rng = np.random.default_rng([seed, 5])
    for sigma in sigmas:
        star, law, (closed, mode) = ring.critical_temperature(sigma), ring.law(_N, sigma), ring.onset(sigma)
        taus = star * np.linspace(1.02, 1.4, 20)
        start = ring.rings(_N, 3, (0.0, 0.0), rng, 0.05)[0]
        one = np.broadcast_to(start, (len(taus), *start.shape))
        laws = np.broadcast_to(law, (len(taus), *law.shape))
        best = criterion.descend_together(laws, taus, one, num_steps=4000)
        predicted = criterion.crossing(taus, criterion.lowest_curvatures(laws, taus, best))
        flat = ring.is_flat(sigma, predicted)
        name = f"S², σ = {sigma:g}"
        if flat:
            checks.append(
                close(
                    f"{name}: onset over τ*, from the Hessian",
                    closed / star,
                    predicted / star,
                    relative=0.005,
                )
            )
            predicted = closed
        near, few = _AROUND * predicted, slice(len(_AROUND))
        settled = criterion.settle(laws[few], near, one[few], num_steps=_STEPS_TO_PART[sigma])
        rates = criterion.parting_rates(laws[few], near, settled, num_steps=_STEPS_TO_PART[sigma], rng=rng)
        seen = criterion.crossing(near, -rates)
        checks.append(
            close(f"{name}: onset over τ*, where clouds part", predicted / star, seen / star, relative=0.01)
        )
        onsets.append(
            {
                "sigma": sigma,
                "star": star,
                "closed": closed,
                "mode": mode,
                "flat": flat,
                "predicted": predicted,
                "seen": seen,
            }
        )
        # One temperature half way between τ* and the onset, and one above the onset.
        ratios = np.array([0.5 * (1 + predicted / star), 1.02 * predicted / star])
        clouds = [ring.rings(_N, 3, (0.0, 0.0), rng, 0.01) for _ in ratios]
        cells = [Cell(sigma, ratio * star, *pair) for ratio, pair in zip(ratios, clouds, strict=True)]
        stop = pairs.descend("symmetric", [law] * len(cells), cells, num_steps=8000)
        for i, ratio in enumerate(ratios):
            measured = pairs.measures(stop, i, law)
            ends.append({"sigma": sigma, "ratio": ratio, "onset": predicted / star, **measured})
        checks += [
            at_least(f"{name}, between τ* and the onset: energy distance", 1e-3, stop.energy_distance[0]),
            at_most(f"{name}, there: centroid gap", 0.02, stop.centroid_gap[0]),
            at_most(f"{name}, 2 % above the onset: energy distance", 1e-3, stop.energy_distance[1]),
        ]
    return checks, onsets, ends


def _on_circle(quick: bool, seed: int) -> tuple[list[Check], list[dict[str, Any]]]:
    """In d = 2 waves along the ring part the clouds if σ is large enough, and not otherwise."""
    rng, cells, rows = np.random.default_rng([seed, 6]), [], []
    for sigma in (0.5, 1.0) if quick else (0.3, 0.5, 0.8, 1.0):
        onset = ring.onset_along(sigma)
        for tau in (0.03,) if onset is None else (0.8 * onset[0], 1.2 * onset[0]):
            cells.append(Cell(sigma, tau, *ring.rings(_N, 2, (0.0, 0.0), rng, 0.01)))
            rows.append({"sigma": sigma, "tau": tau, "onset": np.nan if onset is None else onset[0]})
    laws = [ring.law(_N, cell.sigma) for cell in cells]
    ends = pairs.descend("symmetric", laws, cells, num_steps=4000)
    checks = []
    for i, (row, law) in enumerate(zip(rows, laws, strict=True)):
        row |= pairs.measures(ends, i, law)
        name = f"S¹, σ = {row['sigma']:g}, τ = {row['tau']:.3g}: energy distance"
        parts = row["tau"] < row["onset"]
        checks.append((at_least if parts else at_most)(name, 1e-3, row["energy_distance"]))
    return checks, rows
