"""One figure a claim, drawn from the saved tables alone. Lines are predicted, markers simulated."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from ctflow import plotting as pl
from ctflow.claims.ring import critical_temperature, gap
from ctflow.experiment import Result

SPHERES = {2: "S¹", 3: "S²"}
COLORS = (pl.BLUE, pl.RED, pl.GREEN, pl.PURPLE)
MARKERS = "osv^"


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
            facts = result.facts[name]
            verdict = "holds" if facts["holds"] else "fails"
            figures[f"{name}.png"].figure.suptitle(
                f"{facts['title']} ({facts['numbers']} numbers: {verdict})"
            )
    return figures


def groups(table: dict, *names: str) -> Iterator[tuple[tuple, dict]]:
    """The rows of a table with equal values of some columns, in the order of their first row."""
    keys = list(zip(*(table[name] for name in names), strict=True))
    for key in dict.fromkeys(keys):
        pick = np.array([k == key for k in keys])
        yield key, {name: column[pick] for name, column in table.items()}


def compare(
    ax: Any,
    t: dict,
    x: str,
    index: int,
    label: str,
    *,
    predicted: str = "predicted",
    simulated: str = "simulated",
) -> None:
    """Predicted as a line, simulated as markers, in the index's colour; error bars of 2 standard errors."""
    color, marker = COLORS[index % 4], MARKERS[index % 4]
    order = np.argsort(t[x])
    ax.plot(t[x][order], t[predicted][order], color=color, linewidth=1)
    error = 2 * t["error"] if "error" in t else None
    ax.errorbar(t[x], t[simulated], yerr=error, fmt=marker, color=color, label=label, elinewidth=0.8)


def logarithmic(ax: Any, x: Any, *, y: bool = True) -> None:
    """Log scales; ticks along x at the values that were run, lest figures between them overlap."""
    ax.set_xscale("log")
    if y:
        ax.set_yscale("log")
    ticks = np.unique(x)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())


def two_spheres(size: tuple[float, float] = (6.8, 3.2), rows: int = 1) -> tuple[Any, dict]:
    """A figure and its axes by dimension d."""
    figure, axes = pl.panels(rows, 2, size=size)
    for d, ax in zip((2, 3), axes[0], strict=True):
        ax.set_title(SPHERES[d])
    return figure, {d: axes[:, column] for column, d in enumerate((2, 3))}


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


def initialisation(tables: dict) -> pl.Picture:
    """The gap at the end against that at the start, with matched and with blurred pairs."""
    figure, axes = pl.panels(2, 2, size=(6.8, 5.4))
    latents = (("ring", "runs", "centroid_gap"), ("two clusters", "mixture", "energy_distance"))
    for row, (latent, name, measure) in zip(axes, latents, strict=True):
        for ax, sigma in zip(row, (0.0, 0.5), strict=True):
            for (d,), t in groups(tables[name], "d"):
                pick, place = t["sigma"] == sigma, (2, 3, 8, 32).index(d)
                style = {"color": COLORS[place], "label": f"d = {d}", "alpha": 0.8}
                ax.plot(t["initial_gap"][pick], t[measure][pick], MARKERS[place], **style)
            ax.set_title(f"{latent}, {'matched' if sigma == 0 else 'blurred'} pairs, σ = {sigma:g}")
            ax.set_xlabel("centroid gap at the start")
            ax.set_ylim(-0.05, 2.15)
        row[0].legend()
    axes[0, 1].axhline(gap(0.5, 0.1), color="black", linewidth=1, linestyle="--")
    axes[0, 0].set_ylabel("centroid gap at the end; dashed: 2√(1 − τ/τ*)", fontsize=7)
    axes[1, 0].set_ylabel("energy distance at the end")
    return pl.Picture(figure)


def directions(tables: dict) -> pl.Picture:
    """The gap left by three energies of the same pairs, against temperature."""
    figure, axes = pl.panels(1, 1, size=(4.6, 3.2))
    ax = axes[0, 0]
    ratio = np.linspace(0.2, 1.3, 200)
    ax.plot(ratio, 2 * np.sqrt(np.maximum(0, 1 - ratio)), color="black", linewidth=1, label="2√(1 − τ/τ*)")
    for index, ((kind,), t) in enumerate(groups(tables["runs"], "kind")):
        style = {"color": COLORS[index], "label": kind, "markersize": 8 - 2 * index, "fillstyle": "none"}
        ax.plot(t["ratio"], t["gap"], MARKERS[index], **style)
    ax.set_xlabel("temperature over τ*")
    ax.set_ylabel("centroid gap")
    ax.legend()
    return pl.Picture(figure)


