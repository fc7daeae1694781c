"""A page of two modalities whose latents lie on a ring, below the critical temperature, from two starts.

Mirror-image starts part into two parallel rings, 2√(1 - τ/τ*) apart; rings that start at equal heights stay
together, at the same energy (`ctflow.claims.ring`). The surface shows what the first cloud feels of the
second: log Γ(z), the logarithm of the mean of exp(⟨z, y⟩/τ) over the second cloud, which drives the first
away from where it is high.

    python experiments/ring_view.py --out figures
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import ctflow as ct
from ctflow import io
from ctflow._base.checks import check_choice
from ctflow.claims import ring
from ctflow.viewing import View

SIGMA, RATIO = 0.7, 0.4
"""Blur of the pairs in radians; temperature over the critical one."""
STARTS = {"mirror images": (0.15, -0.15), "equal heights": (0.15, 0.15)}
"""Heights of the two rings at the start."""
SIZES = {"paper": (128, 600), "smoke": (24, 40)}
"""Particles per cloud, and steps, by preset."""
FRAMES = 60
NOISE = 0.01


@dataclass(frozen=True)
class Options:
    """What to run, and where to."""

    preset: Annotated[str, tyro.conf.arg(help="paper or smoke")] = "paper"
    out: Annotated[Path, tyro.conf.arg(help="the page is OUT/ring/view.html")] = Path("runs")


def start(heights: tuple[float, float], n: int) -> ct.Pair:
    """Two rings at these heights, slightly disturbed, lest they be exactly symmetric."""
    angle = 2 * np.pi * np.arange(n) / n
    rng = np.random.default_rng(0)

    def at(height: float) -> Any:
        plane = np.sqrt(1 - height**2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        z = np.column_stack([plane, np.full(n, height)]) + NOISE * rng.standard_normal((n, 3))
        return jnp.asarray(z / np.linalg.norm(z, axis=1, keepdims=True))

    return ct.Pair(at(heights[0]), at(heights[1]))


def simulate(heights: tuple[float, float], n: int, num_steps: int) -> ct.Solution:
    """The gradient flow of J^Sym from one start, with its clouds."""
    tau = RATIO * ring.critical_temperature(SIGMA)
    energy = ct.energies.symmetric(ct.couplings.complete(jnp.asarray(ring.law(n, SIGMA))), temperature=tau)
    return ct.solve(
        energy,
        start(heights, n),
        ct.flows.GradientFlow(step_size=0.02),
        num_steps=num_steps,
        save_every=num_steps // FRAMES or 1,
        save=ct.saving.frames(energy),
    )


def page(preset: str) -> View:
    """Both starts side by side."""
    tau = RATIO * ring.critical_temperature(SIGMA)
    kernel = ct.kernels.Exponential(tau)

    @jax.jit
    def felt(z: Any, clouds: ct.Pair) -> Any:
        return ct.log_partition(z, clouds.y, kernel)

    with jax.enable_x64(True):
        runs = [simulate(heights, *SIZES[preset]) for heights in STARTS.values()]
        return ct.view(
            runs,
            labels=[f"start: {name}" for name in STARTS],
            names=("first modality", "second modality"),
            surface=felt,
            surface_name="log Γ of the second modality, which repels the first",
            title=f"Latents on a ring at {RATIO:g} of the critical temperature: the start decides on the gap",
        )


def write(out: Path, preset: str) -> Path:
    """Write the page into the folder `ring`; returns its path."""
    check_choice("--preset", preset, tuple(SIZES))
    path = io.prepare_folder(out / "ring") / "view.html"
    page(preset).save(path)
    return path


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    options = tyro.cli(Options, args=argv, description=__doc__, prog="ring_view.py")
    print(f"wrote {write(options.out, options.preset)}")


if __name__ == "__main__":
    main()
