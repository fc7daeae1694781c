"""One-directional, symmetric and unimodal InfoNCE on the same pairs: which of them leaves a gap.

J_{1→2} + log V >= -I(π) as for J^Sym, by Gibbs' variational inequality in each row, with equality where
s_ij = τ·PMI_ij + c_i: a free constant a row, where J^Sym leaves one in all. On the ring both have the same
stationary parallel rings (`ctflow.claims.pairs`), so that both leave a gap below the same τ*, of the same
width, where there is room and the start makes use of it. One cloud for both modalities (the unimodal energy
of the same pairs) has no gap to make, reaches the same energy, and lifts off its plane by √(1 - τ/τ*).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

import ctflow as ct
from ctflow._pytree import pytree
from ctflow.claims import pairs
from ctflow.claims.evidence import Evidence, at_least, close, table
from ctflow.claims.pairs import Cell
from ctflow.energies import Energy

TITLE = "one direction, both, and one modality"
SOURCE = "Gibbs' variational inequality; stationary parallel rings"
SIGMA = 0.5
RATIOS = (0.3, 0.6, 0.9, 1.2)
"""Temperatures, over τ*."""


@pytree
class Shared(Energy):
    """An energy of a Pair as one of a single cloud that is both: x = y."""

    part: Energy

    def __call__(self, clouds):
        """The part's energy of (z, z)."""
        return self.part(ct.Pair(clouds, clouds))

    def terms(self, clouds):
        """The part's terms."""
        return self.part.terms(ct.Pair(clouds, clouds))


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Three energies at four temperatures from the same start, and the directional bound."""
    n, num_steps = (48, 1500) if quick else (96, 4000)
    law, star = pairs.ring_law(n, SIGMA), pairs.critical_temperature(SIGMA)
    starts = [pairs.rings(n, 3, (0.4, -0.4), np.random.default_rng([seed, i])) for i in range(len(RATIOS))]
    cells = [Cell(SIGMA, ratio * star, *start) for ratio, start in zip(RATIOS, starts, strict=True)]
    rows, checks = [], []
    for kind in ("symmetric", "one-directional"):
        ends = pairs.descend(kind, [law] * len(cells), cells, num_steps=num_steps)
        for ratio, cell, gap, energy in zip(RATIOS, cells, ends.centroid_gap, ends.energy, strict=True):
            predicted = pairs.ring_gap(SIGMA, cell.tau)
            rows.append({"kind": kind, "ratio": ratio, "predicted": predicted, "gap": gap, "energy": energy})
            name = f"S², τ = {ratio:g} τ*, {kind}"
            checks += [
                close(f"{name}: centroid gap", predicted, gap, absolute=0.03),
                close(f"{name}: J + log V", pairs.ring_energy(SIGMA, cell.tau), energy, absolute=5e-3),
            ]
    for ratio, cell in zip(RATIOS, cells, strict=True):
        height, energy = _one_modality(law, cell, num_steps)
        predicted = pairs.ring_gap(SIGMA, cell.tau) / 2
        rows.append({"kind": "one modality", "ratio": ratio, "predicted": 0.0, "gap": 0.0, "energy": energy})
        name = f"S², τ = {ratio:g} τ*, one cloud for both"
        checks += [
            close(f"{name}: height off its plane", predicted, height, absolute=0.03),
            close(f"{name}: J + log V", pairs.ring_energy(SIGMA, cell.tau), energy, absolute=5e-3),
        ]
    return Evidence(checks + _bound(law, seed), {"runs": table(rows)})


def _one_modality(law: np.ndarray, cell: Cell, num_steps: int) -> tuple[float, float]:
    """One cloud for both modalities, from the first ring: its centroid's height and its J + log V."""
    energy = Shared(pairs.energy_of("symmetric", jnp.asarray(law), cell.tau))
    flow = ct.flows.Descent(optax.adam(1e-2))
    end = ct.evolve(energy, flow, flow.init(jnp.asarray(cell.x)), num_steps=num_steps).clouds
    level = energy(end) + ct.kernels.Exponential(cell.tau).log_volume(3, end.dtype)
    return float(jnp.linalg.norm(jnp.mean(end, axis=0))), float(level)


def _bound(law: np.ndarray, seed: int) -> list:
    """J_{1→2} + log V >= -I(π) over random clouds; equality at s = τ·PMI + c_i, for scores of any kind."""
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
