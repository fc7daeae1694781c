"""One modality: clouds in a two-well potential converge to the Gibbs measure exp(-U/τ)/Z, from any start.

Langevin particles sample it exactly. The deterministic flow of J_τ replaces the noise by an entropy
smoothed with a kernel: with InfoNCE's own kernel (temperature τ) its equilibrium is far from Gibbs wherever
that kernel is wide compared with the Gibbs measure; with a kernel fitted to the number of particles it
comes close. Started in one well at the lowest temperature, Langevin particles cross at the rate that the
spectral gap says; noiseless ones lag behind, and with the wide kernel never leave. Beside them runs the
published procedure: Adam on J with a kernel of 0.35 rad, and noise of a fixed size on unnormalised vectors;
its equilibrium is no Gibbs measure: at τ = 0.1 all its particles sit on rings about 0.3 rad from the wells'
bottoms, at larger τ they line up on filaments, since the noise turns them less and less as their vectors
grow.

    python experiments/unimodal_gibbs.py --preset paper --out figures
"""

from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats
from tqdm import tqdm

import ctflow as ct
from ctflow.experiment import Result, columns, main, resumed_in
from ctflow.io import read_csv
from experiments.plots.unimodal_gibbs import plot
from experiments.setups.unimodal_gibbs import (
    METHODS,
    PRESETS,
    STARTS,
    Config,
    fitted_kernel_temperature,
    potential,
    start_cloud,
    start_density,
    statistics,
    wells,
)


def run_langevin(config: Config, temperature: float, kind: str, rate: float, checkpoint: Path | None):
    """All seeds of one temperature and start; particles do not interact, so they run as one cloud.

    Returns:
        The seeds' clouds at the end, [seeds, n, 3], the solution with the clouds it saved, and its timing.
    """
    duration = config.relaxation_times / rate
    step_size = min(config.max_step_size, config.langevin_step_per_temperature * temperature)
    num_steps = config.num_saves * int(np.ceil(duration / step_size / config.num_saves))
    setting = 2 * config.temperatures.index(temperature) + STARTS.index(kind)
    key_start, key_noise = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), setting))
    start = start_cloud(config, kind, key_start, config.num_seeds * config.num_particles)
    solution = ct.solve(
        ct.energies.Potential(potential(config), temperature=temperature),
        start,
        ct.flows.Langevin(step_size),
        num_steps=num_steps,
        key=key_noise,
        save_every=num_steps // config.num_saves,
        save=lambda cloud: cloud,
        **resumed_in(checkpoint, f"Langevin {temperature:g} {kind}"),
    )
    clouds = np.asarray(solution.clouds).reshape(config.num_seeds, config.num_particles, 3)
    return clouds, solution, timing(step_size, num_steps)


def timing(step_size: float, num_steps: int) -> dict[str, float]:
    return {"step_size": step_size, "steps": num_steps, "time": step_size * num_steps}


def run_flows(config: Config, temperature: float, kind: str, rate: float, checkpoint: Path | None):
    """The J flow of every seed with both kernels.

    Returns:
        The clouds [2, seeds, n, 3] and the run's timing.
    """
    kernels = (temperature, fitted_kernel_temperature(config, temperature))
    duration = min(config.relaxation_times / rate, config.max_flow_time)
    # Explicit steps are stable below 2/rate of the fastest mode, at most 4/(e·kernel temperature).
    step_size = min(config.max_step_size, 0.75 * min(kernels))
    num_steps = int(np.ceil(duration / step_size))
    flow = ct.flows.GradientFlow(step_size)

    def one(inputs):
        start, kernel_temperature = inputs
        energy = ct.energies.unimodal(
            potential(config), temperature=temperature, kernel=ct.kernels.Exponential(kernel_temperature)
        )
        return ct.evolve(energy, flow, flow.init(start), num_steps=num_steps).clouds

    keys = jax.random.split(jax.random.key(config.seed + 1), config.num_flow_seeds)
    starts = np.stack([start_cloud(config, kind, key, config.num_particles) for key in keys])
    inputs = np.concatenate([starts, starts]), np.repeat(kernels, config.num_flow_seeds)
    ends = ct.sweep(one, inputs, batch_size=1, **resumed_in(checkpoint, f"flows {temperature:g} {kind}"))
    return ends.reshape(2, *starts.shape), timing(step_size, num_steps)


