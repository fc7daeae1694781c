"""What the paper's numerical section costs here, in CPU seconds, beside the published PyTorch code.

The published code's costs were measured once on a CPU core: 64 s a unimodal run (140 of them), 6.1 s a run
of the toy (168), 5 s for the gradients. Here every experiment of the section runs whole, with its figures
left out. If PyTorch is installed, an eager loop of the toy's minibatch training (the same batches' size,
loss and optimizer) is timed on one run in the same process, and scaled to the toy's runs.

    python benchmarks/bench_paper.py --preset paper --out benchmarks/results
"""

import importlib
import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ctflow import plotting as pl
from ctflow.checks import check_count
from ctflow.experiment import Result, columns, main
from experiments import reproduce

PUBLISHED = {
    "large_batch_consistency": 5.0,
    "unimodal_gibbs": 64.0 * 140,
    "multimodal_toy": 6.1 * 168,
}


@dataclass(frozen=True)
class Config:
    """Settings."""

    experiments_preset: str = "paper"
    torch_steps: int = 500

    def __post_init__(self):
        check_count("torch_steps", self.torch_steps)


PRESETS = {"paper": Config(), "smoke": Config(experiments_preset="smoke", torch_steps=20)}


def torch_toy_seconds(steps: int) -> float:
    """CPU seconds of one step of the toy's training in eager PyTorch, with one thread."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    encoders = [torch.nn.Linear(2, 2, bias=False) for _ in range(2)]
    optimizer = torch.optim.Adam([p for e in encoders for p in e.parameters()], lr=5e-3)
    von_mises = torch.distributions.VonMises(torch.tensor(0.0), torch.tensor(6.0))
    labels = torch.arange(256)

    def step() -> None:
        theta = von_mises.sample((256,)) + torch.pi * (torch.rand(256) > 0.7)
        angles = theta, theta + 0.5 * torch.randn(256)
        features = (torch.stack([torch.cos(a), torch.sin(a)], 1) + 0.02 * torch.randn(256, 2) for a in angles)
        images = (e(f) for e, f in zip(encoders, features, strict=True))
        z, w = (torch.nn.functional.normalize(image, dim=1) for image in images)
        scores = z @ w.T / 0.07
        cross_entropy = torch.nn.functional.cross_entropy
        loss = (cross_entropy(scores, labels) + cross_entropy(scores.T, labels)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(5):
        step()
    started = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - started) / steps


def run(config: Config) -> Result:
    """Time every experiment of the section, then PyTorch."""
    rows: list[dict[str, Any]] = []
    for name, published in PUBLISHED.items():
        module = reproduce.module_of(name)
        wall, cpu = time.perf_counter(), time.process_time()
        module.run(module.PRESETS[config.experiments_preset])
        rows.append(
            {
                "experiment": name,
                "seconds": time.perf_counter() - wall,
                "cpu_seconds": time.process_time() - cpu,
                "published_cpu_seconds": published,
            }
        )
    table = columns(rows)
    facts: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "preset": config.experiments_preset,
        "seconds": table["seconds"].sum(),
        "times_less_cpu": table["published_cpu_seconds"].sum() / table["cpu_seconds"].sum(),
    }
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: left out")
    else:
        facts["torch_toy_cpu_seconds_of_160_runs"] = torch_toy_seconds(config.torch_steps) * 2000 * 160
    print(table, facts, sep="\n")
    return Result({"bench_paper": table}, {}, facts)


@pl.styled
def plot(result: Result) -> dict[str, pl.Picture]:
    """CPU seconds of every experiment, here and published."""
    table = result.tables["bench_paper"]
    figure, axes = pl.panels(1, 1, size=(5.6, 2.4))
    ax, rows = axes[0, 0], np.arange(len(table["experiment"]))
    ax.barh(rows - 0.2, table["cpu_seconds"], height=0.4, color=pl.BLUE, label="ctflow")
    ax.barh(rows + 0.2, table["published_cpu_seconds"], height=0.4, color=pl.ORANGE, label="published code")
    ax.set_yticks(rows, table["experiment"])
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel("CPU seconds")
    ax.set_title(f"whole section: {result.facts['times_less_cpu']:.1f} times less CPU")
    ax.legend()
    return {"bench_paper.png": pl.Picture(figure)}


if __name__ == "__main__":
    main(name="bench_paper", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
