"""Figures of the claims about gaps: lines are predicted, markers simulated."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.claims import ring
from experiments.plots import common

COLORS, MARKERS, SPHERES, groups = common.COLORS, common.MARKERS, common.SPHERES, common.groups


FACES = {"overlap": "full", "random": "left", "opposite cones": "none"}


def initialisation(tables: dict) -> pl.Picture:
    """The gap in law at the end, by start, dimension, latents and blur; every run a marker."""
    figure, axes = pl.panels(2, 2, size=(7.2, 5.2), sharey=True)
    for row, (latents, name) in zip(axes, (("ring", "runs"), ("two clusters", "mixture")), strict=True):
        table = tables[name]
        starts = list(dict.fromkeys(table["start"]))
        for ax, sigma in zip(row, (0.0, 0.5), strict=True):
            for (d,), t in groups(table, "d"):
                pick, place = t["sigma"] == sigma, (2, 3, 8, 32).index(d)
                x = np.array([starts.index(s) for s in t["start"][pick]]) + 0.16 * (place - 1.5)
                ax.plot(
                    x,
                    np.maximum(t["energy_distance"][pick], 1e-6),
                    MARKERS[place],
                    color=COLORS[place],
                    label=SPHERES.get(int(d), f"d = {d}"),
                    alpha=0.7,
                )
            ax.set(yscale="log", ylim=(5e-7, 8), xticks=range(len(starts)))
            ax.set_xticklabels(starts)
            ax.axhline(0.01, color=pl.GREY, linewidth=0.8, linestyle=":")
            ax.set_title(f"{latents}: {'matched pairs, σ = 0' if sigma == 0 else 'blurred pairs, σ = 0.5'}")
        row[0].set_ylabel("energy distance at the end")
    for ax in axes[1]:
        ax.set_xlabel("start; dotted: 0.01; what is below 1e-6 is drawn there", fontsize=8)
    axes[0, 1].legend(ncols=2)
    return pl.Picture(figure)


def directions(tables: dict) -> pl.Picture:
    """What three energies of the same pairs leave: on a ring, and on two clusters by start."""
    figure, (axes,) = pl.panels(1, 3, size=(7.4, 2.9))
    ratio = np.linspace(0.2, 1.3, 200)
    axes[0].plot(
        ratio, 2 * np.sqrt(np.maximum(0, 1 - ratio)), color="black", linewidth=1, label="2√(1 − τ/τ*)"
    )
    for index, ((kind,), t) in enumerate(groups(tables["runs"], "kind")):
        style = {"color": COLORS[index], "label": kind, "markersize": 8 - 2 * index, "fillstyle": "none"}
        axes[0].plot(t["ratio"], t["gap"], MARKERS[index], **style)
    mixed = tables["mixture"]
    starts = list(dict.fromkeys(mixed["start"]))
    for index, ((_,), t) in enumerate(groups(mixed, "kind")):
        x = np.array([starts.index(s) for s in t["start"]]) + 0.15 * (index - 1)
        for ax, column in zip(axes[1:], ("distance", "excess"), strict=True):
            ax.plot(x, t[column], MARKERS[index], color=COLORS[index])
    for ax, label in zip(axes[1:], ("energy distance", "J + log V + I(π) (nats)"), strict=True):
        ax.set_xticks(range(len(starts)), [s.replace(" ", "\n") for s in starts])
        ax.set_xlim(-0.5, len(starts) - 0.5)
        ax.set(xlabel="start", ylabel=label, title="two clusters, τ = τ*/3")
    axes[0].set(xlabel="temperature over τ*", ylabel="centroid gap", title="ring, mirror-image start")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return pl.Picture(figure)


def overlap(tables: dict) -> pl.Picture:
    """Growth of every mode of the flat ring; where overlap is lost; the two laws between τ* and the onset."""
    figure, axes = pl.panels(2, 2, size=(7.2, 5.4))
    rates = tables["rates"]
    labels = {
        "antiphase": "out of plane, antiphase",
        "in_phase": "out of plane, in phase",
        "antiphase_along": "along, antiphase",
        "in_phase_along": "along, in phase",
    }
    for ax, sigma in zip(axes[0], (0.5, 0.8), strict=True):
        pick = (rates["sigma"] == sigma) & (rates["ratio"] == rates["ratio"].min())
        of = {name: column[pick] for name, column in rates.items()}
        for index, ((kind,), t) in enumerate(groups(of, "kind")):
            shift = t["mode"] + 0.09 * (index - 1.5)  # lines between whole modes would say nothing
            ax.plot(shift, t["predicted"], "_", color=COLORS[index], markersize=11, markeredgewidth=1.6)
            ax.plot(shift, t["simulated"], MARKERS[index], color=COLORS[index], label=labels[kind])
        ax.axhline(0, color=pl.GREY, linewidth=0.8)
        ax.set(xlabel="mode m", title=f"flat ring, σ = {sigma:g}, τ = {of['ratio'][0]:g} τ*")
        ax.set_yscale("symlog", linthresh=1)
        ax.set_xticks(np.unique(of["mode"]))
    axes[0, 0].set_ylabel("growth rate (1/time)")
    figure.legend(
        *axes[0, 1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize=7,
        title="growth rates: bar predicted, marker run",
        title_fontsize=7,
    )
    left, right = axes[1]
    t, blur = tables["onsets"], np.linspace(0.2, 1.2, 60)
    ratios = [ring.onset(sigma)[0] / ring.critical_temperature(sigma) for sigma in blur]
    flat = np.array([ring.is_flat(sigma, ring.onset(sigma)[0]) for sigma in blur])
    left.plot(blur[flat], np.array(ratios)[flat], color="black", linewidth=1, label="closed form, flat ring")
    left.plot(
        t["sigma"], t["predicted"] / t["star"], "_", color=pl.RED, markersize=14, label="best single cloud"
    )
    left.plot(t["sigma"], t["seen"] / t["star"], "o", color=pl.BLUE, label="where runs part")
    left.axhline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
    left.set(
        xlabel="blur σ (radians)", ylabel="onset over τ*", title="overlap is lost below", ylim=(0.95, None)
    )
    left.legend(fontsize=7)
    e = tables["ends"]
    for index, (name, label) in enumerate(
        (("energy_distance", "energy distance"), ("centroid_gap", "centroid gap"))
    ):
        style = {"color": COLORS[index], "label": label}
        above = e["ratio"] > e["onset"]
        right.plot(e["sigma"][~above], np.maximum(e[name][~above], 1e-7), MARKERS[index], **style)
        right.plot(
            e["sigma"][above],
            np.maximum(e[name][above], 1e-7),
            MARKERS[index],
            **style | {"label": None},
            fillstyle="none",
        )
    right.set(yscale="log", xlabel="blur σ (radians)", ylabel="gap at the end (or 1e-7)", ylim=(5e-8, 1))
    right.set_title("full: between τ* and the onset, open: above")
    right.legend(fontsize=7)
    return pl.Picture(figure)


def phases(tables: dict) -> pl.Picture:
    """Ends of parallel rings on their family; gaps and energies; learned temperatures."""
    figure, axes = pl.panels(2, 3, size=(7.6, 5.6))
    _family(axes[0, 0], tables["family"])
    _against_temperature(axes[0, 1:], tables["diagram"])
    _two_clusters(axes[1, :2], tables["mixture"])
    _learned(axes[1, 2], tables["learned"])
    return pl.Picture(figure)


def _family(ax: Any, t: dict) -> None:
    """Heights of the two rings: from where they set out, along the line of one ratio, to where they end."""
    angle = np.linspace(0, 2 * np.pi, 361)
    for index, ((ratio,), of) in enumerate(groups(t, "ratio")):
        # A point of the family in every direction (cos, sin): (1 - a²)(1 - b²) = ratio².
        ends = np.array(
            [ring.ends(1.0, ratio * ring.critical_temperature(1.0), (np.cos(w), np.sin(w))) for w in angle]
        )
        ax.plot(*ends.T, color=COLORS[index], linewidth=1)
        ax.plot(of["a"], of["b"], MARKERS[index], color=COLORS[index], label=f"end, τ = {ratio:g} τ*")
        for a0, b0, a, b in zip(
            of["a_start"], of["b_start"], of["a_predicted"], of["b_predicted"], strict=True
        ):
            ax.plot((a0, a), (b0, b), ":", color=pl.GREY, linewidth=0.8)
    ax.plot(t["a_start"], t["b_start"], "x", color="black", markersize=4, label="start")
    ax.set(xlabel="height a of ring 1", ylabel="height b of ring 2", aspect="equal", ylim=(-0.95, 1.8))
    ax.set_title("ring: a/b is conserved")
    ax.set_yticks([-0.5, 0, 0.5])
    ax.legend(fontsize=6, loc="upper center")


def _against_temperature(axes: Any, t: dict) -> None:
    """Energy distance from every start, and the energy, flat below τ* where the two are rings."""
    faces = {"overlap": "left", "one side": "bottom", "near": "full", "far": "none"}
    for index, ((sigma,), of) in enumerate(groups(t, "sigma")):
        for (start,), p in groups(of, "start"):
            style = {"color": COLORS[index], "fillstyle": faces[start], "linestyle": "none"}
            x = p["ratio"] + 0.012 * (index - 1)
            axes[0].plot(x, np.maximum(p["energy_distance"], 1e-6), marker=MARKERS[index], **style)
            label = f"σ = {sigma:g}" if start == "near" else None
            axes[1].plot(x, p["optimality_gap"], marker=MARKERS[index], label=label, **style)
    for ax in axes:
        ax.axvline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
        ax.set_xlabel("temperature over τ*")
    axes[0].set(yscale="log", ylabel="energy distance at the end (or 1e-6)", title="ring: gap in law")
    axes[1].set(ylabel="J$^{Sym}$ + log V + I(π) (nats)", ylim=(0, None), title="ring: energy")
    axes[1].legend(
        fontsize=6, title="full: near, open: far, half:\noverlap (left), equal heights", title_fontsize=6
    )


def _two_clusters(axes: Any, table: dict) -> None:
    """Energy distance and energy from three starts, over the predicted τ*."""
    of_space = dict(groups(table, "d"))[(3,)]
    for index, ((sigma,), of) in enumerate(groups(of_space, "sigma")):
        for (start,), p in groups(of, "start"):
            label = f"σ = {sigma:g}, τ* = {p['star'][0]:.2f}" if start == "overlap" else None
            style = {"color": COLORS[index], "fillstyle": FACES[start], "linestyle": "none", "label": label}
            x = p["ratio"] + 0.012 * (index - 1)
            axes[0].plot(x, np.maximum(p["energy_distance"], 1e-6), marker=MARKERS[index], **style)
            axes[1].plot(x, p["optimality_gap"], marker=MARKERS[index], **style)
    for ax, label in zip(
        axes, ("energy distance at the end", "J$^{Sym}$ + log V + I(π) (nats)"), strict=True
    ):
        ax.axvline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
        ax.set(xlabel="temperature over predicted τ*", ylabel=label)
    axes[0].set_yscale("log")
    axes[0].set_title("two clusters: gap in law")
    axes[1].set_title("two clusters: energy")
    axes[1].legend(fontsize=6, title="full: overlap, half: random,\nopen: opposite cones", title_fontsize=6)


def _learned(ax: Any, table: dict) -> None:
    """The temperature over the steps, as it descends the loss with the clouds."""
    for index, ((sigma,), of) in enumerate(groups(table, "sigma")):
        for (start,), t in groups(of, "start"):
            steps, ratios = np.append(0, t["step"]), np.append(start, t["ratio"])
            label = f"σ = {sigma:g}" if start == of["start"][0] else None
            ax.plot(steps, ratios, "-" + MARKERS[index], color=COLORS[index], markersize=2.5, label=label)
    ax.axhline(1, color="black", linewidth=1, linestyle="--")
    ax.set(ylim=(0, None), xlabel="steps", ylabel="temperature over τ*", title="ring: τ learned")
    ax.legend(fontsize=6)
