"""A modality gap forms between two clouds that start nearly together, if their pairs are heterogeneous.

Two clouds of free particles descend J^Sym under a pair coupling blurred by σ, with no encoders, from three
starts: the same circle (an energy distance of 0.01 to 0.02, that of the latents), random, and two opposite
cones (the widest gap).

What it shows: on S² at σ = 0 every start ends with no gap, the widest one included; from σ = 0.2 on every
start ends with one, also where there was none. So heterogeneity, not initialisation, makes the gap. How
wide it is does depend on the start, because the energy is nearly flat in it: the optimum fixes the cosines
s_ij = τ·PMI_ij + c of all pairs up to the constant c, and c is the gap's freedom. On the circle (d = 2)
there is no spare dimension, and two cones may stay stuck.

    python experiments/gap_formation.py --preset paper --out figures
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ctflow as ct
from ctflow._base.checks import check_count, check_positive
from ctflow._base.resources import check_pairs
from ctflow.couplings import MIN_BANDWIDTH, Coupling
from ctflow.experiment import Result, columns, main, resumed_in
from experiments.plots.gap_formation import plot

STARTS = ("same place", "random", "opposite cones")


@dataclass(frozen=True)
class Config:
    """Settings; angles in radians."""

    sigmas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    """Heterogeneity of the pairing: the blur between the latents of a positive pair."""
    dims: tuple[int, ...] = (2, 3, 8)
    num_seeds: int = 5
    num_particles: int = 256
    temperature: float = 0.07
    learning_rate: float = 2e-2
    num_steps: int = 2000
    save_every: int = 100
    start_noise: float = 0.01
    cone_concentration: float = 40.0
    seed: int = 0

    def __post_init__(self):
        for name in ("num_seeds", "num_particles", "num_steps", "save_every"):
            check_count(name, getattr(self, name))
        for name in ("temperature", "learning_rate", "cone_concentration"):
            check_positive(name, getattr(self, name))
        for d in self.dims:
            check_count("dims", d, minimum=2)
        if not self.sigmas or not self.dims or min(self.sigmas) < 0:
            raise ValueError(
                f"sigmas and dims must not be empty, sigmas >= 0, got {self.sigmas}, {self.dims}"
            )
        if self.num_steps % self.save_every:
            raise ValueError(
                f"num_steps must be a multiple of save_every, got {self.num_steps} and {self.save_every}"
            )


PRESETS = {
    "paper": Config(),
    "smoke": Config(sigmas=(0.0, 0.5), dims=(3,), num_seeds=2, num_particles=64, num_steps=200),
}


def latent_mixture(rng: np.random.Generator, n: int) -> np.ndarray:
    """N angles of the mixture 0.7·vM(0, 6) + 0.3·vM(π, 6)."""
    return np.where(rng.random(n) < 0.7, rng.vonmises(0, 6, n), rng.vonmises(np.pi, 6, n))


def latents(config: Config, sigma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """θ of the first modality and φ = θ' + σξ of the second, [n] each; the same draws for every σ."""
    rng = np.random.default_rng([config.seed, seed])
    theta, partner = latent_mixture(rng, config.num_particles), latent_mixture(rng, config.num_particles)
    return theta, partner + sigma * rng.standard_normal(config.num_particles)


def pairing(theta: np.ndarray, phi: np.ndarray, sigma: float) -> Coupling:
    return ct.couplings.from_latents(theta, phi, bandwidth=max(sigma, MIN_BANDWIDTH), dtype=float)


def start_clouds(config: Config, kind: str, theta: np.ndarray, phi: np.ndarray, d: int, key) -> ct.Pair:
    """Where the two clouds begin: on a great circle at their latents, anywhere, or in opposite cones."""
    key_x, key_y = jax.random.split(key)
    if kind == "same place":
        return ct.Pair(*(_on_circle(config, k, a, d) for k, a in ((key_x, theta), (key_y, phi))))
    if kind == "random":
        return ct.Pair(*(ct.sphere.uniform(k, config.num_particles, d) for k in (key_x, key_y)))
    pole = jnp.eye(d)[-1]
    cones = ((key_x, pole), (key_y, -pole))
    return ct.Pair(
        *(ct.sphere.von_mises_fisher(k, m, config.cone_concentration, config.num_particles) for k, m in cones)
    )


def _on_circle(config: Config, key, angle: np.ndarray, d: int):
    plane = jnp.stack([jnp.cos(jnp.asarray(angle)), jnp.sin(jnp.asarray(angle))], axis=1)
    flat = jnp.pad(plane, ((0, 0), (0, d - 2)))
    return ct.sphere.normalize(flat + config.start_noise * jax.random.normal(key, flat.shape))


def parts(energy, clouds) -> dict:
    """What J^Sym is made of in its two splits, each quantity as defined."""
    terms = energy.terms(clouds)
    # A term of J^Sym is minus half the cross-entropy.
    crossed = {f"cross_entropy_{way}": -2 * terms[f"negative_cross_entropy_{way}"] for way in ("12", "21")}
    return {"alignment": terms["alignment"], **crossed, **energy.free_energies(clouds)}


def look(energy, clouds) -> dict:
    """What is recorded along a run: J^Sym + log V, its terms, and two gaps."""
    d = clouds.x.shape[1]
    return {
        "energy": energy(clouds) + energy.kernel.log_volume(d),
        **parts(energy, clouds),
        "energy_distance": ct.diagnostics.energy_distance(clouds.x, clouds.y, estimator="v"),
        "centroid_gap": ct.diagnostics.centroid_gap(clouds.x, clouds.y),
        "paired_cosine": energy.coupling.mean_cosine(clouds.x, clouds.y),
    }


