"""Figures of the unimodal experiment, drawn from its saved result alone."""

from collections.abc import Callable

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result
from ctflow.viewing import View, as_run, view

STARTS = ("uniform", "one well")
METHODS = ("Langevin", "J flow: kernel τ", "J flow: fitted kernel")
COLORS = dict(zip(METHODS, (pl.BLUE, pl.RED, pl.GREEN), strict=True))
MARKERS = dict(zip(METHODS, "osv", strict=True))
VIEW = (18.0, 35.0)
# The paper's three choices of temperatures; a row of globes each for the exact law, Langevin and the paper.
LAYOUTS = {
    "grid": (10.0, 5.0, 2.5, 1.0, 0.5, 0.2, 0.1),
    "row_of_five": (10.0, 2.5, 0.5, 0.1),
    "row_of_four": (10.0, 1.0, 0.1),
}
CLOUDS = {
    "gibbs": ("exact Gibbs samples", "black"),
    "langevin": ("Langevin particles", pl.BLUE),
    "published": ("published procedure", pl.RED),
}


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    figures = {"cap_mass.png": plot_cap_mass(result), "side_by_side.png": plot_side_by_side(result)}
    taus = set(result.tables["exact"]["tau"])
    figures |= {
        f"layout_{name}.png": plot_layout(result, wanted)
        for name, wanted in LAYOUTS.items()
        if taus >= set(wanted)
    }
    if "relaxation" in result.tables:
        figures |= {
            "clouds.png": plot_clouds(result),
            "relaxation.png": plot_relaxation(result),
            "unimodal_gibbs.gif": animate(result),
            "view.html": interactive(result),
        }
    return figures


def plot_cap_mass(result: Result) -> pl.Picture:
    """Mass near the wells, and the first well's share, against τ, with the exact curves."""
    runs, exact = result.tables["runs"], result.tables["exact"]
    figure, axes = pl.panels(2, 2, size=(6.8, 5.0), sharey=False)
    for column, kind in enumerate(STARTS):
        for method in METHODS:
            pick = (runs["start"] == kind) & (runs["method"] == method)
            taus = np.unique(runs["tau"][pick])
            for ax, name in zip(axes[:, column], ("cap_mass", "first_well"), strict=True):
                samples = np.stack([runs[name][pick & (runs["tau"] == tau)] for tau in taus])
                pl.band(ax, taus, samples, color=COLORS[method], marker=MARKERS[method], label=method)
        order = np.argsort(exact["tau"])
        axes[0, column].plot(
            exact["tau"][order], exact["cap_mass"][order], color="black", linestyle="--", label="exact Gibbs"
        )
        axes[1, column].axhline(0.5, color="black", linestyle="--", label="exact Gibbs")
        axes[0, column].set_title(f"start: {kind}")
        axes[1, column].set_xlabel("temperature τ")
        for ax in axes[:, column]:
            ax.set_xscale("log")
            ax.set_ylim(-0.03, 1.05)
    axes[0, 0].set_ylabel(f"mass within {result.facts['cap_radius']:g} rad of a well")
    axes[1, 0].set_ylabel("share of the first well")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return pl.Picture(figure)


