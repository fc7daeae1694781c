"""One figure per claim, drawn from the saved tables alone. Lines are predicted, markers simulated."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result
from experiments.plots import common
from experiments.plots import theory_control as control
from experiments.plots import theory_gaps as gaps

SPHERES, COLORS, MARKERS = common.SPHERES, common.COLORS, common.MARKERS
groups, compare, logarithmic, two_spheres = (
    common.groups,
    common.compare,
    common.logarithmic,
    common.two_spheres,
)


@pl.styled
def plot(result: Result) -> dict:
    """A figure for every claim that was run, by file name."""
    figures = {}
    for name, draw in DRAWN.items():
        tables = {
            key.removeprefix(f"{name}_"): table
            for key, table in result.tables.items()
            if key.startswith(f"{name}_")
        }
        if name in result.facts:
            figures[f"{name}.png"] = draw(tables)
            fails = "" if result.facts[name]["holds"] else " (numbers are missed)"
            figures[f"{name}.png"].figure.suptitle(SEEN[name] + fails)
    return figures


def consistency(tables: dict) -> pl.Picture:
    """Bias of the value and scatter of the gradient against N."""
    figure, axes = two_spheres((6.8, 4.6), rows=2)
    for (d,), of in groups(tables["consistency"], "d"):
        top, bottom = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            label = f"τ = {tau:g}"
            t["error"] = t["bias_error"]
            compare(top, t, "N", index, label, predicted="predicted_bias", simulated="bias")
            t["half"] = t["scatter"][-1] * np.sqrt(t["N"][-1] / t["N"])
            t.pop("error")
            compare(bottom, t, "N", index, label, predicted="half", simulated="scatter")
        for ax in (top, bottom):
            logarithmic(ax, of["N"])
            ax.set_xlabel("negatives N")
        top.set_ylim(5e-4, None)
    axes[2][0].set_ylabel("L_N − J − log(N V) (nats)")
    axes[2][1].set_ylabel("scatter of ∇L_N; line: $N^{-1/2}$")
    axes[3][0].legend()
    return pl.Picture(figure)


def convexity(tables: dict) -> pl.Picture:
    """Second variations by degree, of J_τ and of J^Sym in antiphase."""
    figure, axes = two_spheres((6.8, 3.6))
    for (d,), of in groups(tables["modes"], "d"):
        _by_degree(axes[int(d)][0], of, ("unimodal", "antiphase"))
    axes[2][0].set_ylabel(
        "second variation (full: of J, hollow: of J$^{Sym}$\nin antiphase; dashes: predicted)", fontsize=7
    )
    axes[3][0].legend(fontsize=7)
    return pl.Picture(figure)


def _by_degree(ax: Any, of: dict, kinds: tuple[str, ...]) -> None:
    """Markers for every degree, kind and τ, a dash where it is predicted; no lines between whole degrees."""
    fills = ("full", "none", "left")
    for index, ((tau,), t) in enumerate(groups(of, "tau")):
        for place, (kind, fill) in enumerate(zip(kinds, fills, strict=False)):
            part = {name: column[t["kind"] == kind] for name, column in t.items()}
            color, x = COLORS[index], part["degree"] + 0.18 * (index - 1) + 0.05 * (place - 1)
            label = f"τ = {tau:g}" if place == 0 else None
            ax.plot(x, part["simulated"], MARKERS[index], color=color, fillstyle=fill, label=label)
            ax.plot(x, part["predicted"], "_", color="black", markersize=9)
    ax.axhline(0, color=pl.GREY, linewidth=0.8)
    ax.set_xticks([1, 2, 3])
    ax.set_xlabel("degree of the mode")


def relaxation(tables: dict) -> pl.Picture:
    """KL against time with the predicted late slope, and the particles' mean height on the exact one."""
    figure, axes = two_spheres((6.8, 4.8), rows=2)
    for (d,), of in groups(tables["exact"], "d"):
        top, bottom = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            color, label = COLORS[index], f"τ = {tau:g}"
            run = dict(groups(tables["decay"], "d", "tau"))[(d, tau)]
            slope = run["slope"][0] * (t["time"] - t["time"][-1])
            late = t["time"] > t["time"][-1] / 3
            top.semilogy(
                t["time"][late], t["kl"][-1] * np.exp(slope[late]), color=color, linewidth=5, alpha=0.3
            )
            top.semilogy(t["time"], t["kl"], color=color, linewidth=1, label=label)
            bottom.plot(t["time"], t["height"], color=color, linewidth=1)
            style = {"fmt": MARKERS[index], "color": color, "label": label, "elinewidth": 0.8}
            bottom.errorbar(run["time"], run["height_particles"], yerr=2 * run["standard_error"], **style)
        bottom.set_xlabel("time (diffusion at rate 1)")
    axes[2][0].set_ylabel("F − F* = KL of exact densities (nats)\nwide: predicted slope −2 · gap", fontsize=8)
    axes[2][1].set_ylabel("mean height; lines: exact,\nmarkers: run ± 2 standard errors", fontsize=8)
    axes[3][0].legend()
    return pl.Picture(figure)


