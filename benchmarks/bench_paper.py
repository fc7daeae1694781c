"""What the paper's numerical section costs here, in CPU seconds, beside the published PyTorch code.

The published code's costs were measured once on a CPU core: 64 s a unimodal run (140 of them), 6.1 s a run
of the toy (168), 5 s for the gradients. Here every experiment of the section runs whole, with its figures
left out. If PyTorch is installed, the published procedures are timed beside it, in the same process and in
one thread, as the eager loops of `published_in_torch.py`, over some steps, and scaled to the paper's runs.

The work is not the same on both sides: ctflow's unimodal experiment samples with Langevin particles at the
paper's 20 seeds, and runs the published procedure at only 2 seeds per temperature; on the other hand it and
the other two do what the published code does not (exact references, true limits, population objective).

    python benchmarks/bench_paper.py --preset paper --out benchmarks/results
"""

import importlib
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ctflow import plotting as pl
from ctflow._base.checks import check_count
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


def torch_seconds(steps: int) -> dict[str, float]:
    """CPU seconds of the paper's runs in eager PyTorch here, NaN where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: left out")
        return dict.fromkeys(PUBLISHED, np.nan)
    return importlib.import_module("benchmarks.published_in_torch").seconds_of_section(steps)


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Time every experiment of the section, and PyTorch."""
    rows: list[dict[str, Any]] = []
    in_torch = torch_seconds(config.torch_steps)
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
                "torch_cpu_seconds": in_torch[name],
            }
        )
    table = columns(rows)
    ours = table["cpu_seconds"].sum()
    facts: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "preset": config.experiments_preset,
        "seconds": table["seconds"].sum(),
        "times_less_cpu": table["published_cpu_seconds"].sum() / ours,
        "times_less_cpu_than_torch_here": table["torch_cpu_seconds"].sum() / ours,
    }
    print(table, facts, sep="\n")
    return Result({"bench_paper": table}, {}, facts)


@pl.styled
def plot(result: Result) -> dict[str, pl.Picture]:
    """CPU seconds of every experiment, here and published."""
    table = result.tables["bench_paper"]
    figure, axes = pl.panels(1, 1, size=(5.6, 2.9))
    ax, rows = axes[0, 0], np.arange(len(table["experiment"]))
    bars = (
        ("cpu_seconds", "ctflow", pl.BLUE),
        ("torch_cpu_seconds", "published procedure, PyTorch here", pl.GREY),
        ("published_cpu_seconds", "published code, measured once", pl.ORANGE),
    )
    for shift, (name, label, color) in zip((-0.27, 0, 0.27), bars, strict=True):
        ax.barh(rows + shift, table[name], height=0.26, color=color, label=label)
    ax.set_yticks(rows, table["experiment"])
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel("CPU seconds")
    ax.set_title(f"whole section: {result.facts['times_less_cpu']:.1f} times less CPU")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7)
    return {"bench_paper.png": pl.Picture(figure)}


if __name__ == "__main__":
    main(name="bench_paper", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
