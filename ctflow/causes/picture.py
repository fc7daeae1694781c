"""An explanation as a picture."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow import plotting as pl

if TYPE_CHECKING:
    from ctflow.causes.explanation import Explanation

_STYLES = ((pl.RED, "o"), (pl.GREEN, "s"), (pl.PURPLE, "^"))


@pl.styled
def picture(e: "Explanation") -> pl.Picture:
    """Left: loss against gap, rigidly and for free rows. Middle: gap against loss. Right: against rows."""
    figure, axes = pl.panels(1, 3, size=(10.2, 3.3))
    _line(axes[0, 0], e)
    _freed(axes[0, 1], e)
    _rows(axes[0, 2], e)
    return pl.Picture(figure)


def _line(ax: Any, e: "Explanation") -> None:
    """Plot the loss as the gap is closed rigidly, and the paths of free rows at the largest size."""
    line = e.line
    ax.plot(line.gap, line.loss, color=pl.BLUE, label="moved rigidly")
    for at, marker, label in ((line.least, "v", "lowest"), (line.here, "o", "now")):
        style = {"color": pl.BLUE, "marker": marker, "linestyle": "none", "markersize": 7}
        ax.plot(line.gap[at], line.loss[at], label=label, **style)
    for (name, path), (color, marker) in zip(e.free[-1].paths().items(), _STYLES, strict=True):
        ax.plot(path.gap, path.loss, color=color, marker=marker, markersize=2.5, linewidth=0.8, label=name)
    ax.axvline(0, color=pl.GREY, linewidth=0.6)
    ax.set_xlabel("centroid gap (negative: means have passed)")
    ax.set_ylabel("in-batch loss (nats)")
    ax.set_title(f"τ = {e.settings['temperature']:g}: closing the gap, and free rows")
    ax.legend()


def _freed(ax: Any, e: "Explanation") -> None:
    """Plot the share of the gap that is left against the share of the loss that is left."""
    free = e.free[-1]
    for (name, path), (color, marker) in zip(free.paths().items(), _STYLES, strict=True):
        lost = (path.loss - free.reached) / (path.loss[0] - free.reached)
        ax.plot(
            np.maximum(lost, 1e-5),
            path.gap / path.gap[0],
            color=color,
            marker=marker,
            markersize=2.5,
            linewidth=0.8,
            label=name,
        )
    ax.axvline(0.01, color=pl.GREY, linewidth=0.8, linestyle="--")
    ax.set_xscale("log")
    ax.set_xlim(1.5, 0.7e-5)
    ax.set_ylim(-0.03, 1.08)
    ax.set_xlabel("share of the loss that is left to lose\n(dashed: 1 %)")
    ax.set_ylabel("share of the gap that is left")
    ax.set_title("free rows: is the gap lost with the loss?")
    ax.legend(loc="lower left")


def _rows(ax: Any, e: "Explanation") -> None:
    """Plot the share that is neutral to the loss against the number of rows."""
    rows = [f.rows[0] for f in e.free]
    ax.plot(
        rows, [f.kept for f in e.free], color=pl.RED, marker="o", label="gradient flow, 99 % of loss lost"
    )
    for name, color, marker in (("adam", pl.GREEN, "s"), ("controlled", pl.PURPLE, "^")):
        paths = [getattr(f, name) for f in e.free]
        label = "Adam, end" if name == "adam" else "Adam with penalty, end"
        ax.plot(rows, [p.gap[-1] / p.gap[0] for p in paths], color=color, marker=marker, label=label)
    ax.set_xscale("log")
    ax.set_xticks(rows, [str(n) for n in rows])
    ax.minorticks_off()
    ax.set_ylim(-0.03, 1.08)
    ax.set_xlabel("number of rows")
    ax.set_ylabel("share of the gap that is left")
    ax.set_title("dependence on the number of rows")
    ax.legend(loc="best")