def equilibrium(tables: dict) -> pl.Picture:
    """How far every start's end is from the exact mean, and the unequal wells' masses in time."""
    figure, axes = pl.panels(1, 2, size=(7.4, 3.9))
    left, right = axes[0]
    starts = list(dict.fromkeys(tables["starts"]["start"]))
    temperatures = list(dict.fromkeys(tables["starts"]["tau"]))
    for index, ((d, tau), t) in enumerate(groups(tables["starts"], "d", "tau")):
        marker, color = MARKERS[int(d) - 2], COLORS[temperatures.index(tau)]
        off = (t["simulated"] - t["exact"]) / t["error"]
        rows = np.array([starts.index(s) for s in t["start"]]) + 0.12 * (index - 2.5)
        left.plot(off, rows, marker, color=color, label=f"{SPHERES[int(d)]}, τ = {tau:g}")
    left.set_yticks(range(len(starts)), starts)
    left.axvline(0, color="black", linewidth=0.8, zorder=0)
    left.axvspan(-2, 2, color=pl.GREY, alpha=0.15, linewidth=0)
    left.set_xlim(-4, 4)
    left.set_xlabel("mean U of the run less the exact one,\nin standard errors (grey: 95 %)")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=7)
    wells = tables["wells"]
    right.plot(wells["time"], wells["exact"], "--", color="black", linewidth=1, label="Gibbs law")
    right.plot(wells["time"], wells["logit_law"], color=pl.BLUE, linewidth=1, label="predicted: logit law")
    right.plot(
        wells["time"], wells["langevin_exact"], color=pl.RED, linewidth=1, label="predicted: Fokker–Planck"
    )
    some = slice(None, None, 3)
    right.plot(
        wells["time"][some], wells["birth_death"][some], "o", color=pl.BLUE, label="run: birth and death"
    )
    right.plot(wells["time"][some], wells["langevin"][some], "s", color=pl.RED, label="run: Langevin")
    right.set_xlabel("time")
    right.set_ylabel("mass of the deeper well")
    right.set_ylim(0.48, 0.83)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2, fontsize=7)
    return pl.Picture(figure)


def low_temperature(tables: dict) -> pl.Picture:
    """Mass near the minimum against τ in four dimensions."""
    figure, axes = pl.panels(1, 1, size=(4.6, 3.2))
    ax = axes[0, 0]
    for index, ((d,), t) in enumerate(groups(tables["exact"], "d")):
        ax.plot(t["tau"], t["exact"], color=COLORS[index], linewidth=1)
        p = dict(groups(tables["particles"], "d"))[(d,)]
        style = {"fmt": MARKERS[index], "color": COLORS[index], "label": f"d = {d}"}
        ax.errorbar(p["tau"], p["simulated"], yerr=2 * p["error"], **style)
    ax.set_xscale("log")
    ax.set_xlabel("temperature τ")
    ax.set_ylabel("mass of {U ≤ min U + 0.2}")
    ax.legend()
    return pl.Picture(figure)


def tie_breaker(tables: dict) -> pl.Picture:
    """The law on a valley of varying width; alignment, spread and uniformity inside an even one."""
    figure, axes = pl.panels(1, 3, size=(7.6, 3.0))
    left, middle, right = axes[0]
    t, curve = tables["limit"], tables["exact"]
    left.plot(curve["tau"], curve["exact"], color=pl.BLUE, linewidth=1, label="predicted: Gibbs law")
    style = {"fmt": "o", "color": pl.BLUE, "label": "run ± 2 standard errors"}
    left.errorbar(t["tau"], t["simulated"], yerr=2 * t["error"], **style)
    left.plot(0, t["limit"][0], "*", markersize=9, color="black", label="predicted: τ → 0", clip_on=False)
    left.set_xlim(0, None)
    left.set_xlabel("temperature τ")
    left.set_ylabel("mean along a valley of varying width")
    left.legend(fontsize=7, loc="upper left")
    left.set_ylim(-0.26, -0.06)
    v = tables["valley"]
    for name, color, marker, label in (
        ("potential", pl.RED, "o", "alignment ⟨U⟩/τ"),
        ("along", pl.GREEN, "s", "mean along the valley"),
    ):
        middle.plot(v["time"], v[f"{name}_predicted"], color=color, linewidth=1)
        middle.plot(v["time"], v[name], marker, color=color, label=label)
    middle.set_ylabel("in an even valley; lines: predicted")
    middle.set_ylim(-0.05, 1.15)
    middle.legend(fontsize=7)
    right.axhline(v["uniformity_end"][0], color=pl.BLUE, linewidth=1, label="predicted: Gibbs law")
    right.plot(v["time"], v["uniformity"], "v", color=pl.BLUE, label="run")
    right.set_ylabel("uniformity there (nats; low: even)")
    right.legend(fontsize=7)
    for ax in (middle, right):
        ax.set_xlabel("time (diffusion at rate 1)")
    return pl.Picture(figure)


