"""What a sweep of flows costs: 140 runs of the J_τ flow, here and as an eager PyTorch loop of the same flow.

7 temperatures × 20 seeds of 768 particles on S² in a two-well potential, 500 exponential Euler steps each,
in float32. PyTorch (optional) takes the same steps with autograd, at the number of threads it is fastest
with; its time is measured on a few steps a temperature and scaled to the sweep. Both end in the same
clouds, which is checked.

    python benchmarks/bench_flow.py --preset paper --out benchmarks/results
"""

import importlib
import importlib.util
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow import plotting as pl
from ctflow.experiment import Result, main

CONCENTRATION = 12.0
STEP_SIZE = 5e-3


@dataclass(frozen=True)
class Config:
    """Settings: times are of the whole sweep."""

    temperatures: tuple[float, ...] = (10.0, 5.0, 2.5, 1.0, 0.5, 0.2, 0.1)
    num_seeds: int = 20
    num_particles: int = 768
    num_steps: int = 500
    torch_steps: int = 100


PRESETS = {
    "paper": Config(),
    "smoke": Config(temperatures=(1.0, 0.1), num_seeds=2, num_steps=10, torch_steps=5),
}


def wells() -> np.ndarray:
    """Two unit vectors 120° apart."""
    return np.array([[0.0, 0.0, 1.0], [np.sqrt(0.75), 0.0, -0.5]], np.float32)


def starts(config: Config) -> jax.Array:
    """One uniform cloud a seed, [seeds, n, 3]."""
    keys = jax.random.split(jax.random.key(0), config.num_seeds)
    return jax.vmap(lambda key: ct.sphere.uniform(key, config.num_particles, 3, jnp.float32))(keys)


def sweep(config: Config, method: str) -> tuple[np.ndarray, float, float]:
    """Final clouds [runs, n, 3], wall and CPU seconds of the whole sweep, compilation included."""
    potential = ct.potentials.VonMisesFisherMixture(jnp.asarray(wells()), concentration=CONCENTRATION)
    flow = ct.flows.GradientFlow(STEP_SIZE)
    degrees = (24, 32) if method == "spectral" else None

    def run(inputs: Any) -> Any:
        tau, start = inputs
        kernel = ct.partition.Planned(ct.kernels.Exponential(tau), degrees=degrees)
        energy = ct.energies.unimodal(potential, temperature=tau, kernel=kernel)
        return ct.evolve(energy, flow, flow.init(start), num_steps=config.num_steps).clouds

    taus = np.repeat(np.array(config.temperatures, np.float32), config.num_seeds)
    clouds = np.tile(np.asarray(starts(config)), (len(config.temperatures), 1, 1))
    wall, cpu = time.perf_counter(), time.process_time()
    ends = ct.sweep(run, (taus, clouds), progress=f"ctflow {method}")
    return ends, time.perf_counter() - wall, time.process_time() - cpu


def torch_flow(torch: Any, start: np.ndarray, tau: float, num_steps: int) -> np.ndarray:
    """The same steps, eagerly: J_τ by autograd, velocity with its factor n, exponential map."""
    z, means = torch.tensor(start), torch.tensor(wells())
    n = z.shape[0]
    for _ in range(num_steps):
        z.requires_grad_(True)
        potential = -torch.logsumexp(CONCENTRATION * z @ means.T, 1) / CONCENTRATION
        entropy = torch.logsumexp(z @ z.T / tau, 1)
        (gradient,) = torch.autograd.grad((potential / tau + entropy).mean(), z)
        with torch.no_grad():
            v = -STEP_SIZE * n * (gradient - (gradient * z).sum(1, keepdim=True) * z)
            angle = v.norm(dim=1, keepdim=True)
            z = torch.cos(angle) * z + torch.sinc(angle / torch.pi) * v
            z = z / z.norm(dim=1, keepdim=True)
    return z.numpy()


def torch_seconds(config: Config) -> tuple[float, int]:
    """Seconds of the whole sweep in PyTorch, and the number of threads that is fastest."""
    torch = importlib.import_module("torch")
    start = np.asarray(starts(config)[0])

    def per_step(threads: int) -> float:
        torch.set_num_threads(threads)
        torch_flow(torch, start, 1.0, 3)
        times = []
        for tau in config.temperatures:
            begin = time.perf_counter()
            torch_flow(torch, start, tau, config.torch_steps)
            times.append((time.perf_counter() - begin) / config.torch_steps)
        return float(np.mean(times))

    counts = sorted({1, os.cpu_count() or 1})
    best, threads = min((per_step(count), count) for count in counts)
    return best * config.num_steps * len(config.temperatures) * config.num_seeds, threads


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Times of the sweep by each method."""
    rows: list[tuple[str, float, float]] = []
    facts: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "runs": config.num_seeds * len(config.temperatures),
    }
    ends = {}
    for method in ("spectral", "exact"):
        ends[method], wall, cpu = sweep(config, method)
        rows.append((f"ctflow {method}", wall, cpu))
    facts["largest_distance_spectral_exact"] = float(np.abs(ends["spectral"] - ends["exact"]).max())
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: left out")
    else:
        seconds, threads = torch_seconds(config)
        rows.append((f"PyTorch ({threads} threads)", seconds, float("nan")))
        short = np.asarray(ends["exact"][0])
        torch = importlib.import_module("torch")
        same = torch_flow(torch, np.asarray(starts(config)[0]), config.temperatures[0], config.num_steps)
        facts["largest_distance_to_torch"] = float(np.abs(same - short).max())
        facts["times_faster_than_torch"] = {name: seconds / wall for name, wall, _ in rows[:2]}
    names, walls, cpus = zip(*rows, strict=True)
    table = {"method": np.array(names), "seconds": np.array(walls), "cpu_seconds": np.array(cpus)}
    print("\n".join(f"{name:24} {wall:8.1f} s" for name, wall, _ in rows), facts, sep="\n")
    return Result({"bench_flow": table}, {}, facts)


@pl.styled
def plot(result: Result) -> dict[str, pl.Picture]:
    """Seconds of the sweep, a bar a method."""
    table = result.tables["bench_flow"]
    figure, axes = pl.panels(1, 1, size=(4.6, 1.9))
    ax = axes[0, 0]
    ax.barh(table["method"], table["seconds"].astype(float), color=pl.BLUE)
    ax.invert_yaxis()
    ax.set_xlabel("seconds for the whole sweep, compilation included")
    ax.set_title(f"{result.facts['runs']} runs of the $J_τ$ flow")
    return {"bench_flow.png": pl.Picture(figure)}


if __name__ == "__main__":
    main(
        name="bench_flow",
        presets=PRESETS,
        run=run,
        plot=plot,
        description=__doc__ or "",
    )
