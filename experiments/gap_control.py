"""What it costs to hold two modalities together: penalties and temperature schedules, on free particles.

Two clouds descend J^Sym on heterogeneous pairs (σ = 0.5), which parts them; each control is added with a
strength λ: the symmetric divergence that J^Sym carries with a minus sign (λ = 1 cancels it exactly), the
energy distance, MMD², and the uniformity of each cloud; or none, with the temperature fixed, annealed or
learned. Every run is measured by the uncontrolled energy above its bound -I(π), the gap, and retrieval. The
partner of x_i is a draw from π(·|i): recall is the chance that it is among the k nearest, and no rule beats
Σ_i max_j π_ij at k = 1, which is given beside it.

What it shows (σ = 0.5, τ = 0.07, medians over seeds): the gap closes for little. On S² the divergence term
at λ = 0.1 takes the energy distance from 0.58 (2.3 from opposite cones) to 0.004, at 0.02 nats of energy
and 5 % of the best possible recall@1; beyond λ = 0.3 little is left to gain, at λ = 1, where the coupling
cancels, too. In d = 8, where the gap is a nearly flat direction, a weak energy distance or MMD² penalty is
cheaper: 0.03 is reached at 0.001 nats and no recall. Uniformity closes none. Retrieval never gains from a
closed gap here: what it needs are the cosines, and the gap is free beside them. A higher temperature closes
the gap too, and pays more: at τ = 0.6 it is 0.004 to 0.007, 0.14 nats above the bound. Annealing undoes the
start, not the gap; a learned temperature falls from above to 0.19, where a gap is open. At σ = 0 there is
no gap to close in d = 3; in d = 8 the 0.02 to 0.08 that these steps leave of the start goes to 0.001.

    python experiments/gap_control.py --preset paper --out figures
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ctflow as ct
from ctflow._base.checks import check_choice, check_count, check_positive
from ctflow._base.resources import check_pairs
from ctflow.couplings import MIN_BANDWIDTH
from ctflow.diagnostics import energy_distance, mmd_squared, uniformity
from ctflow.energies import Energy
from ctflow.experiment import Result, columns, main, resumed_in
from ctflow.latents import VonMisesMixture
from ctflow.partition.staged import exponential
from experiments.plots.gap_control import plot

STARTS = ("same place", "opposite cones")
CONTROLS = ("divergence", "energy distance", "MMD²", "uniformity")
SCHEDULES = ("fixed", "annealed", "heated", "learned")
BANDWIDTH = 0.5
NOISE = 0.01
CONCENTRATION = 40.0
STAGES = 8


@dataclass(frozen=True)
class Config:
    """Settings; angles in radians."""

    sigmas: tuple[float, ...] = (0.0, 0.5)
    """Heterogeneity of the pairing; the first is where a control should change nothing."""
    dims: tuple[int, ...] = (3, 8)
    controls: tuple[str, ...] = CONTROLS
    """What is added to J^Sym."""
    strengths: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0)
    temperatures: tuple[float, ...] = (0.07, 0.15, 0.3, 0.6)
    """Of the schedules: fixed there; annealed from the last down to each; learned from each."""
    num_seeds: int = 4
    num_particles: int = 128
    temperature: float = 0.07
    learning_rate: float = 2e-2
    num_steps: int = 1000
    seed: int = 0

    def __post_init__(self):
        for name in ("num_seeds", "num_particles", "num_steps"):
            check_count(name, getattr(self, name))
        for name in ("temperature", "learning_rate"):
            check_positive(name, getattr(self, name))
        for d in self.dims:
            check_count("dims", d, minimum=2)
        for name in self.controls:
            check_choice("controls", name, CONTROLS)
        if not self.controls:
            raise ValueError("controls must not be empty")
        for name in ("sigmas", "strengths"):
            values = getattr(self, name)
            if not values or min(values) < 0:
                raise ValueError(f"{name} must be >= 0 and not empty, got {values}")
        if not self.temperatures or min(self.temperatures) <= 0:
            raise ValueError(f"temperatures must be > 0 and not empty, got {self.temperatures}")
        if self.num_steps % STAGES:
            raise ValueError(f"num_steps must be a multiple of {STAGES}, got {self.num_steps}")


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        dims=(3,),
        controls=("divergence", "energy distance"),
        strengths=(0.0, 0.1, 1.0),
        temperatures=(0.07, 0.6),
        num_seeds=1,
        num_particles=40,
        num_steps=240,
    ),
}


class Penalty(Energy):
    """A function of two clouds as an energy."""

    measure: Callable[[Any, Any], Any] = ct.static()

    def terms(self, clouds):
        """`penalty`: its value."""
        return {"penalty": self.measure(clouds.x, clouds.y)}


def control(name: str, temperature: float) -> Energy:
    """What is added to J^Sym, at strength 1."""
    if name == "divergence":
        return ct.energies.SymmetricDivergence(ct.kernels.Exponential(temperature))
    return Penalty(
        {
            "energy distance": lambda x, y: energy_distance(x, y, estimator="v"),
            "MMD²": lambda x, y: mmd_squared(x, y, bandwidth=BANDWIDTH, estimator="v"),
            "uniformity": lambda x, y: (uniformity(x, estimator="v") + uniformity(y, estimator="v")) / 2,
        }[name]
    )


class Case(NamedTuple):
    """Probabilities of the pairs [n, n] and the two clouds [n, d] that a run sets out from."""

    law: np.ndarray
    x: np.ndarray
    y: np.ndarray


def draw_cases(config: Config) -> dict[tuple[float, int, str, int], Case]:
    """The case of every σ, seed, start and d. Runs share them: balancing a law costs more than a run."""
    cases = {}
    for sigma, seed in product(config.sigmas, range(config.num_seeds)):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed), 5)
        n = config.num_particles
        theta = VonMisesMixture().sample(keys[0], (n,))
        phi = VonMisesMixture().sample(keys[1], (n,)) + sigma * jax.random.normal(keys[2], (n,))
        pi = ct.couplings.from_latents(theta, phi, bandwidth=max(sigma, MIN_BANDWIDTH), dtype=float)
        law = np.asarray(pi.weights).reshape(n, n)
        for start, d in product(STARTS, config.dims):
            clouds = start_clouds(start, keys[3:], (theta, phi), d)
            cases[sigma, seed, start, d] = Case(law, *map(np.asarray, clouds))
    return cases


def start_clouds(start: str, keys: Any, latents: tuple[Any, Any], d: int) -> list[Any]:
    """Two clouds [n, d]: near their latents on a great circle, or in opposite cones."""
    n = latents[0].size
    if start == "same place":
        flat = [jnp.pad(jnp.stack([jnp.cos(a), jnp.sin(a)], axis=1), ((0, 0), (0, d - 2))) for a in latents]
        noise = [NOISE * jax.random.normal(k, (n, d)) for k in keys]
        return [ct.sphere.normalize(z + e) for z, e in zip(flat, noise, strict=True)]
    pole = jnp.eye(d)[-1]
    return [
        ct.sphere.von_mises_fisher(k, side * pole, CONCENTRATION, n)
        for k, side in zip(keys, (1, -1), strict=True)
    ]


def recall(law: Any, clouds: ct.Pair, k: int) -> Any:
    """Chance that a partner drawn from π(·|i) is among the k nearest, mean of both ways."""
    cosine = clouds.x @ clouds.y.T
    ways = []
    for law_way, cosine_way in ((law, cosine), (law.T, cosine.T)):
        near = jax.lax.top_k(cosine_way, k)[1]
        ways.append(jnp.sum(jnp.take_along_axis(law_way, near, axis=1)))
    return sum(ways) / 2


def look(law: Any, clouds: ct.Pair, temperature: Any) -> dict[str, Any]:
    """What every run is measured by, at its own temperature."""
    energy = ct.energies.symmetric(ct.couplings.complete(law), temperature=temperature)
    split = energy.free_energies(clouds)
    held = energy + ct.energies.SymmetricDivergence(energy.kernel)
    return {
        "above_bound": energy(clouds) - energy.lower_bound(clouds.x.shape[1]),
        "energy_distance": energy_distance(*clouds, estimator="v"),
        "centroid_gap": ct.diagnostics.centroid_gap(*clouds),
        "paired_cosine": energy.coupling.mean_cosine(*clouds),
        "uniformity": (uniformity(clouds.x, estimator="v") + uniformity(clouds.y, estimator="v")) / 2,
        "recall@1": recall(law, clouds, 1),
        "recall@5": recall(law, clouds, 5),
        "best_recall@1": (jnp.sum(law.max(axis=1)) + jnp.sum(law.max(axis=0))) / 2,
        # λ = 1 leaves the free energies alone: an identity, to rounding.
        "cancellation_fault": jnp.abs(held(clouds) - (split["free_energy_12"] + split["free_energy_21"]) / 2),
        "temperature": temperature,
    }


class Ended(NamedTuple):
    """Runs that have ended: what names them, their laws [runs, n, n], clouds and last temperatures [runs]."""

    labels: dict[str, np.ndarray]
    law: np.ndarray
    ends: ct.Pair
    temperature: np.ndarray


def run_control(config: Config, name: str, d: int, cases: dict[Any, Case], checkpoint: Path | None) -> Ended:
    """One control at every strength, σ, seed and start."""
    cells = list(product(config.sigmas, config.strengths, range(config.num_seeds), STARTS))
    penalty = control(name, config.temperature)
    flow = ct.flows.Descent(optax.adam(config.learning_rate))

    def one(inputs):
        strength, law, x, y = inputs
        pi = ct.couplings.complete(law)
        energy = ct.energies.symmetric(pi, temperature=config.temperature) + strength * penalty
        return ct.evolve(energy, flow, flow.init(ct.Pair(x, y)), num_steps=config.num_steps).clouds

    picked = [cases[sigma, seed, start, d] for sigma, _, seed, start in cells]
    law, x, y = (np.stack(part) for part in zip(*picked, strict=True))
    strengths = np.array([strength for _, strength, _, _ in cells])
    ends = ct.sweep(
        one, (strengths, law, x, y), progress=f"{name}, d = {d}", **resumed_in(checkpoint, f"{name} {d}")
    )
    sigma, strength, seed, start = (np.array(part) for part in zip(*cells, strict=True))
    labels = {"control": np.full(len(cells), name), "d": np.full(len(cells), d), "sigma": sigma}
    labels |= {"strength": strength, "seed": seed, "start": start}
    return Ended(labels, law, ends, np.full(len(cells), config.temperature))


def temperatures(config: Config, schedule: str, tau: float) -> np.ndarray:
    """Temperatures of the stages; of a learned one, where it sets out."""
    hot = max(config.temperatures)
    if schedule == "annealed":
        return np.geomspace(hot, tau, STAGES)
    if schedule == "heated":
        return np.geomspace(config.temperature, tau, STAGES)
    return np.full(STAGES, tau)


def run_schedules(config: Config, d: int, cases: dict[Any, Case], checkpoint: Path | None) -> Ended:
    """No penalty: temperatures fixed, annealed from hot, heated from cold, or learned by descent in log τ."""
    sigma = max(config.sigmas)
    cells = list(product(SCHEDULES, config.temperatures, range(config.num_seeds), STARTS))
    flow = ct.flows.Descent(optax.adam(config.learning_rate))

    # A learned temperature stays well above a tenth of the lowest one.
    lowest = min(config.temperatures) / 10

    def at(log_tau: Any, law: Any) -> ct.energies.Symmetric:
        tau: Any = jnp.exp(log_tau)
        kernel = exponential(tau, lowest=lowest, dtype=float)
        return ct.energies.symmetric(ct.couplings.complete(law), temperature=tau, kernel=kernel)

    def level(log_tau, law, clouds):
        energy = at(log_tau, law)
        return energy(clouds) + energy.kernel.log_volume(d)

    def one(inputs):
        log_taus, rate, law, x, y = inputs

        def step(carry, _):
            state, log_tau = carry
            state = ct.evolve(at(log_tau, law), flow, state, num_steps=1)
            slope = jax.lax.cond(rate > 0, jax.grad(level), lambda *_: 0.0, log_tau, law, state.clouds)
            return (state, log_tau - rate * slope), None

        def stage(carry, log_tau):
            state, learned = carry
            begin = state, jnp.where(rate > 0, learned, log_tau)
            return jax.lax.scan(step, begin, length=config.num_steps // STAGES)

        (state, log_tau), _ = jax.lax.scan(stage, (flow.init(ct.Pair(x, y)), log_taus[0]), log_taus)
        return state.clouds, jnp.exp(log_tau)

    picked = [cases[sigma, seed, start, d] for _, _, seed, start in cells]
    law, x, y = (np.stack(part) for part in zip(*picked, strict=True))
    log_taus = np.log([temperatures(config, schedule, tau) for schedule, tau, _, _ in cells])
    rates = np.array([0.03 if schedule == "learned" else 0.0 for schedule, *_ in cells])
    inputs = (log_taus, rates, law, x, y)
    ends, last = ct.sweep(
        one, inputs, progress=f"schedules, d = {d}", **resumed_in(checkpoint, f"schedules {d}")
    )
    schedule, tau, seed, start = (np.array(part) for part in zip(*cells, strict=True))
    labels = {"schedule": schedule, "d": np.full(len(cells), d), "asked": tau, "seed": seed, "start": start}
    return Ended(labels, law, ends, last)


def measured(runs: list[Ended]) -> list[dict[str, np.ndarray]]:
    """The labels and measures of several lots of runs in one dimension, by one program for all."""
    stacks = [(run.law, run.ends, run.temperature) for run in runs]
    inputs = jax.tree.map(lambda *parts: np.concatenate(parts), *stacks)
    found = ct.sweep(lambda one: look(*one), inputs)
    last = np.cumsum([len(run.temperature) for run in runs])[:-1]
    parts = {name: np.split(values, last) for name, values in found.items()}
    return [run.labels | {name: of[i] for name, of in parts.items()} for i, run in enumerate(runs)]


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Every control, then every schedule."""
    with jax.enable_x64(True):
        check_pairs(config.num_particles, max(config.dims))
        cases = draw_cases(config)
        controls, schedules = [], []
        for d in config.dims:
            held = [run_control(config, name, d, cases, checkpoint) for name in config.controls]
            *tables, timed_table = measured([*held, run_schedules(config, d, cases, checkpoint)])
            controls += tables
            schedules.append(timed_table)
    runs, timed = (
        {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        for tables in (controls, schedules)
    )
    keys = ("control", "d", "sigma", "strength", "start"), ("schedule", "d", "asked", "start")
    tables = {
        "runs": runs,
        "summary": summarize(runs, keys[0]),
        "schedules": timed,
        "schedules_summary": summarize(timed, keys[1]),
    }
    faults = np.concatenate([runs["cancellation_fault"], timed["cancellation_fault"]])
    return Result(tables, {}, {"largest_cancellation_fault": float(faults.max()), "mmd_bandwidth": BANDWIDTH})


def summarize(runs: dict[str, np.ndarray], keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Medians and the middle 80 % over seeds, a row for each combination of keys."""
    rows = []
    for values in sorted(set(zip(*(runs[key].tolist() for key in keys), strict=True))):
        pick = np.all([runs[key] == value for key, value in zip(keys, values, strict=True)], axis=0)
        row = dict(zip(keys, values, strict=True)) | {"seeds": int(pick.sum())}
        for name in (
            "above_bound",
            "energy_distance",
            "centroid_gap",
            "recall@1",
            "best_recall@1",
            "temperature",
        ):
            low, middle, high = np.quantile(runs[name][pick], [0.1, 0.5, 0.9])
            row |= {f"{name}_median": middle, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return columns(rows)


if __name__ == "__main__":
    main(name="gap_control", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
