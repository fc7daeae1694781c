"""Figures of gap formation: gap against heterogeneity, energy and its bound, terms, clouds."""

from itertools import product

import numpy as np

from ctflow import plotting as pl
from ctflow.clouds import Pair
from ctflow.experiment import Result
from ctflow.viewing import View, as_run, view

COLORS = {"same place": pl.BLUE, "random": pl.GREEN, "opposite cones": pl.RED}
MARKERS = dict(zip(COLORS, "osv", strict=True))
MODALITIES = {"x": ("first modality", pl.BLUE), "y": ("second modality", pl.ORANGE)}
VIEW = (28.0, 40.0)


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    return {
        "gap_against_heterogeneity.png": plot_gap(result),
        "energy_against_bound.png": plot_energy(result),
        "terms.png": plot_terms(result),
        "clouds.png": plot_clouds(result),
        "gap_formation.gif": animate(result),
        "view.html": interactive(result),
    }


def plot_gap(result: Result) -> pl.Picture:
    """Energy distance and centroid gap against σ, a line for each start, a column for each dimension."""
    runs = result.tables["runs"]
    dims = np.unique(runs["d"])
    figure, axes = pl.panels(2, len(dims), size=(2.4 * len(dims), 4.3), sharey=True)
    names = {"energy_distance": "energy distance", "centroid_gap": "centroid gap"}
    for (row, (name, title)), (column, d) in product(enumerate(names.items()), enumerate(dims)):
        ax = axes[row, column]
        for kind in COLORS:
            sigma, samples = _by_sigma(runs, d, kind, name)
            pl.band(ax, sigma, samples, color=COLORS[kind], marker=MARKERS[kind], label=kind)
        ax.set_ylim(bottom=-0.05)
        if row == 0:
            ax.set_title(f"d = {d}" + (" (circle)" if d == 2 else " (S²)" if d == 3 else ""))
        else:
            ax.set_xlabel("heterogeneity σ (radians)")
        if column == 0:
            ax.set_ylabel(f"{title} at the end")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), title="start", loc="outside upper center", ncols=3)
    return pl.Picture(figure)


def _by_sigma(runs: dict, d: int, kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """σ and the values of all seeds, [σ, seeds]."""
    pick = (runs["d"] == d) & (runs["start"] == kind)
    sigmas = np.unique(runs["sigma"][pick])
    return sigmas, np.stack([runs[name][pick & (runs["sigma"] == sigma)] for sigma in sigmas])


def plot_energy(result: Result) -> pl.Picture:
    """How far J^Sym + log V is above its bound -I(π) at the end."""
    runs = result.tables["runs"]
    dims = np.unique(runs["d"])
    figure, axes = pl.panels(1, len(dims), size=(2.4 * len(dims), 2.7), sharey=True)
    for ax, d in zip(axes[0], dims, strict=True):
        for kind in COLORS:
            sigma, samples = _by_sigma(runs, d, kind, "energy")
            excess = samples - _by_sigma(runs, d, kind, "bound")[1]
            pl.band(ax, sigma, excess, color=COLORS[kind], marker=MARKERS[kind], label=kind)
        ax.set(yscale="log", xlabel="heterogeneity σ (radians)", title=f"d = {d}")
    axes[0, 0].set_ylabel("J$^{Sym}$ + log V + I(π) at the end (nats)", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), title="start", loc="outside upper center", ncols=3)
    return pl.Picture(figure)