def run_as_published(config: Config, checkpoint: Path | None) -> np.ndarray:
    """The published procedure at every τ, in its float32: clouds [τ, seeds, n, 3].

    Adam (5e-2) on free vectors, normalised in the loss mean U/τ + mean log of a density estimate by a
    geodesic Gaussian of 0.35 rad, the particle itself included; after each step every vector is moved
    by 0.06 times a normal draw.
    """
    kernel, optimizer = ct.kernels.GeodesicGaussian(0.35), optax.adam(5e-2)

    def one(inputs):
        temperature, seed = inputs
        key = jax.random.fold_in(jax.random.key(config.seed + 3), seed)
        energy = ct.energies.unimodal(potential(config), temperature=temperature, kernel=kernel)
        start = jax.random.normal(key, (config.num_particles, 3), jnp.float32)

        def step(carry, index):
            vectors, memory = carry
            gradient = jax.grad(lambda v: energy(ct.sphere.normalize(v)))(vectors)
            update, memory = optimizer.update(gradient, memory)
            noise = jax.random.normal(jax.random.fold_in(key, index), start.shape, start.dtype)
            return (vectors + update + 0.06 * noise, memory), None

        steps = jnp.arange(1, config.published_steps + 1, dtype=jnp.int32)
        (vectors, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), steps)
        return ct.sphere.normalize(vectors)

    shape = len(config.temperatures), config.num_published_seeds
    inputs = (
        np.repeat(np.array(config.temperatures, np.float32), shape[1]),
        np.tile(np.arange(shape[1], dtype=np.int32), shape[0]),
    )
    found = ct.sweep(one, inputs, progress="as published", **resumed_in(checkpoint, "as published"))
    return found.reshape(*shape, config.num_particles, 3)


def side_by_side(config: Config, clouds: np.ndarray, summary: dict, exact_rows: list[dict]) -> dict:
    """Mass in the caps at every τ: exact, by Langevin, by the published procedure and by its own code."""
    theirs = read_csv(Path(__file__).parent / "published" / "gibbs.csv")
    langevin = (summary["method"] == METHODS[0]) & (summary["start"] == "uniform")
    rows = []
    for index, row in enumerate(exact_rows):
        masses = np.array(
            [float(statistics(config, jnp.asarray(cloud))["cap_mass"]) for cloud in clouds[index]]
        )
        ours, same = langevin & (summary["tau"] == row["tau"]), np.isclose(theirs["tau"], row["tau"])
        rows.append(
            {
                "tau": row["tau"],
                "exact": row["cap_mass"],
                "langevin": summary["cap_mass"][ours][0],
                "langevin_standard_error": summary["standard_error"][ours][0],
                "as_published": masses.mean(),
                "as_published_standard_deviation": masses.std(ddof=1) if len(masses) > 1 else np.nan,
                "published_code": theirs["cap_mass_trained"][same].mean() if same.any() else np.nan,
            }
        )
    return columns(rows)


def rows_of(config: Config, gibbs, clouds, **facts) -> list[dict]:
    """A table row for each seed's cloud at the end of a run, with tests of it and of all seeds together."""
    u = np.asarray(potential(config)(jnp.asarray(clouds)))
    pooled = stats.kstest(u.ravel(), gibbs.potential_cdf).pvalue
    rows = []
    for seed, (cloud, values) in enumerate(zip(clouds, u, strict=True)):
        seen = {name: float(value) for name, value in statistics(config, jnp.asarray(cloud)).items()}
        p = stats.kstest(values, gibbs.potential_cdf).pvalue
        rows.append({**facts, "seed": seed, **seen, "ks_p": p, "ks_p_pooled": pooled})
    return rows


def relaxation(config: Config, reference, gibbs, solution, kind: str) -> dict[str, np.ndarray]:
    """F - F* = KL along a Langevin run, beside the exact Fokker-Planck curve and its late slope."""
    density, times = start_density(config, kind), np.asarray(solution.times)
    rate = reference.late_rate(density)
    keep = times <= 4.2 / rate
    bandwidth = 0.2
    exact = [
        gibbs.kl(
            ct.WeightedCloud(reference.nodes, reference.node_weights * rho / (reference.node_weights @ rho)),
            bandwidth=bandwidth,
        )
        for rho in reference.density(density, times[keep])
    ]
    floor = np.mean(
        [
            gibbs.kl(gibbs.sample(jax.random.key(s), len(solution.clouds)), bandwidth=bandwidth)
            for s in range(3)
        ]
    )
    return {
        "start": np.full(keep.sum(), kind),
        "time": times[keep],
        "kl_particles": np.array([gibbs.kl(c, bandwidth=bandwidth) for c in solution.saved[keep]]),
        "kl_smoothed_exact": np.array(exact),
        "kl_exact": reference.kl(density, times[keep]),
        "kl_floor_of_exact_samples": np.full(keep.sum(), floor),
        "late_slope": np.full(keep.sum(), -2 * rate),
    }