def phases(tables: dict) -> pl.Picture:
    """The gap against temperature over τ*, on a ring and on two clusters; the energy; τ learned."""
    figure, axes = pl.panels(2, 3, size=(7.4, 5.6))
    _ring(axes[0], tables["diagram"])
    _two_clusters(axes[1, :2], tables["mixture"])
    ax = axes[1, 2]
    for index, ((start,), t) in enumerate(groups(tables["learned"], "start")):
        steps, ratios = np.append(0, t["step"]), np.append(start, t["ratio"])
        ax.plot(steps, ratios, "-" + MARKERS[index], color=COLORS[index], markersize=3)
    ax.axhline(1, color="black", linewidth=1, linestyle="--")
    ax.set_ylim(0, None)
    ax.set_title("ring, τ learned", fontsize=9)
    ax.set_xlabel("steps")
    ax.set_ylabel("temperature over τ*")
    return pl.Picture(figure)


def _ring(axes: Any, t: dict) -> None:
    """The gap on one curve; the critical line; the energy, flat below it."""
    left, middle, right = axes
    ratio = np.linspace(0.2, 1.6, 300)
    left.plot(ratio, 2 * np.sqrt(np.maximum(0, 1 - ratio)), color="black", linewidth=1, label="2√(1 − τ/τ*)")
    faces = {"near": "full", "far": "none", "one side": "left"}
    for index, ((sigma,), of) in enumerate(groups(t, "sigma")):
        for (start,), p in groups(of, "start"):
            if start in faces:
                label = f"σ = {sigma:g}" if start == "near" else None
                style = {"color": COLORS[index], "fillstyle": faces[start], "label": label}
                left.plot(p["ratio"], p["centroid_gap"], MARKERS[index], **style)
        one = of["start"] == "near"
        right.plot(of["ratio"][one], of["optimality_gap"][one], MARKERS[index], color=COLORS[index])
        below = one & (of["ratio"] < 1)
        star = 1 / np.mean((1 - of["centroid_gap"][below] ** 2 / 4) / of["tau"][below])
        middle.plot(sigma, star, MARKERS[index], color=COLORS[index])
    blur = np.linspace(0.05, 1.4, 200)
    middle.plot(blur, [critical_temperature(sigma) for sigma in blur], color="black", linewidth=1)
    middle.text(0.75, 0.12, "room for a gap", fontsize=8)
    middle.text(0.1, 0.75, "overlap", fontsize=8)
    left.set_title("ring of latents", fontsize=9)
    left.set_xlabel("temperature over τ*")
    left.set_ylabel("centroid gap (half filled: one side)", fontsize=8)
    left.legend(fontsize=7)
    middle.set_xlabel("blur σ of the pairs (radians)")
    middle.set_ylabel("critical temperature τ*")
    right.axvline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
    right.set_xlabel("temperature over τ*")
    right.set_ylabel("J$^{Sym}$ + log V + I(π) (nats)")
    right.set_ylim(0, None)


def _two_clusters(axes: Any, table: dict) -> None:
    """Energy distance and energy from three starts, over the predicted τ*."""
    faces = {"overlap": "full", "random": "left", "opposite cones": "none"}
    of_space = dict(groups(table, "d"))[(3,)]
    for index, ((sigma,), of) in enumerate(groups(of_space, "sigma")):
        for (start,), p in groups(of, "start"):
            label = f"σ = {sigma:g}, τ* = {p['star'][0]:.2f}" if start == "overlap" else None
            style = {"color": COLORS[index], "fillstyle": faces[start], "linestyle": "none", "label": label}
            axes[0].plot(p["ratio"], np.maximum(p["energy_distance"], 0), marker=MARKERS[index], **style)
            axes[1].plot(p["ratio"], p["optimality_gap"], marker=MARKERS[index], **style)
    for ax, label in zip(axes, ("energy distance", "J$^{Sym}$ + log V + I(π) (nats)"), strict=True):
        ax.axvline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
        ax.set_xlabel("temperature over predicted τ*")
        ax.set_ylabel(label)
    axes[0].set_yscale("symlog", linthresh=1e-3)
    axes[0].set_ylim(-2e-4, None)
    axes[0].set_title("two clusters of latents", fontsize=9)
    axes[1].set_title("full: from overlap, half: random, open: cones", fontsize=7)
    axes[0].legend(fontsize=6)


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
        initialisation,
        directions,
        mean_field,
        phases,
    )
}
