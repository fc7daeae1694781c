"""When a gap must open and the least control that prevents it: predicted without a gap, and by particles.

Latents in two clusters, pairs blurred by σ. From the best cloud that all modalities can share,
`ct.stability.critical_temperature` predicts the temperature τ* below which overlap is unstable, for several
losses, and `ct.stability.least_control` the strength λ* of a control that makes it stable. Particles start
1e-6 radians apart at the shared cloud, at two values beside the prediction; the markers are where their rates
of parting cross zero. `ct.stability.control_price` follows the state that has parted without a control as the
control grows, and gives the energy it costs.

What it shows (24 latents): predictions and particles agree within 0.2 % for τ*, and within 1 % for λ* except
where the lowest curvature rises slowly (divergence in four dimensions). The more heterogeneous the pairs are,
the higher τ* is. It grows from S² to S³ and then no more: the shared cloud spans few dimensions, and further
ones add the same displacements again. Three modalities, each two attracted, part at lower temperatures than
two. SigLIP with its best bias parts at about twice the temperature of InfoNCE, because its one mean over all
pairs does not balance dense against sparse regions; on a ring, which is evenly dense, the two agree. SimCLR's
views do not part at any temperature tried: its pooled negatives carry no divergence between them. At τ = 0.3
and σ = 0.5 the divergence needs λ = 0.36 on S², and in 8 dimensions 1, where it cancels the coupling of the
clouds altogether. Closing the gap costs 0.005 nats, and most of it is closed at half of that.

    python experiments/stability.py --preset paper --out figures
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import ctflow as ct
from ctflow._base.checks import check_choice, check_count, check_positive
from ctflow.claims import criterion, mixtures
from ctflow.claims.least_control import controls, strength_seen
from ctflow.claims.onset import parting_rate
from ctflow.energies import Energy
from ctflow.energies.parts import mean_kernel
from ctflow.experiment import Result, columns, main, results_of
from experiments.plots.stability import plot

LOSSES = ("InfoNCE", "InfoNCE of 3", "SigLIP", "SimCLR")
CONTROLS = ("divergence", "MMD²", "energy distance")
TEMPERATURES = (0.1, 1.4)
BESIDE = (0.98, 1.02)
"""Temperatures of the runs, as multiples of τ*."""


@dataclass(frozen=True)
class Config:
    """Settings; angles in radians."""

    sigmas: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.8)
    """Blur of the pairs."""
    dims: tuple[int, ...] = (3, 4, 8)
    """Dimensions at the middle σ; all σ are run in the first and, for InfoNCE, the last as well."""
    losses: tuple[str, ...] = LOSSES
    controls: tuple[str, ...] = CONTROLS
    temperature: float = 0.3
    """Of the controls."""
    num_latents: int = 24
    seed: int = 0

    def __post_init__(self):
        check_count("num_latents", self.num_latents, minimum=4)
        check_positive("temperature", self.temperature)
        for sigma in self.sigmas:
            check_positive("sigmas", sigma)
        for d in self.dims:
            check_count("dims", d, minimum=2)
        for name, known in (("losses", LOSSES), ("controls", CONTROLS)):
            for choice in getattr(self, name):
                check_choice(name, choice, known)
        if not (self.sigmas and self.dims and self.losses and self.controls):
            raise ValueError("sigmas, dims, losses and controls must not be empty")


PRESETS = {
    "paper": Config(),
    "smoke": Config(sigmas=(0.5,), dims=(3,), losses=("InfoNCE",), controls=("divergence",), num_latents=12),
}


class BestBias(Energy):
    """SigLIP's loss with its best bias and many negatives, without constants: -E_π s/τ + log E e^{s/τ}."""

    coupling: ct.couplings.Coupling
    temperature: Any = ct.positive()

    def terms(self, clouds):
        """`alignment` and `log_mean`, in nats."""
        cosine = self.coupling.mean_cosine(*ct.clouds.points(clouds))
        mean = mean_kernel(ct.kernels.Exponential(self.temperature), *clouds)
        return {"alignment": -cosine / self.temperature, "log_mean": jnp.log(mean)}


def loss_of(name: str) -> tuple[Callable[..., Energy], int]:
    """The loss as a function of coupling and temperature, and its number of modalities."""
    if name == "InfoNCE of 3":
        return lambda pairs, *, temperature: ct.energies.clique(
            ct.energies.symmetric(pairs, temperature=temperature), 3
        ), 3
    return {"InfoNCE": ct.energies.symmetric, "SigLIP": BestBias, "SimCLR": ct.energies.pooled}[name], 2


def pairs_of(config: Config, sigma: float) -> ct.couplings.Coupling:
    """Pairs of latents at the quantiles of two clusters."""
    return ct.couplings.from_matrix(mixtures.law(config.num_latents, sigma), dtype=np.float64)