def relaxation_exact(reference, kind: str, times: np.ndarray, density) -> dict[str, np.ndarray]:
    """The exact KL at a hundred times, for a curve."""
    fine = np.linspace(0, times[-1], 101)
    return {"start": np.full(len(fine), kind), "time": fine, "kl": reference.kl(density, fine)}


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Every temperature, start and method; then the closer look at one temperature."""
    with jax.enable_x64(True):
        return _run(config, checkpoint)


def _run(config: Config, checkpoint: Path | None) -> Result:
    rows, exact_rows, arrays, relaxations, curves = [], [], {}, [], []
    langevin_ends, gibbs_samples = [], []
    bar = tqdm(total=len(config.temperatures) * len(STARTS), desc="unimodal Gibbs", unit="setting")
    for temperature in config.temperatures:
        gibbs = ct.gibbs.GibbsMeasure(potential(config), temperature=temperature, d=3)
        reference = ct.meanfield.FokkerPlanck(gibbs)
        exact_rows.append(exact_row(config, gibbs, reference))
        for kind in STARTS:
            new_rows, solution, ends = run_setting(config, gibbs, reference, kind, checkpoint)
            rows += new_rows
            if kind == "uniform":
                n = config.num_particles
                langevin_ends.append(solution.clouds[:n])
                gibbs_samples.append(gibbs.sample(jax.random.key(config.seed + 2), n))
            if temperature == config.closeup_temperature:
                relaxations.append(relaxation(config, reference, gibbs, solution, kind))
                density = start_density(config, kind)
                curves.append(relaxation_exact(reference, kind, relaxations[-1]["time"], density))
                n = config.num_particles
                arrays[f"langevin_{kind}"] = solution.saved[:, :n].astype(np.float32)
                arrays[f"times_{kind}"] = solution.times
                arrays[f"flow_{kind}"] = ends[:, 0].astype(np.float32)
            bar.update()
    bar.close()
    published = run_as_published(config, checkpoint)
    runs = columns(rows)
    summary = summarize(runs, exact_rows)
    tables = {
        "runs": runs,
        "exact": columns(exact_rows),
        "summary": summary,
        "side_by_side": side_by_side(config, published, summary, exact_rows),
    }
    arrays["langevin"], arrays["gibbs"] = (
        np.stack(a).astype(np.float32) for a in (langevin_ends, gibbs_samples)
    )
    arrays["published"] = published[:, 0]
    if relaxations:
        for name, parts in (("relaxation", relaxations), ("relaxation_exact", curves)):
            tables[name] = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    facts = {
        "closeup_temperature": config.closeup_temperature,
        "cap_radius": config.cap_radius,
        "well_concentration": config.well_concentration,
        "wells": wells().tolist(),
    }
    return Result(tables, arrays, facts)


def run_setting(config: Config, gibbs, reference, kind: str, checkpoint: Path | None):
    """Langevin and both J flows at one temperature from one start: rows, Langevin's solution, J's clouds."""
    temperature, rate = gibbs.temperature, reference.late_rate(start_density(config, kind))
    shared = {"tau": temperature, "start": kind}
    clouds, solution, took = run_langevin(config, temperature, kind, rate, checkpoint)
    rows = rows_of(config, gibbs, clouds, method=METHODS[0], **shared, **took)
    ends, took = run_flows(config, temperature, kind, rate, checkpoint)
    for method, clouds in zip(METHODS[1:], ends, strict=True):
        rows += rows_of(config, gibbs, clouds, method=method, **shared, **took)
    return rows, solution, ends


def exact_row(config: Config, gibbs, reference) -> dict[str, float]:
    """The exact figures of one temperature."""
    return {
        "tau": gibbs.temperature,
        "cap_mass": gibbs.cap_mass(wells(), radius=config.cap_radius),
        "mean_potential": gibbs.mean_potential,
        "log_partition_function": gibbs.log_partition_function,
        "entropy": gibbs.entropy,
        "spectral_gap": reference.spectral_gap,
    }


def summarize(runs: dict[str, np.ndarray], exact_rows: list[dict]) -> dict[str, np.ndarray]:
    """Mean over seeds, standard error, distance to the exact value in errors, and tests passed."""
    rows = []
    for row in exact_rows:
        for kind, method in product(STARTS, METHODS):
            pick = (runs["tau"] == row["tau"]) & (runs["start"] == kind) & (runs["method"] == method)
            cap, well = runs["cap_mass"][pick], runs["first_well"][pick]
            spread = cap.std(ddof=1) if len(cap) > 1 else 0.0
            error = spread / np.sqrt(len(cap)) if spread else np.nan
            rows.append(
                {
                    "tau": row["tau"],
                    "start": kind,
                    "method": method,
                    "exact": row["cap_mass"],
                    "cap_mass": cap.mean(),
                    "standard_error": error,
                    "errors_off": (cap.mean() - row["cap_mass"]) / error,
                    "first_well": well.mean(),
                    "ks_passed": (runs["ks_p"][pick] > 0.05).sum(),
                    "seeds": pick.sum(),
                    "ks_p_pooled": runs["ks_p_pooled"][pick][0],
                    "step_size": runs["step_size"][pick][0],
                    "time": runs["time"][pick][0],
                }
            )
    return columns(rows)


if __name__ == "__main__":
    main(name="unimodal_gibbs", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
