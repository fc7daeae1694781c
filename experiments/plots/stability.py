"""Figures of the stability experiment: lines are predicted, markers are particles."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result
from experiments.plots import common

COLORS, MARKERS, groups = common.COLORS, common.MARKERS, common.groups


@pl.styled
def plot(result: Result) -> dict:
    """Critical temperatures; least strengths and what they cost."""
    middle = result.facts["middle_sigma"]
    return {
        "temperatures.png": _temperatures(result.tables["temperatures"], middle),
        "controls.png": _controls(result.tables["strengths"], result.tables["price"], middle),
    }


def _line(ax: Any, t: dict, x: str, index: int, label: str) -> None:
    order = np.argsort(t[x])
    style = {"color": COLORS[index % 4], "label": None}
    ax.plot(t[x][order], t["predicted"][order], linewidth=1, **style)
    ax.plot(
        t[x], t["simulated"], MARKERS[index % 4], **style | {"label": label}, fillstyle="none", clip_on=False
    )


def _picked(t: dict, pick: Any) -> dict:
    return {name: column[pick] for name, column in t.items()}


def _from_zero(ax: Any) -> None:
    ax.set_ylim(0, 1.08 * max(np.nanmax(line.get_ydata()) for line in ax.lines))


def _dimensions(ax: Any, t: dict) -> None:
    ticks = np.unique(t["d"])
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [f"{d:g}" for d in ticks])
    ax.minorticks_off()
    ax.set_xlabel("dimension d")


def _temperatures(table: dict, middle: float) -> pl.Picture:
    figure, (axes,) = pl.panels(1, 3, size=(7.4, 2.9))
    main_loss = _picked(table, table["loss"] == table["loss"][0])
    dims = [
        d for d in np.unique(main_loss["d"]) if np.sum(main_loss["d"] == d) > 1 or len(main_loss["d"]) == 1
    ]
    for index, d in enumerate(dims):
        _line(
            axes[0],
            _picked(main_loss, main_loss["d"] == d),
            "sigma",
            index,
            common.SPHERES.get(int(d), f"d = {d:g}"),
        )
    axes[0].set(
        xlabel="blur σ (radians)", ylabel="critical temperature τ*", title="InfoNCE: more heterogeneous"
    )
    at_middle = _picked(main_loss, main_loss["sigma"] == middle)
    _line(axes[1], at_middle, "d", 0, f"σ = {middle:g}")
    _dimensions(axes[1], at_middle)
    axes[1].set_title("InfoNCE: more dimensions")
    low = table["d"].min()
    for index, ((loss,), t) in enumerate(groups(_picked(table, table["d"] == low), "loss")):
        _line(axes[2], t, "sigma", index, loss)
    axes[2].set(xlabel="blur σ (radians)", title=f"losses, {common.SPHERES.get(int(low), f'd = {low:g}')}")
    for ax in axes:
        _from_zero(ax)
        ax.legend(fontsize=7)
    figure.suptitle(
        "Below τ* overlap is unstable (line: predicted from one shared cloud, markers: particles)"
    )
    return pl.Picture(figure)


def _controls(table: dict, price: dict, middle: float) -> pl.Picture:
    figure, (axes,) = pl.panels(1, 3, size=(7.4, 2.9))
    low = table["d"].min()
    for index, ((control,), t) in enumerate(groups(table, "control")):
        _line(axes[0], _picked(t, t["d"] == low), "sigma", index, control)
        at_middle = _picked(t, t["sigma"] == middle)
        _line(axes[1], at_middle, "d", index, control)
    _dimensions(axes[1], table)
    sphere = common.SPHERES.get(int(low), f"d = {low:g}")
    axes[0].set(xlabel="blur σ (radians)", ylabel="least strength λ*", title=sphere)
    axes[1].set_title(f"σ = {middle:g}")
    for index, ((control,), t) in enumerate(groups(price, "control")):
        axes[2].plot(
            t["energy_distance"],
            np.maximum(t["paid"], 1e-7),
            "-" + MARKERS[index],
            color=COLORS[index],
            markersize=3,
            label=control,
        )
    axes[2].axhline(price["overlap"][0], color=pl.GREY, linewidth=0.8, linestyle="--")
    axes[2].set(
        xscale="log",
        xlim=(1e-3, 1),
        yscale="log",
        xlabel="energy distance left",
        ylabel="energy paid (nats)",
        title=f"price, {sphere}, σ = {middle:g}\ndashed: overlap",
    )
    for ax in axes[:2]:
        _from_zero(ax)
    for ax in axes:
        ax.legend(fontsize=7)
    figure.suptitle("From λ* on overlap is stable (line: predicted, markers: particles)")
    return pl.Picture(figure)
