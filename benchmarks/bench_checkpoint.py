"""What checkpoints cost: one flow with a checkpoint at every save, and without any, in turns.

n particles on S² descend a smoothed entropy in a potential, in float32, looked at every 10 steps. With
`checkpoint=` every look writes the state to disk, forces it there and reads nothing back; the rule that puts
a checkpoint off while it would take more than a fortieth of the run's time is switched off.

    python benchmarks/bench_checkpoint.py --preset paper --out benchmarks/results
"""

import tempfile
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
from ctflow.storage import checkpoints


@dataclass(frozen=True)
class Config:
    """Settings."""

    num_particles: tuple[int, ...] = (10_000, 100_000)
    num_steps: int = 100
    save_every: int = 10
    repeats: int = 5


PRESETS = {
    "paper": Config(),
    "smoke": Config(num_particles=(1000,), num_steps=20, repeats=1),
}


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Seconds of the run with and without checkpoints, in turns; and those of writing alone."""
    share, checkpoints._SHARE = checkpoints._SHARE, float("inf")
    try:
        rows = [row for n in config.num_particles for row in times(config, n)]
    finally:
        checkpoints._SHARE = share
    table: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    facts = {"device": jax.devices()[0].device_kind}
    for n in config.num_particles:
        of = table["n"] == n
        cost = float(np.median(table["writing_seconds"][of]) / np.median(table["seconds_without"][of]))
        facts[f"writing_over_run_{n}"] = cost
        facts[f"seconds_with_over_without_{n}"] = float(np.median(table["ratio"][of]))
    print(facts)
    return Result({"bench_checkpoint": table}, {}, facts)


def times(config: Config, n: int) -> list[dict[str, float]]:
    """A row for each repeat."""
    start = ct.sphere.uniform(jax.random.key(0), n, 3, jnp.float32)
    energy = ct.energies.unimodal(ct.potentials.Linear(jnp.eye(3)[0]), temperature=0.3)
    written = 0.0
    write = checkpoints.Store.write

    def timed(store: Any, *words: Any, **options: Any) -> bool:
        nonlocal written
        begin = time.perf_counter()
        done = write(store, *words, **options)
        written += time.perf_counter() - begin
        return done

    def seconds(**options: Any) -> float:
        begin = time.perf_counter()
        ct.solve(
            energy,
            start,
            ct.flows.GradientFlow(0.02),
            num_steps=config.num_steps,
            save_every=config.save_every,
            **options,
        )
        return time.perf_counter() - begin

    seconds()  # compiles
    setattr(checkpoints.Store, "write", timed)  # noqa: B010
    rows = []
    try:
        for _ in range(config.repeats):
            without = seconds()
            written = 0.0
            with tempfile.TemporaryDirectory(dir=".") as folder:
                with_them = seconds(checkpoint=folder)
            rows.append(
                {
                    "n": n,
                    "seconds_without": without,
                    "seconds_with": with_them,
                    "writing_seconds": written,
                    "ratio": with_them / without,
                }
            )
    finally:
        setattr(checkpoints.Store, "write", write)  # noqa: B010
    return rows


@pl.styled
def plot(result: Result) -> dict[str, pl.Picture]:
    """Share of the run that writing takes, a dot a repeat."""
    table = result.tables["bench_checkpoint"]
    figure, axes = pl.panels(1, 1, size=(4.0, 2.4))
    ax = axes[0, 0]
    ax.plot(table["n"], 100 * table["writing_seconds"] / table["seconds_without"], "o", color=pl.BLUE)
    ax.axhline(3, color="0.6", linewidth=1, linestyle="--")
    ax.set(xscale="log", xlabel="particles", ylabel="writing, % of the run's time", ylim=(0, None))
    ax.set_title("a checkpoint at every save (dashed: 3 %)")
    return {"bench_checkpoint.png": pl.Picture(figure)}


if __name__ == "__main__":
    main(name="bench_checkpoint", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