def flow(config: Config):
    return ct.flows.Descent(optax.adam(config.learning_rate))


def run_dimension(
    config: Config, d: int, pairings: dict[tuple, Coupling], checkpoint: Path | None
) -> dict[str, np.ndarray]:
    """Every σ × start × seed in dimension d, as columns with one entry per run and one row per save."""
    cells = list(product(config.sigmas, range(config.num_seeds), STARTS))
    stack, information = [], []
    for sigma, seed, kind in cells:
        theta, phi = latents(config, sigma, seed)
        pi = pairings[sigma, seed]
        key = jax.random.fold_in(jax.random.key(config.seed), 100 * seed + STARTS.index(kind))
        stack.append((*start_clouds(config, kind, theta, phi, d, key), pi.weights.reshape(pi.shape)))
        information.append(float(pi.mutual_information()))
    descent = flow(config)

    def run_one(inputs):
        x, y, law = inputs
        energy = ct.energies.symmetric(ct.couplings.complete(law), temperature=config.temperature)
        state, saved = ct.evolve(
            energy,
            descent,
            descent.init(ct.Pair(x, y)),
            num_steps=config.num_steps,
            save_every=config.save_every,
            save=lambda clouds: look(energy, clouds),
        )
        return {**saved, "finite": state.finite}

    inputs = jax.tree.map(lambda *parts: np.stack(parts), *stack)
    history = ct.sweep(
        run_one, inputs, progress=f"gap formation, d = {d}", **resumed_in(checkpoint, f"d-{d}")
    )
    sigma, seed, kind = (np.array(column) for column in zip(*cells, strict=True))
    return {"sigma": sigma, "seed": seed, "start": kind, "information": np.array(information), **history}


def tabulate(d: int, h: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The last state of every run, and the largest faults of the identities along it."""
    added = [
        h["alignment"] - (h["cross_entropy_12"] + h["cross_entropy_21"]) / 2,
        (h["free_energy_12"] + h["free_energy_21"]) / 2 - (h["divergence_12"] + h["divergence_21"]) / 2,
    ]
    return {
        "d": np.full(h["sigma"].shape, d),
        **{name: h[name] for name in ("start", "sigma", "seed")},
        **{name: h[name][:, -1] for name in ("energy_distance", "centroid_gap", "paired_cosine", "energy")},
        "bound": -h["information"],
        "start_energy_distance": h["energy_distance"][:, 0],
        "lowest_energy_above_bound": (h["energy"] + h["information"][:, None]).min(axis=1),
        "decomposition_error": np.abs(added[0] - added[1]).max(axis=1),
        "finite": h["finite"].astype(int),
    }


def showcase(
    config: Config, sigma: float, checkpoint: Path | None
) -> tuple[dict[str, np.ndarray], ct.Solution]:
    """One run on S² from the same place, watched closely: its terms, and its clouds."""
    theta, phi = latents(config, sigma, seed=0)
    energy = ct.energies.symmetric(pairing(theta, phi, sigma), temperature=config.temperature)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    start = start_clouds(config, "same place", theta, phi, 3, key)
    solution = ct.solve(
        energy,
        start,
        flow(config),
        num_steps=config.num_steps,
        save_every=max(1, config.num_steps // 250),
        save=lambda clouds: {**look(energy, clouds), "clouds": clouds},
        **resumed_in(checkpoint, f"showcase-{sigma:g}"),
    )
    terms = {name: value for name, value in solution.saved.items() if name != "clouds"}
    return {"step": solution.steps, **terms}, solution


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Every dimension, σ, start and seed; then two runs watched closely."""
    with jax.enable_x64(True):
        check_pairs(config.num_particles, max(config.dims))
        pairings = {
            (sigma, seed): pairing(*latents(config, sigma, seed), sigma)
            for sigma, seed in product(config.sigmas, range(config.num_seeds))
        }
        tables = [tabulate(d, run_dimension(config, d, pairings, checkpoint)) for d in config.dims]
        runs = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        arrays, terms = {}, {}
        for label, sigma in (("none", 0.0), ("some", 0.5)):
            terms[f"terms_sigma_{sigma}"], solution = showcase(config, sigma, checkpoint)
            clouds, theta = solution.saved["clouds"], latents(config, sigma, 0)
            frames = np.unique(np.geomspace(1, len(solution.steps), 60).astype(int)) - 1
            for name, cloud, angle in zip("xy", clouds, theta, strict=True):
                arrays[f"{name}_{label}"] = cloud[frames].astype(np.float32)
                arrays[f"{name}_angle_{label}"] = angle
            arrays[f"frame_steps_{label}"] = solution.steps[frames]
    facts = {
        "largest_decomposition_error": float(runs["decomposition_error"].max()),
        "lowest_energy_above_bound": float(runs["lowest_energy_above_bound"].min()),
        "energy_distance": "between the two clouds as measures (V-statistic)",
    }
    return Result({"runs": runs, "summary": summarize(runs), **terms}, arrays, facts)


def summarize(runs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Medians and the middle 80 % over seeds, a row for each d, start and σ."""
    rows = []
    for d, kind, sigma in product(np.unique(runs["d"]), STARTS, np.unique(runs["sigma"])):
        pick = (runs["d"] == d) & (runs["start"] == kind) & (runs["sigma"] == sigma)
        row = {"d": d, "start": kind, "sigma": sigma, "seeds": pick.sum()}
        for name in ("energy_distance", "centroid_gap", "energy", "bound"):
            low, middle, high = np.quantile(runs[name][pick], [0.1, 0.5, 0.9])
            row |= {f"{name}_median": middle, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return columns(rows)


if __name__ == "__main__":
    main(name="gap_formation", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
