"""Figures of the multimodal toy, drawn from its saved result alone."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result
from ctflow.latents import wrap

ENCODERS, PARTICLES = ("minibatches", "population"), ("particles from trained", "particles from start")
METHODS = ENCODERS + PARTICLES
COLORS = dict(zip(METHODS, (pl.BLUE, pl.GREEN, pl.RED, pl.PURPLE), strict=True))
MARKERS = dict(zip(METHODS, "osv^", strict=True))
MODALITIES = (("first modality", pl.BLUE), ("second modality", pl.ORANGE))


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    return {
        "gap_against_misalignment.png": plot_gap(result),
        "collapsed_runs.png": plot_collapse(result),
        "polar_densities.png": plot_polar(result),
        "joint_angles.png": plot_joint(result),
        "angle_shift.png": plot_shift(result),
        "joint_angles.gif": animate(result),
    }


def _samples(result: Result, method: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """σ and a column of one method's runs as [σ, seeds]."""
    runs, sigmas = result.tables["runs"], result.tables["summary"]["sigma"]
    return sigmas, runs[name][runs["method"] == method].reshape(-1, len(sigmas)).T


def plot_gap(result: Result) -> pl.Picture:
    """The published curve taken apart, and the divergence that the energy itself contains."""
    summary = result.tables["summary"]
    figure, axes = pl.panels(2, 2, size=(7.2, 6.0))
    (medians, means), (exact, energy) = axes
    sigma, gap = _samples(result, METHODS[0], "gap")
    pl.band(medians, sigma, gap, color=pl.BLUE, label="minibatches", shown=(0.25, 0.5, 0.75))
    for shift, prefix, marker, label in (
        (0.008, "published", "D", "published code, 20 seeds"),
        (0.016, "all_published", "o", "published procedure, 80 seeds"),
    ):
        middle, low, high = (summary[f"{prefix}_{name}"] for name in ("median", "q25", "q75"))
        style: dict = {"fmt": marker, "color": "black", "markersize": 3, "linewidth": 1}
        errors = np.stack([middle - low, high - middle])
        medians.errorbar(sigma + shift, middle, yerr=errors, markerfacecolor="white", label=label, **style)
    medians.plot(sigma, summary["floor"], color=pl.GREY, linestyle=":", label="two samples of one law")
    medians.set_title(f"published measure, {result.facts['num_bins']} bins: median, quartiles")
    for name, color, label in (
        ("minibatches_gap", pl.BLUE, "minibatches"),
        ("published", "black", "published code"),
    ):
        mean, error = summary[f"{name}_mean"], summary[f"{name}_sem"]
        means.errorbar(sigma, mean, yerr=error, color=color, fmt="o", capsize=2, label=label)
    means.set_title("the same: mean ± SE, carried by collapsed runs")
    exact.plot(sigma, summary["minibatches_exact_gap"], color=pl.BLUE, marker="o", label="minibatches")
    exact.plot(sigma, summary["population_exact_gap"], color=pl.GREEN, marker="s", label="population")
    dashed = {"color": pl.ORANGE, "linestyle": "--", "label": "the data, not encoded"}
    exact.plot(sigma, summary["data_exact_gap"], **dashed)
    exact.set_title("KL both ways of the exact densities: median")
    for method in METHODS:
        sigma, values = _samples(result, method, "divergence")
        style = {"color": COLORS[method], "marker": MARKERS[method], "label": method}
        pl.band(energy, sigma, values, shown=(0.25, 0.5, 0.75), **style)
    energy.plot(sigma, summary["data_divergence"], **dashed)
    energy.set_title("in the energy: D̃(1‖2) + D̃(2‖1) at τ")
    for ax, floor in zip(axes.ravel(), (2e-3, 5e-3, 1e-4, 1e-6), strict=True):
        ax.set(yscale="log", xlabel="misalignment σ (radians)", ylabel="nats")
        ax.set_ylim(bottom=floor)
        ax.legend(fontsize=7)
    energy.set_xlabel("misalignment σ (radians); below 1e-6 not shown")
    exact.set_xlabel("misalignment σ (radians); below 1e-4 not shown")
    return pl.Picture(figure)


def plot_collapse(result: Result) -> pl.Picture:
    """Runs whose encoders collapsed to a line: their gap, and that the energy likes them at large σ."""
    runs, summary = result.tables["runs"], result.tables["summary"]
    figure, axes = pl.panels(1, 2, size=(7.0, 3.3))
    left, right = axes[0]
    for method in ENCODERS:
        pick = runs["method"] == method
        left.scatter(
            runs["condition"][pick],
            runs["exact_gap"][pick],
            s=12,
            color=COLORS[method],
            alpha=0.6,
            label=method,
        )
    left.axvline(result.facts["collapse_condition"], color=pl.GREY, linestyle=":", label="called collapsed")
    left.set_xscale("log")
    left.set_yscale("symlog", linthresh=1e-4)
    left.set_ylim(-2e-5, 100)
    left.set_xlabel("condition number of the worse encoder")
    left.set_ylabel("exact gap: KL both ways (nats)")
    left.legend(loc="lower right")
    clean = (runs["method"] == METHODS[1]) & (runs["collapsed"] == 0)
    sigmas = summary["sigma"]
    right.plot(
        sigmas,
        [np.min(runs["energy"][clean & (runs["sigma"] == s)], initial=np.inf) for s in sigmas],
        color=COLORS[METHODS[1]],
        marker="s",
        label="encoders, full rank",
    )
    collapsed = (runs["method"] == METHODS[1]) & (runs["collapsed"] == 1)
    right.scatter(
        runs["sigma"][collapsed],
        runs["energy"][collapsed],
        marker="x",
        color=pl.ORANGE,
        label="encoders, collapsed",
    )
    for method in PARTICLES:
        _, energy = _samples(result, method, "energy")
        right.plot(sigmas, energy.min(axis=1), color=COLORS[method], marker=MARKERS[method], label=method)
    right.plot(sigmas, summary["bound"], color="black", linestyle="--", label="bound −I(π)")
    right.set_xlabel("misalignment σ (radians)")
    right.set_ylabel("J$^{Sym}$ + log V (nats)")
    right.legend(loc="best", fontsize=7)
    return pl.Picture(figure)


