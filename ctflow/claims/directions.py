"""One-directional, symmetric and unimodal InfoNCE on the same pairs: which of them leaves a gap.

As for J^Sym, J_{1→2} + log V >= -I(π), by Gibbs' variational inequality in each row. Equality holds where
s_ij = τ·PMI_ij + c_i, with one free constant per row; for J^Sym there is only one constant in all. On a ring
both energies have the same stationary parallel rings (`ctflow.claims.ring`), so that from mirror images both
leave a gap of the same width below the same τ*. One cloud for both modalities (J^Sym with x = y) has no gap,
reaches the same energy, and lies √(1 - τ/τ*) off its plane. On latents of a mixture, below their critical
temperature (`ctflow.claims.mixtures`), the one-directional and the symmetric energy leave a gap from every
start, and one cloud for both has a higher energy.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

import ctflow as ct
from ctflow.claims import criterion, mixtures, pairs, ring
from ctflow.claims.evidence import Evidence, at_least, close
from ctflow.claims.pairs import Cell
from ctflow.storage.tables import columns

TITLE = "one direction, both, and one modality"
SOURCE = "Gibbs' variational inequality; stationary parallel rings"
SIGMA = 0.5
RATIOS = (0.3, 0.6, 0.9, 1.2)
"""Temperatures as multiples of τ*."""


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check three energies at four temperatures from the same starts, a mixture, and the bound."""
    n, num_steps = (48, 1500) if quick else (96, 4000)
    law, star = ring.law(n, SIGMA), ring.critical_temperature(SIGMA)
    starts = [ring.rings(n, 3, (0.4, -0.4), np.random.default_rng([seed, i])) for i in range(len(RATIOS))]
    cells = [Cell(SIGMA, ratio * star, *start) for ratio, start in zip(RATIOS, starts, strict=True)]
    rows, checks = [], []
    for kind in ("symmetric", "one-directional"):
        ends = pairs.descend(kind, [law] * len(cells), cells, num_steps=num_steps)
        for ratio, cell, gap, energy in zip(RATIOS, cells, ends.centroid_gap, ends.energy, strict=True):
            predicted = ring.gap(SIGMA, cell.tau)
            rows.append({"kind": kind, "ratio": ratio, "predicted": predicted, "gap": gap, "energy": energy})
            name = f"S², τ = {ratio:g} τ*, {kind}"
            checks += [
                close(f"{name}: centroid gap", predicted, gap, absolute=0.03),
                close(f"{name}: J + log V", ring.energy(SIGMA, cell.tau), energy, absolute=5e-3),
            ]
    taus = np.array([cell.tau for cell in cells])
    alone = criterion.descend_together(
        [law] * len(cells), taus, [cell.x for cell in cells], num_steps=num_steps
    )
    for ratio, cell, z in zip(RATIOS, cells, alone, strict=True):
        height = np.linalg.norm(z.mean(axis=0))
        energy = float(pairs.level("symmetric", jnp.asarray(law), np.log(cell.tau), _twice(z)))
        predicted = ring.gap(SIGMA, cell.tau) / 2
        rows.append({"kind": "one modality", "ratio": ratio, "predicted": 0.0, "gap": 0.0, "energy": energy})
        name = f"S², τ = {ratio:g} τ*, one cloud for both"
        checks += [
            close(f"{name}: height off its plane", predicted, height, absolute=0.03),
            close(f"{name}: J + log V", ring.energy(SIGMA, cell.tau), energy, absolute=5e-3),
        ]
    found, mixed = _on_mixture(n, num_steps, seed)
    curves = {"runs": columns(rows), "mixture": columns(mixed)}
    return Evidence(checks + _bound(law, seed) + found, curves, f"{n} particles a cloud, 1 seed")


def _twice(z: np.ndarray) -> ct.Pair:
    """A Pair with one cloud as both modalities, in float64."""
    cloud = ct.sphere.normalize(jnp.asarray(z, jnp.float64))
    return ct.Pair(cloud, cloud)


def _on_mixture(n: int, num_steps: int, seed: int):
    """The three energies on latents of a mixture, at a third of the critical temperature."""
    sigma, d = SIGMA, 3
    law = mixtures.law(n, sigma)
    star, information = mixtures.critical_temperatures(n, d, seed)[sigma], pairs.information(law)
    rng = np.random.default_rng([seed, 1])
    cells = [Cell(sigma, star / 3, *mixtures.start(kind, n, d, rng)) for kind in mixtures.STARTS]
    rows, checks, lowest = [], [], {}
    where = f"S², mixture latents, σ = {sigma:g}, τ = τ*/3"
    for kind in ("symmetric", "one-directional"):
        ends = pairs.descend(kind, [law] * len(cells), cells, num_steps=num_steps)
        for start, distance, energy in zip(mixtures.STARTS, ends.energy_distance, ends.energy, strict=True):
            rows.append({"kind": kind, "start": start, "distance": distance, "excess": energy + information})
        lowest[kind] = min(ends.energy)
        checks += [
            at_least(f"{where}, {kind}: least energy distance", 0.02, min(ends.energy_distance)),
            at_least(f"{where}, {kind}: lowest J + log V", -information - 1e-4, lowest[kind]),
        ]
    clouds = criterion.descend_together(
        [law] * len(cells), [star / 3] * len(cells), [cell.x for cell in cells], num_steps=num_steps
    )
    alone = [float(pairs.level("symmetric", jnp.asarray(law), np.log(star / 3), _twice(z))) for z in clouds]
    rows += [
        {"kind": "one modality", "start": start, "distance": 0.0, "excess": energy + information}
        for start, energy in zip(mixtures.STARTS, alone, strict=True)
    ]
    name = f"{where}, one cloud for both: lowest J + log V over two clouds'"
    checks.append(at_least(name, lowest["symmetric"], min(alone)))
    return checks, rows


def _bound(law: np.ndarray, seed: int) -> list:
    """J_{1→2} + log V >= -I(π) on random clouds; equality for the scores s_ij = τ·PMI_ij + c_i."""
    tau, n = 0.3, len(law)
    energy = pairs.energy_of("one-directional", jnp.asarray(law), tau)
    volume = float(ct.kernels.Exponential(tau).log_volume(4, jnp.float64))
    points = ct.sphere.uniform(jax.random.key(seed), 40 * n, 4).reshape(20, 2, n, 4)
    lowest = min(float(energy(ct.Pair(x, y))) for x, y in points) + volume
    marginal = 1 / n
    scores = np.log(law / marginal**2) + np.random.default_rng(seed).standard_normal((n, 1))
    reached = -(law * scores).sum() + marginal * (special.logsumexp(scores, axis=1) + np.log(marginal)).sum()
    information = pairs.information(law)
    return [
        at_least("J₁→₂ + log V of 20 random pairs of clouds in d = 4", -information, lowest),
        close("the same for scores τ·PMI + c_i", -information, reached, absolute=1e-9),
    ]