def plot_relaxation(result: Result) -> pl.Picture:
    """F - F* = KL against time, exact and by particles, with the slope that the spectral gap predicts."""
    table, curves = result.tables["relaxation"], result.tables["relaxation_exact"]
    figure, axes = pl.panels(1, 2, size=(6.8, 3.6))
    for ax, kind in zip(axes[0], STARTS, strict=True):
        t = {name: column[table["start"] == kind] for name, column in table.items()}
        curve = {name: column[curves["start"] == kind] for name, column in curves.items()}
        ax.plot(curve["time"], curve["kl"], color="black", linewidth=1, label="KL of the exact densities")
        slope, last = t["late_slope"][0], curve["kl"][-1]
        late = curve["time"] > 0.4 * curve["time"][-1]
        line = last * np.exp(slope * (curve["time"] - curve["time"][-1]))
        label = "predicted slope: −2 · rate"
        ax.plot(curve["time"][late], line[late], color=pl.ORANGE, linewidth=5, alpha=0.4, label=label)
        floor = t["kl_floor_of_exact_samples"]
        label = "predicted for particles: smoothed, and their noise"
        ax.plot(t["time"], t["kl_smoothed_exact"] + floor, "--", color=pl.BLUE, linewidth=1, label=label)
        ax.plot(t["time"], t["kl_particles"], "o", color=pl.BLUE, label="run: Langevin particles")
        ax.axhline(floor[0], color=pl.GREY, linestyle=":", linewidth=1, label="noise: as many exact samples")
        ax.set_yscale("log")
        ax.set_ylim(floor[0] / 3, 2 * curve["kl"].max())
        ax.set_xlabel("time (diffusion at rate 1)")
        ax.set_title(f"start: {kind}; rate {-slope / 2:.3g}")
    axes[0, 0].set_ylabel("F − F* = KL to Gibbs (nats)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=7)
    return pl.Picture(figure)


def _wells(result: Result) -> np.ndarray:
    return np.array(result.facts["wells"])


def _potential_of(result: Result) -> Callable[[np.ndarray], np.ndarray]:
    """U as a function of points [k, 3]."""
    kappa = result.facts["well_concentration"]
    return lambda z: -np.logaddexp(*(kappa * _wells(result) @ z.T)) / kappa


def plot_clouds(result: Result) -> pl.Picture:
    """Potential and clouds: on the sphere above, on an equal-area map below."""
    tau = result.facts["closeup_temperature"]
    arrays, at = result.arrays, np.flatnonzero(result.tables["exact"]["tau"] == tau)[0]
    clouds = {
        "exact Gibbs samples": (arrays["gibbs"][at], "black"),
        "Langevin": (arrays["langevin_uniform"][-1], pl.BLUE),
        "J flow: kernel τ": (arrays["flow_uniform"][0], pl.RED),
        "J flow: fitted kernel": (arrays["flow_uniform"][1], pl.GREEN),
    }
    figure, axes = pl.panels(2, 5, size=(9.0, 2.9), projection=("3d", "mollweide"))
    frame, potential_fn = pl.map_frame(*_wells(result)), _potential_of(result)
    for top, bottom, title in zip(*axes, ("potential U (dark: low)", *clouds), strict=True):
        pl.globe(top, view=VIEW)
        pl.equal_area_map(bottom, frame, potential_fn, filled=title not in clouds)
        top.set_title(title, y=1.0)
        if title in clouds:
            cloud, color = clouds[title]
            pl.globe_points(top, cloud, color=color, view=VIEW, size=4)
            bottom.scatter(*pl.longitude_latitude(cloud, frame), s=2, color=color, linewidths=0, alpha=0.7)
        else:
            pl.globe_surface(top, potential_fn)
    figure.suptitle(f"two wells at τ = {tau:g}, uniform start; below, the same on equal-area maps")
    return pl.Picture(figure)


def animate(result: Result) -> pl.Movie:
    """Langevin particles from both starts, on equal-area maps."""
    frame, arrays, potential_fn = pl.map_frame(*_wells(result)), result.arrays, _potential_of(result)
    figure, axes = pl.panels(1, 2, size=(6.6, 2.3), projection="mollweide")
    dots = []
    for ax in axes[0]:
        pl.equal_area_map(ax, frame, potential_fn)
        dots.append(ax.scatter([], [], s=4, color=pl.BLUE, linewidths=0, alpha=0.8))

    def draw(index: int) -> None:
        for ax, dot, kind in zip(axes[0], dots, STARTS, strict=True):
            longitude, latitude = pl.longitude_latitude(arrays[f"langevin_{kind}"][index], frame)
            dot.set_offsets(np.column_stack([longitude, latitude]))
            ax.set_title(f"start: {kind}, time {arrays[f'times_{kind}'][index]:.2f}")

    return pl.Movie(figure, draw, frames=len(arrays["langevin_uniform"]), fps=8)


def interactive(result: Result) -> View:
    """Langevin particles from both starts as a page, on the potential, with the mass near each well."""
    wells, radius = _wells(result), result.facts["cap_radius"]
    runs = []
    for kind in STARTS:
        cloud = result.arrays[f"langevin_{kind}"]
        near = cloud @ wells.T > np.cos(radius)  # [frames, n, 2]
        shares = near.mean(axis=1).T
        series = {
            f"share near the {nth} well": share
            for nth, share in zip(("first", "second"), shares, strict=True)
        }
        times = result.arrays[f"times_{kind}"]
        runs.append(as_run(cloud, times=times, series=series, names=("particles",), label=f"start: {kind}"))
    tau = result.facts["closeup_temperature"]
    title = f"Langevin particles in two wells at temperature {tau:g}"
    return view(runs, surface=_potential_of(result), surface_name="the potential U", title=title)


def plot_layout(result: Result, taus: tuple[float, ...]) -> pl.Picture:
    """U with its scale; exact Gibbs samples, Langevin and the published procedure's particles at each τ."""
    side = 1.05 if len(taus) > 4 else 1.45
    figure, axes = pl.panels(
        3, 1 + len(taus), size=(side * (1 + len(taus)) + 0.2, 3 * side + 0.2), projection="3d"
    )
    for ax in axes[1:, 0]:
        ax.set_axis_off()
    potential_fn = _potential_of(result)
    pl.globe(axes[0, 0], view=VIEW)
    shades = pl.globe_surface(axes[0, 0], potential_fn)
    axes[0, 0].set_title("potential U", y=0.97)
    scale = axes[1, 0].inset_axes((0.05, 0.85, 0.9, 0.1))
    figure.colorbar(shades, cax=scale, orientation="horizontal", ticks=shades.get_clim(), format="%.2g")
    for column, tau in enumerate(taus, start=1):
        at = np.flatnonzero(result.tables["exact"]["tau"] == tau)[0]
        for ax, (name, (_, color)) in zip(axes[:, column], CLOUDS.items(), strict=True):
            pl.globe(ax, view=VIEW)
            pl.globe_points(ax, result.arrays[name][at], color=color, view=VIEW, size=2)
        axes[0, column].set_title(f"τ = {tau:g}", y=0.97)
    for ax, (label, color) in zip(axes[:, 1], CLOUDS.values(), strict=True):
        ax.text2D(
            -0.06, 0.5, label, color=color, rotation=90, va="center", fontsize=7, transform=ax.transAxes
        )
    return pl.Picture(figure)


def plot_side_by_side(result: Result) -> pl.Picture:
    """Error of the mass near the wells against τ: Langevin, the published procedure, and its own code."""
    t = result.tables["side_by_side"]
    figure, axes = pl.panels(1, 1, size=(4.6, 3.2))
    ax = axes[0, 0]
    ax.axhline(0, color="black", linestyle="--", linewidth=1, label="exact Gibbs")
    off = {name: t[name] / t["exact"] - 1 for name in ("langevin", "as_published", "published_code")}
    ax.errorbar(
        t["tau"],
        off["langevin"],
        yerr=2 * t["langevin_standard_error"] / t["exact"],
        fmt="o",
        color=pl.BLUE,
        label="Langevin, ± 2 standard errors",
    )
    ax.plot(t["tau"], off["as_published"], "s-", color=pl.RED, label="published procedure, run here")
    ax.plot(t["tau"], off["published_code"], "x", color=pl.GREY, label="published code's own numbers")
    ax.set_xscale("log")
    ax.set_xlabel("temperature τ")
    ax.set_ylabel("relative error of the mass near the wells")
    ax.legend()
    return pl.Picture(figure)