def sharpening(tables: dict) -> pl.Picture:
    """|J − F| with its bound, and the divergence that stays, against the kernel's temperature."""
    figure, axes = two_spheres((6.8, 4.8), rows=2)
    for (d,), of in groups(tables["differences"], "d"):
        top, bottom = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            color, label = COLORS[index], f"τ = {tau:g}"
            top.loglog(t["width"], t["bound"], ":", color=color, linewidth=1)
            top.loglog(t["width"], -t["second_order"], color=color, linewidth=1)
            top.loglog(t["width"], -t["difference"], MARKERS[index], color=color, label=label)
            bottom.semilogx(t["width"], t["divergence"], MARKERS[index], color=color, label=label)
            bottom.axhline(t["divergence_exact"][0], color=color, linewidth=1)
        logarithmic(top, of["width"])
        logarithmic(bottom, of["width"], y=False)
        bottom.set_xlabel("temperature of the kernel")
    axes[2][0].set_ylabel("F − J (nats); dotted: bound")
    axes[2][1].set_ylabel("½[D̃(1‖2) + D̃(2‖1)] (nats)")
    axes[2][1].legend(loc="center left")
    return pl.Picture(figure)


def stability(tables: dict) -> pl.Picture:
    """Rates by degree and kind, at three temperatures."""
    figure, axes = two_spheres((6.8, 3.6))
    for (d,), of in groups(tables["rates"], "d"):
        _by_degree(axes[int(d)][0], of, ("antiphase", "in_phase", "unimodal"))
    axes[2][0].set_ylabel(
        "rate (full: antiphase, hollow: in phase,\nhalf: J of one cloud; dashes: predicted)", fontsize=7
    )
    axes[2][0].legend(fontsize=7)
    return pl.Picture(figure)


def knife_edge(tables: dict) -> pl.Picture:
    """The distance that two equal clouds have got, against how much their fields differ."""
    figure, axes = two_spheres()
    for (d,), of in groups(tables["gaps"], "d"):
        (ax,) = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            t["linear"] = t["distance"][0] * t["size"] / t["size"][0]
            compare(ax, t, "size", index, f"τ = {tau:g}", predicted="linear", simulated="distance")
        logarithmic(ax, of["size"])
        ax.set_xlabel("size ε of U₁₂ − U₂₁")
    axes[2][0].set_ylabel("distance of the clouds; line: ∝ ε")
    axes[3][0].legend()
    return pl.Picture(figure)


def barrier(tables: dict) -> pl.Picture:
    """The barrier a frozen cloud raises, V and U beside each other, both moving, and where cloud 1 ends."""
    figure, axes = two_spheres((7.0, 8.6), rows=4)
    for (d,), of in groups(tables["map"], "d"):
        wall, valley, moving, ends = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            wall.plot(t["angle"], t["effective"] - t["field"], color=COLORS[index], label=f"τ = {tau:g}")
        t = dict(groups(of, "tau"))[(0.3,)]
        for name, style, label in (
            ("field", ":", "U₁₂/τ alone"),
            ("effective", "-", "V₁₂ = U₁₂/τ + barrier"),
        ):
            valley.plot(t["angle"], t[name], style, color=COLORS[2], label=label)
            lowest = np.argmin(t[name])
            valley.plot(t["angle"][lowest], t[name][lowest], "o", color=COLORS[2], markersize=6)
        for ax in (wall, valley):
            ax.axvline(0.3, color=pl.GREY, linewidth=0.8, linestyle="--")
            ax.set_xlabel("angle from the field's pole (radians)")
        run = dict(groups(tables["run"], "d", "tau"))[(d, 0.3)]
        for index, ((time,), t) in enumerate(groups(run, "time")):
            field, style = -np.cos(t["angle"]) / 0.3, {"color": COLORS[index], "markersize": 3}
            moving.plot(t["angle"], t["predicted"] - field, linewidth=1, **style)
            seen = (t["simulated"] - field)[::9]
            moving.plot(t["angle"][::9], seen, MARKERS[index], label=f"t = {time:g}", **style)
        moving.set_xlabel("angle from the field's pole (radians)")
        t = dict(groups(tables["ends"], "d"))[(d,)]
        for index, (name, label) in enumerate(
            (("start", "start"), ("one_directional", "end, J₁→₂"), ("symmetric", "end, J$^{Sym}$"))
        ):
            places = np.arange(len(t["tau"]))
            ends.plot(places, t[name], MARKERS[index], color=COLORS[index], markersize=7, label=label)
        ends.axhline(0, color=pl.GREY, linewidth=0.8)
        ends.set_xticks(range(len(t["tau"])), [f"τ = {tau:g}" for tau in t["tau"]])
        ends.set_xlim(-0.4, len(t["tau"]) - 0.6)
        ends.set_ylim(-1.1, 1.1)
        valley.set_ylim(-4, 5)
    for row, label in enumerate(
        (
            "barrier log ρ̃₂ (nats)\nof a frozen cloud 2 (dashed)",
            "nats, τ = 0.3; dots: minima",
            "barrier (nats), both moving, τ = 0.3\nlines: densities, markers: run",
            "run: mean of ⟨z, cloud 2's centre⟩\nover cloud 1, cloud 2 frozen",
        )
    ):
        axes[2][row].set_ylabel(label, fontsize=7.5)
        white = {"frameon": True, "framealpha": 0.9, "edgecolor": "none"}
        place = ("upper left", "upper center", "upper left", "lower center")[row]
        axes[2][row].legend(fontsize=6.5, loc=place, **white)
    return pl.Picture(figure)


