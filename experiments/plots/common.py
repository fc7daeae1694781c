"""What the figures of the claims share: colours, groups of a table's rows, axes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from ctflow import plotting as pl

SPHERES = {2: "S¹", 3: "S²"}
COLORS = (pl.BLUE, pl.RED, pl.GREEN, pl.PURPLE)
MARKERS = "osv^"


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
