"""One figure a claim, drawn from the saved tables alone. Lines are predicted, markers simulated."""

from collections.abc import Callable

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result, beside

common, gaps = (beside(__file__, name) for name in ("common", "theory_gaps"))
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
    figure, axes = two_spheres()
    styles = {"unimodal": "-", "antiphase": "--"}
    for (d,), of in groups(tables["modes"], "d"):
        (ax,) = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            for (kind,), part in groups(t, "kind"):
                if kind in styles:
                    label = f"τ = {tau:g}" if kind == "unimodal" else None
                    ax.plot(part["degree"], part["predicted"], styles[kind], color=COLORS[index], linewidth=1)
                    ax.plot(
                        part["degree"], part["simulated"], MARKERS[index], color=COLORS[index], label=label
                    )
        ax.axhline(0, color=pl.GREY, linewidth=0.8)
        ax.set_xticks([1, 2, 3])
        ax.set_xlabel("degree of the mode")
    axes[2][0].set_ylabel("second variation (solid: J, dashed: J$^{Sym}$ antiphase)", fontsize=7)
    axes[3][0].legend()
    return pl.Picture(figure)


def relaxation(tables: dict) -> pl.Picture:
    """KL against time with the late slope, and the particles' mean height on the exact one."""
    figure, axes = two_spheres((6.8, 4.8), rows=2)
    for (d,), of in groups(tables["decay"], "d"):
        top, bottom = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            top.semilogy(t["time"], t["kl"], color=COLORS[index], label=f"τ = {tau:g}")
            slope = t["kl"][-1] * np.exp(t["slope"] * (t["time"] - t["time"][-1]))
            top.semilogy(t["time"][4:], slope[4:], ":", color="black", linewidth=1)
            t["error"] = t["standard_error"]
            names = {"predicted": "height", "simulated": "height_particles"}
            compare(bottom, t, "time", index, f"τ = {tau:g}", **names)
        bottom.set_xlabel("time")
    axes[2][0].set_ylabel("F − F* = KL (nats); dotted: 2·gap")
    axes[2][1].set_ylabel("mean height ± 2 standard errors")
    axes[3][0].legend()
    return pl.Picture(figure)