def _angles(result: Result, frame: int) -> np.ndarray:
    """Angles of both modalities of the shown seed at a save, [σ, 2, n]."""
    encoders = result.arrays["encoders"][:, frame]
    images = np.einsum("smij,smnj->smni", encoders, result.arrays["features"])
    return np.arctan2(images[..., 1], images[..., 0])


def _sigma_panels(
    result: Result, columns: int, size: tuple[float, float], projection: str | None = None
) -> Any:
    """A figure with an axes for every σ, and (axes, σ, index) of each."""
    sigmas = result.tables["summary"]["sigma"]
    rows = -(-len(sigmas) // columns)
    figure, axes = pl.panels(rows, columns, size=(size[0], size[1] * rows), projection=projection)
    for ax in axes.ravel()[len(sigmas) :]:
        ax.set_axis_off()
    return figure, list(zip(axes.ravel(), sigmas, range(len(sigmas)), strict=False))


def plot_polar(result: Result) -> pl.Picture:
    """Densities of both modalities' angles after training, one seed, every σ."""
    angles = _angles(result, -1)
    figure, panels = _sigma_panels(result, 4, (7.0, 2.1), "polar")
    for ax, sigma, index in panels:
        for sample, (label, color) in zip(angles[index], MODALITIES, strict=True):
            pl.polar_density(ax, sample, bins=40, color=color, label=label)
        ax.set_title(f"σ = {sigma:g}", pad=4)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle("density of the representations' angles after training")
    return pl.Picture(figure)


def _draw_joint(ax: Any, angles: np.ndarray, title: str, edge: tuple[bool, bool]) -> None:
    pl.joint_histogram(ax, *angles, bins=80)
    ax.set_title(title)
    ticks = [-np.pi, 0, np.pi]
    ax.set_xticks(ticks, ["−π", "0", "π"] if edge[0] else [])
    ax.set_yticks(ticks, ["−π", "0", "π"] if edge[1] else [])


def _draw_all_joints(panels: list, angles: np.ndarray) -> None:
    for ax, sigma, index in panels:
        _draw_joint(ax, angles[index], f"σ = {sigma:g}", (index + 4 >= len(panels), index % 4 == 0))


def _label_joints(figure: Any) -> None:
    figure.supxlabel("angle in the first modality (radians)", fontsize=9)
    figure.supylabel("angle in the second (radians)", fontsize=9)


def plot_joint(result: Result) -> pl.Picture:
    """Joint histograms of the two modalities' angles after training, one seed, every σ."""
    figure, panels = _sigma_panels(result, 4, (7.0, 1.95))
    _draw_all_joints(panels, _angles(result, -1))
    _label_joints(figure)
    figure.suptitle("pairs' angles after training; brighter: more pairs, log(1 + count)")
    return pl.Picture(figure)


def plot_shift(result: Result) -> pl.Picture:
    """Density of the angle between paired representations, one seed, every σ."""
    figure, axes = pl.panels(1, 1, size=(4.6, 3.0))
    sigmas = result.tables["summary"]["sigma"]
    for color, sigma, (a, b) in zip(pl.shades(len(sigmas)), sigmas, _angles(result, -1), strict=True):
        density, edges = np.histogram(wrap(b - a), bins=60, range=(-np.pi, np.pi), density=True)
        axes[0, 0].plot(
            (edges[:-1] + edges[1:]) / 2, np.maximum(density, 1e-4), color=color, label=f"σ = {sigma:g}"
        )
    axes[0, 0].set_xlabel("angle from the first to the second of a pair (radians)")
    axes[0, 0].set_ylabel("density (1/radian)")
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylim(1e-3, 10)
    axes[0, 0].legend()
    return pl.Picture(figure)


def animate(result: Result) -> pl.Movie:
    """The joint histograms along the training."""
    steps = result.arrays["steps"]
    frames = np.unique(np.geomspace(1, len(steps), 36).astype(int)) - 1
    figure, panels = _sigma_panels(result, 4, (7.0, 2.0))
    _label_joints(figure)

    def draw(frame: int) -> None:
        for ax, _, _ in panels:
            ax.clear()
        _draw_all_joints(panels, _angles(result, frames[frame]))
        figure.suptitle(f"pairs' angles, step {steps[frames[frame]]}")

    return pl.Movie(figure, draw, frames=len(frames), fps=8)