def plot_terms(result: Result) -> pl.Picture:
    """The terms of J^Sym and the gap along two runs from the same place, σ = 0 and σ = 0.5."""
    figure, axes = pl.panels(2, 2, size=(6.6, 4.6), sharey=True)
    for column, sigma in enumerate((0.0, 0.5)):
        t = result.tables[f"terms_sigma_{sigma}"]
        step = np.maximum(t["step"], 1)
        log_volume = (t["energy"] - _split(t))[0]
        top, bottom = axes[0, column], axes[1, column]
        free = (t["free_energy_12"] + t["free_energy_21"]) / 2
        divergence = -(t["divergence_12"] + t["divergence_21"]) / 2
        top.plot(step, free + log_volume, color=pl.BLUE, label="free energies ½(F̃₁₂+F̃₂₁) + log V")
        top.plot(step, divergence, color=pl.RED, label="−divergence −½(D̃₁₂+D̃₂₁)")
        top.plot(step, t["energy"], color="black", linestyle="--", label="their sum, J$^{Sym}$ + log V")
        bottom.plot(step, t["energy_distance"], color=pl.PURPLE, label="energy distance")
        bottom.plot(step, t["paired_cosine"], color=pl.GREEN, label="mean paired cosine")
        top.set_title(f"S², same place, σ = {sigma:g}")
        for ax in (top, bottom):
            ax.set_xscale("log")
        bottom.set_xlabel("Adam step")
    axes[0, 0].set_ylabel("nats")
    axes[0, 0].legend(loc="upper left")
    axes[1, 0].set_ylabel("energy distance, cosine")
    axes[1, 0].legend(loc="center left")
    return pl.Picture(figure)


def _split(t: dict) -> np.ndarray:
    """J^Sym from its free energies and divergences."""
    return (t["free_energy_12"] + t["free_energy_21"] - t["divergence_12"] - t["divergence_21"]) / 2


def plot_clouds(result: Result) -> pl.Picture:
    """The clouds before and after, σ = 0 and σ = 0.5."""
    figure, axes = pl.panels(2, 2, size=(5.6, 5.4), projection="3d")
    for row, (label, sigma) in enumerate((("none", 0.0), ("some", 0.5))):
        for column, (frame, when) in enumerate(((0, "start: same place"), (-1, "end"))):
            ax = axes[row, column]
            _draw_globe(ax, result, label, frame)
            ax.set_title(f"σ = {sigma:g}, {when}", y=0.97)
    _legend(figure, axes[0, 0])
    return pl.Picture(figure)


def _draw_globe(ax, result: Result, label: str, frame: int) -> None:
    pl.globe(ax, view=VIEW)
    for name, (_, color) in MODALITIES.items():
        pl.globe_points(ax, result.arrays[f"{name}_{label}"][frame], color=color, view=VIEW, size=9)


def _legend(figure, ax) -> None:
    handles = [ax.scatter([], [], [], color=color, s=14, label=title) for title, color in MODALITIES.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def animate(result: Result) -> pl.Movie:
    """Both runs side by side, clouds above their energy distance so far."""
    figure, axes = pl.panels(1, 2, size=(6.4, 3.9), projection="3d")

    def draw(frame: int) -> None:
        for ax, (label, sigma) in zip(axes[0], (("none", 0.0), ("some", 0.5)), strict=True):
            ax.clear()
            step = result.arrays[f"frame_steps_{label}"][frame]
            t = result.tables[f"terms_sigma_{sigma}"]
            distance = t["energy_distance"][np.searchsorted(t["step"], step)]
            _draw_globe(ax, result, label, frame)
            ax.set_title(
                f"pairs blurred by σ = {sigma:g}\nstep {step}, energy distance {distance:.2f}", y=1.0
            )

    _legend(figure, axes[0, 0])
    return pl.Movie(figure, draw, frames=len(result.arrays["frame_steps_some"]), fps=10)


def interactive(result: Result) -> View:
    """Both runs side by side as a page, with the gaps and the terms of J^Sym at every frame."""
    runs = []
    for label, sigma in (("none", 0.0), ("some", 0.5)):
        steps, t = result.arrays[f"frame_steps_{label}"], result.tables[f"terms_sigma_{sigma}"]
        at = np.searchsorted(t["step"], steps)
        names = ("energy", "energy_distance", "centroid_gap", "paired_cosine")
        series = {name: t[name][at] for name in names}
        clouds = Pair(*(result.arrays[f"{name}_{label}"] for name in MODALITIES))
        runs.append(as_run(clouds, steps=steps, series=series, label=f"pairs blurred by σ = {sigma:g}"))
    titles = tuple(title for title, _ in MODALITIES.values())
    return view(
        runs, names=titles, title="Two modalities start nearly in the same place: is there a gap at the end?"
    )
