"""Figures of the claims about when a gap must open: lines are predicted, markers simulated."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from experiments.plots import common

COLORS, MARKERS, groups = common.COLORS, common.MARKERS, common.groups


def onset(tables: dict) -> pl.Picture:
    """Critical temperatures by coupling and dimension."""
    figure, ((ax,),) = pl.panels(1, 1, size=(6.4, 3.4))
    for index, ((case,), t) in enumerate(groups(tables["onsets"], "case")):
        order = np.argsort(t["d"])
        ax.plot(t["d"][order], t["predicted"][order], color=COLORS[index], linewidth=1)
        ax.plot(t["d"], t["simulated"], MARKERS[index], color=COLORS[index], label=case, fillstyle="none")
    common.logarithmic(ax, tables["onsets"]["d"], y=False)
    ax.set(xlabel="dimension d", ylabel="critical temperature τ*", ylim=(0, 0.85))
    ax.legend(fontsize=7, ncols=2, title="24 latents; line: predicted, marker: particles", title_fontsize=7)
    return pl.Picture(figure)


def least_control(tables: dict) -> pl.Picture:
    """Gap at the end against the strength over λ*, by control; and what the divergence costs."""
    runs, price = tables["runs"], tables["price"]
    dims = np.unique(runs["d"])
    figure, (axes,) = pl.panels(1, len(dims) + 1, size=(2.5 * (len(dims) + 1), 3.0))
    for ax, d in zip(axes, dims, strict=False):
        of = {name: column[runs["d"] == d] for name, column in runs.items()}
        for index, ((control,), t) in enumerate(groups(of, "control")):
            shown = np.maximum(t["energy_distance"], 1e-9)
            style = {"color": COLORS[index], "label": control}
            if len(t["ratio"]) == 1:
                ax.plot(
                    1.6, shown[0], MARKERS[index], **style | {"label": f"{control}, λ = {t['strength'][0]:g}"}
                )
            else:
                ax.plot(t["ratio"], shown, "-" + MARKERS[index], linewidth=0.7, **style, fillstyle="none")
        ax.axvline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
        ax.set(yscale="log", ylim=(5e-10, 1), xlabel="strength over predicted λ*")
        ax.set_title(common.SPHERES.get(int(d), f"d = {d}"))
    axes[0].set_ylabel("energy distance at the end (or 1e-9)")
    axes[0].legend(fontsize=6, loc="lower left")
    ax = axes[-1]
    for index, ((d,), t) in enumerate(groups(price, "d")):
        label = common.SPHERES.get(int(d), f"d = {d}")
        early = t["predicted"] < 3 * t["overlap"]
        ax.plot(t["strength"][early], t["predicted"][early], ":", color=COLORS[index], linewidth=1)
        ax.plot(
            t["strength"], t["simulated"], MARKERS[index], color=COLORS[index], label=label, fillstyle="none"
        )
        ax.axhline(t["overlap"][0], color=COLORS[index], linewidth=0.8, linestyle="--")
    ax.set(xscale="log", yscale="log", xlabel="strength λ of the divergence", ylabel="energy paid (nats)")
    ax.set_title("dotted: second order, dashed: overlap", fontsize=7)
    ax.legend(fontsize=7)
    return pl.Picture(figure)


def modalities(tables: dict) -> pl.Picture:
    """Onset against the number of modalities; heights at which three rings end; least strengths."""
    figure, (axes,) = pl.panels(1, 3, size=(7.4, 2.9))
    for index, ((graph,), t) in enumerate(groups(tables["onsets"], "graph")):
        style = {"color": COLORS[index]}
        axes[0].plot(t["modalities"], t["predicted"], "-", linewidth=1, **style)
        axes[0].plot(t["modalities"], t["simulated"], MARKERS[index], **style, label=graph, fillstyle="none")
    axes[0].axhline(1, color=pl.GREY, linewidth=0.8, linestyle="--")
    axes[0].set(
        xlabel="modalities K", ylabel="onset over τ*", title="ring: waves part them below", ylim=(0.99, None)
    )
    ends = tables["ends"]
    labels = [f"{graph},\n{start}" for graph, start in zip(ends["graph"], ends["start"], strict=True)]
    for index in range(3):
        name = ("hub or first", "second", "third")[index]
        x = np.arange(len(labels)) + 0.18 * (index - 1)
        axes[1].plot(x, ends[f"start_{index}"], "x", color=COLORS[index], markersize=3)
        axes[1].plot(x, ends[f"end_{index}"], MARKERS[index], color=COLORS[index], label=name)
    for sign in (1, -1):
        axes[1].axhline(sign * ends["predicted"][0], color=pl.GREY, linewidth=0.8, linestyle="--")
    axes[1].set(ylabel="height of the ring (x: start)", title="three rings at 0.8 τ*", ylim=(-0.75, 1.1))
    axes[1].set_xticks(range(len(labels)), labels, fontsize=5, rotation=45)
    least = tables["least"]
    names = [f"{graph} of {count}" for graph, count in zip(least["graph"], least["modalities"], strict=True)]
    axes[2].bar(range(len(names)), least["strength"], color=pl.BLUE, width=0.6)
    axes[2].set_xticks(range(len(names)), names, fontsize=6, rotation=30)
    axes[2].set(ylabel="λ* of the divergence", title="two clusters, S²")
    axes[0].legend(fontsize=7)
    axes[1].legend(fontsize=6, ncols=3, loc="upper center", columnspacing=0.8, handletextpad=0.2)
    return pl.Picture(figure)


def sigmoid(tables: dict) -> pl.Picture:
    """The gap against a fixed bias, from three starts; and where a learned bias ends."""
    figure, (axes,) = pl.panels(1, 2, size=(6.8, 3.1))
    curve, fixed, learned = tables["curve"], tables["fixed"], tables["learned"]
    axes[0].plot(curve["bias"], curve["gap"], color="black", linewidth=1, label="predicted")
    for index, ((a, b), t) in enumerate(groups(fixed, "start_a", "start_b")):
        label = f"from heights {a:g}, {b:g}"
        axes[0].plot(
            t["bias"],
            t["gap"],
            MARKERS[index],
            color=COLORS[index],
            label=label,
            fillstyle="none",
            markersize=8 - 2 * index,
        )
    axes[0].set(xlabel="fixed bias b", ylabel="centroid gap at the end", title="a fixed bias sets the gap")
    for index, ((rate_tau, rate), t) in enumerate(groups(learned, "rate_tau", "rate")):
        what = "b and τ" if rate_tau else "b"
        axes[1].plot(
            t["bias_end"],
            t["gap"],
            MARKERS[index],
            color=COLORS[index],
            label=f"{what} learned, rate {rate:g}",
        )
    axes[1].set(
        xlabel="bias at the end", ylabel="centroid gap at the end", title="learned: the start and rates do"
    )
    for ax in axes:
        ax.set_ylim(-0.05, 2)
        ax.legend(fontsize=6.5)
    return pl.Picture(figure)


def batches(tables: dict) -> pl.Picture:
    """τ* of finite batches; the drift among neutral states; paths under noise."""
    figure, (axes,) = pl.panels(1, 3, size=(7.4, 3.0))
    shift = tables["shift"]
    for index, ((sigma, positive), t) in enumerate(groups(shift, "sigma", "positive")):
        pick = t["tau"] > 0
        style: dict[str, Any] = {"color": COLORS[index // 2], "linewidth": 1}
        label = f"σ = {sigma:g}" if positive else None
        kind = "-" if positive else ":"
        axes[0].plot(t["N"][pick], (t["tau"] / t["limit"])[pick], kind, label=label, **style)
        axes[0].plot(
            t["N"], t["first_order"] / t["limit"], MARKERS[index // 2], color=style["color"], markersize=3
        )
    axes[0].set(xscale="log", xlabel="negatives N", ylabel="τ*$_N$ over τ*", ylim=(0.6, 1.05))
    axes[0].set_title("solid: positive in the denominator,\ndotted: not; markers: first order", fontsize=7)
    for index, ((fraction,), t) in enumerate(groups(tables["drift"], "fraction")):
        order = np.argsort(t["angle"])
        axes[1].errorbar(
            np.degrees(t["angle"][order]),
            t["drift"][order],
            yerr=2 * t["error"][order],
            fmt="-" + MARKERS[index],
            color=COLORS[index],
            markersize=3,
            linewidth=0.8,
            label=f"{fraction:g} τ*",
        )
    axes[1].axhline(0, color=pl.GREY, linewidth=0.8)
    axes[1].set(xlabel="ψ = arctan(b/a) (degrees)", ylabel="drift K (radians per ηt)")
    axes[1].set_title("noise of batches of 16:\n−45° mirror images, 45° equal", fontsize=7)
    for index, ((fraction, start), t) in enumerate(groups(tables["paths"], "fraction", "start")):
        order = np.argsort(t["time"])
        style = {"color": COLORS[index % 4]}
        axes[2].plot(t["time"][order], np.degrees(t["predicted"][order]), linewidth=1, **style)
        axes[2].errorbar(
            t["time"],
            np.degrees(t["angle"]),
            yerr=2 * np.degrees(t["error"]),
            fmt=MARKERS[index % 4],
            markersize=3,
            label=f"{fraction:g} τ*, from {np.degrees(start):.0f}°",
            **style,
        )
    axes[2].set(xlabel="step size × time, ηt", ylabel="ψ (degrees)", title="runs against the drift")
    for ax in axes:
        ax.legend(fontsize=6.5)
    return pl.Picture(figure)