def equilibrium(tables: dict) -> pl.Picture:
    """How far every start's end is from the exact mean, and the unequal wells' masses in time."""
    figure, axes = pl.panels(1, 2, size=(7.0, 3.4))
    left, right = axes[0]
    starts = list(dict.fromkeys(tables["starts"]["start"]))
    temperatures = list(dict.fromkeys(tables["starts"]["tau"]))
    for index, ((d, tau), t) in enumerate(groups(tables["starts"], "d", "tau")):
        marker, color = MARKERS[int(d) - 2], COLORS[temperatures.index(tau)]
        off = (t["simulated"] - t["exact"]) / t["error"]
        rows = np.array([starts.index(s) for s in t["start"]]) + 0.12 * (index - 2.5)
        left.plot(off, rows, marker, color=color, label=f"{SPHERES[int(d)]}, τ = {tau:g}")
    left.set_yticks(range(len(starts)), starts)
    left.axvspan(-2, 2, color=pl.GREY, alpha=0.15, linewidth=0)
    left.set_xlim(-5, 5)
    left.set_xlabel("mean U at the end: standard errors off")
    left.legend(fontsize=7, loc="upper left")
    wells = tables["wells"]
    right.plot(wells["time"], wells["exact"], "--", color="black", label="exact")
    right.plot(wells["time"], wells["logit_law"], color=pl.BLUE, linewidth=1, label="logit law")
    right.plot(wells["time"], wells["birth_death"], "o", color=pl.BLUE, label="birth and death")
    right.plot(wells["time"], wells["langevin"], "s", color=pl.RED, label="Langevin")
    right.set_xlabel("time")
    right.set_ylabel("mass of the deeper well")
    right.legend(fontsize=7)
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
    """The law on a valley of varying width, and alignment against uniformity inside an even one."""
    figure, axes = pl.panels(1, 2, size=(6.8, 3.2))
    left, right = axes[0]
    t = tables["limit"]
    left.plot(t["tau"], t["exact"], color=pl.BLUE, linewidth=1, label="Gibbs, quadrature")
    style = {"fmt": "o", "color": pl.BLUE, "label": "particles ± 2 standard errors"}
    left.errorbar(t["tau"], t["simulated"], yerr=2 * t["error"], **style)
    left.axhline(t["limit"][0], color="black", linestyle="--", label="law on the valley")
    left.set_xlim(0, None)
    left.set_ylim(-0.27, -0.08)
    left.set_xlabel("temperature τ")
    left.set_ylabel("mean along the valley")
    left.legend(fontsize=7, loc="upper left")
    v = tables["valley"]
    right.plot(v["time"], v["potential"], "o", color=pl.RED, label="alignment ⟨U⟩/τ")
    right.axhline(0.5, color=pl.RED, linewidth=1)
    right.plot(v["time"], v["along"], "s", color=pl.GREEN, label="mean along the valley")
    right.plot(v["time"], np.exp(-v["time"]), color=pl.GREEN, linewidth=1)
    right.plot(v["time"], v["uniformity"], "v", color=pl.BLUE, label="uniformity (low: even)")
    right.set_xlabel("time")
    right.legend(fontsize=7)
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
    styles = {"antiphase": "-", "in_phase": "--", "unimodal": ":"}
    for (d,), of in groups(tables["rates"], "d"):
        (ax,) = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            for (kind,), part in groups(t, "kind"):
                ax.plot(part["degree"], part["predicted"], styles[kind], color=COLORS[index], linewidth=1)
                label = f"τ = {tau:g}" if kind == "antiphase" else None
                ax.plot(part["degree"], part["simulated"], MARKERS[index], color=COLORS[index], label=label)
        ax.axhline(0, color=pl.GREY, linewidth=0.8)
        ax.set_xticks([1, 2, 3])
        ax.set_xlabel("degree of the mode")
    axes[2][0].set_ylabel("rate (solid: antiphase, dashed: in phase, dotted: J)", fontsize=7)
    axes[2][0].legend()
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
    """The effective potential along a great circle, cloud 2 frozen and moving; where cloud 1 ends over it."""
    figure, axes = two_spheres((6.8, 6.8), rows=3)
    for (d,), of in groups(tables["map"], "d"):
        top, middle, bottom = axes[int(d)]
        for index, ((tau,), t) in enumerate(groups(of, "tau")):
            top.plot(t["angle"], t["effective"], color=COLORS[index], label=f"V at τ = {tau:g}")
            top.plot(t["angle"], t["field"], ":", color=COLORS[index], linewidth=1, label=f"U/τ at {tau:g}")
        top.axvline(0.3, color=pl.GREY, linewidth=0.8, linestyle="--")
        top.set_xlabel("angle (radians); dashed: frozen cloud 2")
        moving = dict(groups(tables["run"], "d", "tau"))[(d, 0.3)]
        for index, ((time,), t) in enumerate(groups(moving, "time")):
            field, style = -np.cos(t["angle"]) / 0.3, {"color": COLORS[index], "markersize": 3}
            middle.plot(t["angle"], t["predicted"] - field, linewidth=1, **style)
            seen = (t["simulated"] - field)[::9]
            middle.plot(t["angle"][::9], seen, MARKERS[index], label=f"t = {time:g}", **style)
        middle.set_xlabel("angle (radians); both clouds move, τ = 0.3")
        ends = dict(groups(tables["ends"], "d"))[(d,)]
        for index, name in enumerate(("start", "one_directional", "symmetric")):
            places = np.arange(len(ends["tau"])) + 0.25 * (index - 1)
            bottom.bar(places, ends[name], width=0.24, color=COLORS[index], label=name.replace("_", "-"))
        bottom.axhline(0, color=pl.GREY, linewidth=0.8)
        bottom.set_xticks(range(len(ends["tau"])), [f"τ = {tau:g}" for tau in ends["tau"]])
    axes[2][0].set_ylabel("V₁₂ (nats)")
    axes[2][1].set_ylabel("barrier V₁₂ − U₁₂/τ (nats)")
    axes[2][2].set_ylabel("mean height of cloud 1\nover cloud 2")
    axes[2][0].legend(fontsize=6)
    axes[2][1].legend(fontsize=6)
    figure.legend(*axes[3][2].get_legend_handles_labels(), loc="outside lower center", ncols=3)
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
    )
}

SEEN = {
    "consistency": "The loss tends to J + log(N V) as 1/N, its gradient's scatter vanishes as $N^{-1/2}$",
    "convexity": "J is convex in every mode; J$^{Sym}$ is concave in antiphase",
    "relaxation": "F − F* falls at twice the spectral gap, and particles keep to the exact curve",
    "equilibrium": "Every start ends in one law; birth and death fill wells that noise alone cannot",
    "low_temperature": "Mass gathers at the minimum only once 1/τ exceeds about d",
    "tie_breaker": "Alignment fixes the valley, entropy the law inside it",
    "sharpening": "A sharp kernel removes the smoothing, and leaves the divergence",
    "stability": "Without pairs, overlap is lost in every mode at every temperature",
    "knife_edge": "Clouds stay overlapped under equal fields only",
    "barrier": "Each cloud is a barrier to the other",
    "initialisation": "Given a spare dimension, matched pairs close the gap; blurred ones leave room for one",
    "directions": "One direction leaves a gap too; one cloud for both pays on two clusters",
    "mean_field": "Particles are within sampling error of the equations for densities",
    "overlap": "Overlap is lost above τ*, along waves that centroids do not show",
    "phases": "Below τ* there is room for a gap; on a ring the start decides on its use",
}
"""What each figure shows."""