def temperature_at(config: Config, name: str, sigma: float, d: int) -> dict[str, Any]:
    """τ* of a loss, predicted and where particles part."""
    loss, modalities = loss_of(name)
    pairs = pairs_of(config, sigma)
    found = ct.stability.critical_temperature(
        pairs, d, loss=loss, temperatures=TEMPERATURES, scan=10, rtol=4e-3, starts=2, modalities=modalities
    )
    rng = np.random.default_rng([config.seed, d])
    near = {"start": found.shared.cloud, "starts": 0, "modalities": modalities}

    def rate(tau: float) -> float:
        energy = loss(pairs, temperature=tau)
        shared = ct.stability.shared_equilibrium(energy, d, **near)
        return parting_rate(energy, shared, 0.3 * tau, rng)

    if found.value > 0:
        taus = found.value * np.array(BESIDE)
        seen = criterion.crossing(taus, -np.array([rate(float(tau)) for tau in taus]))
    else:
        seen = 0.0 if rate(TEMPERATURES[0]) < 0 else np.nan
    return {"loss": name, "sigma": sigma, "d": d, "predicted": found.value, "simulated": seen}


def strength_at(config: Config, name: str, sigma: float, d: int) -> dict[str, Any]:
    """λ* of a control, predicted and where particles stop parting."""
    energy = ct.energies.symmetric(pairs_of(config, sigma), temperature=config.temperature)
    control = controls(config.temperature)[name]
    least = ct.stability.least_control(energy, control, d, starts=2)
    row = {"control": name, "sigma": sigma, "d": d, "predicted": least.value, "simulated": least.value}
    if least.value > 0:
        rng = np.random.default_rng([config.seed, d, 1])
        row["simulated"] = strength_seen(energy, control, least, 0.3 * config.temperature, rng)
    return row


def price_of(config: Config, name: str, sigma: float, d: int) -> list[dict[str, Any]]:
    """Energy paid and gap left as a control grows, from the state that has parted without it."""
    energy = ct.energies.symmetric(pairs_of(config, sigma), temperature=config.temperature)
    control = controls(config.temperature)[name]
    free = ct.stability.lowest_state(energy, d)
    reach = ct.stability.control_price(energy, control, free.clouds, [1e-6]).reach
    strengths = reach * np.geomspace(0.03, 1000, 13)
    found = ct.stability.control_price(energy, control, free.clouds, strengths.tolist())
    return [
        {
            "control": name,
            "strength": strength,
            "paid": found.value[i],
            "second_order": found.predicted[i],
            "energy_distance": found.distance[i],
            "recall": found.recall[i],
            "overlap": free.value,
            "free_distance": found.before[2],
            "free_recall": found.before[3],
        }
        for i, strength in enumerate(strengths)
    ]


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """τ* of every loss, λ* and price of every control."""
    middle = config.sigmas[len(config.sigmas) // 2]
    low, *higher = config.dims
    plane = [(sigma, low) for sigma in config.sigmas]
    along = [(middle, d) for d in higher]
    wide = [(sigma, higher[-1]) for sigma in config.sigmas if sigma != middle] if higher else []
    jobs: list[Callable[[], Any]] = []
    kinds: list[str] = []

    def add(kind: str, job: Callable[..., Any], *arguments: Any) -> None:
        kinds.append(kind)
        jobs.append(partial(_in_float64, job, config, *arguments))

    for name in config.losses:
        cells = plane + (along + wide if name == "InfoNCE" else [])
        for sigma, d in cells:
            add("temperatures", temperature_at, name, sigma, d)
    for name in config.controls:
        for sigma, d in plane + along:
            add("strengths", strength_at, name, sigma, d)
    for name in config.controls:
        add("price", price_of, name, middle, low)
    tables: dict[str, list[dict[str, Any]]] = {"temperatures": [], "strengths": [], "price": []}
    done = results_of(jobs, checkpoint, config)
    for kind, found in zip(kinds, tqdm(done, total=len(jobs), desc="stability", unit="job"), strict=True):
        tables[kind] += found if isinstance(found, list) else [found]
    off = {
        kind: float(
            np.nanmax(
                [abs(row["simulated"] / row["predicted"] - 1) for row in tables[kind] if row["predicted"]]
            )
        )
        for kind in ("temperatures", "strengths")
    }
    facts = {"largest_relative_difference": off, "middle_sigma": middle}
    return Result({name: columns(rows) for name, rows in tables.items()}, {}, facts)


def _in_float64(job: Callable[..., Any], *arguments: Any) -> Any:
    with jax.enable_x64(True):
        return job(*arguments)


if __name__ == "__main__":
    main(name="stability", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