def mean_field(tables: dict) -> pl.Picture:
    """Sampling error against N, and particles against the equations for densities."""
    figure, axes = pl.panels(1, 2, size=(6.8, 3.2))
    left, right = axes[0]
    for index, ((d, tau), t) in enumerate(groups(tables["sampling"], "d", "tau")):
        if tau == 0.5:
            compare(left, t, "N", index, f"{SPHERES[int(d)]}, τ = {tau:g}")
    logarithmic(left, tables["sampling"]["N"])
    left.set_xlabel("particles N")
    left.set_ylabel("error of the mean height; line: √(Var/N)")
    left.legend()
    for index, ((flow,), t) in enumerate(groups(tables["flows"], "flow")):
        right.plot(t["predicted"], t["simulated"], MARKERS[index], color=COLORS[index], label=flow)
    ends = [tables["flows"]["predicted"].min(), tables["flows"]["predicted"].max()]
    right.plot(ends, ends, color=pl.GREY, linewidth=0.8)
    right.set_xlabel("mean height, equations for densities")
    right.set_ylabel("mean height, particles")
    right.legend()
    return pl.Picture(figure)


DRAWN: dict[str, Callable[[dict], pl.Picture]] = {
    draw.__name__: draw
    for draw in (
        consistency,
        convexity,
        relaxation,
        equilibrium,
        low_temperature,
        tie_breaker,
        sharpening,
        stability,
        knife_edge,
        barrier,
        gaps.initialisation,
        gaps.directions,
        mean_field,
        gaps.overlap,
        gaps.phases,
        control.onset,
        control.least_control,
        control.modalities,
        control.sigmoid,
        control.batches,
    )
}

SEEN = {
    "consistency": "The loss tends to J + log(N V) as 1/N, its gradient's scatter vanishes as $N^{-1/2}$",
    "convexity": "J is convex in degrees 1 to 3, and J$^{Sym}$ is concave in antiphase",
    "relaxation": "F − F* falls at twice the spectral gap, and particles keep to the exact curve",
    "equilibrium": "Every start ends in one law; birth and death balance wells long before noise",
    "low_temperature": "Mass gathers at the minimum only once 1/τ exceeds about d",
    "tie_breaker": "Alignment fixes the valley, entropy the law inside it",
    "sharpening": "A sharp kernel removes the smoothing, and leaves the divergence",
    "stability": "Without pairs, overlapping clouds part in every mode of degree 1 to 3",
    "knife_edge": "Clouds stay overlapped under equal fields only",
    "barrier": "Each cloud is a barrier to the other: it moves the minimum, and clouds are driven off it",
    "initialisation": "Given a spare dimension, matched pairs close the gap; blurred ones leave room for one",
    "directions": "One direction leaves a gap too; one cloud for both pays on two clusters",
    "mean_field": "Particles are within sampling error of the equations for densities",
    "overlap": "Overlap is lost above τ*, along waves that centroids do not show",
    "phases": "Below τ* there is room for a gap; on a ring the start decides on its use",
    "onset": "One shared cloud predicts when particles part, in 3 to 512 dimensions",
    "least_control": "A gap is left below λ* and none above; pulling means together never closes it",
    "modalities": "More modalities part at lower temperatures, and their rings share one height",
    "sigmoid": "SigLIP: a fixed bias sets the gap, a learned one leaves it to the start",
    "batches": "Finite batches hardly move τ*, and their noise selects among neutral states",
}
"""What each figure shows."""
