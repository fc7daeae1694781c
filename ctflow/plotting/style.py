"""The style of all figures, and how one is made."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ctflow._base.colors import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY

# The user's own settings do not affect figures: the same numbers give the same picture everywhere, without
# LaTeX or missing fonts. Only the settings of the backend and of ffmpeg's path stay as they are.
STYLE: dict[Any, Any] = {
    **{
        key: value
        for key, value in mpl.rcParamsDefault.items()
        if not key.startswith(("backend", "animation.ffmpeg"))
    },
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[BLUE, RED, GREEN, ORANGE, PURPLE, SKY, GREY]),
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "savefig.dpi": 200,
    "figure.facecolor": "white",
}


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a drawing function so that it uses ctflow's style."""
    return wraps(draw)(mpl.rc_context(STYLE)(draw))


def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    size: tuple[float, float],
    projection: str | Sequence[str | None] | None = None,
    sharey: bool = False,
) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches with an array [rows, columns] of axes; one projection, or one per row."""
    names = [projection] * rows if projection is None or isinstance(projection, str) else projection
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = np.empty((rows, columns), dtype=object)
        for r in range(rows):
            for c in range(columns):
                share = axes[r, 0] if sharey and c else None
                axes[r, c] = figure.add_subplot(
                    rows, columns, r * columns + c + 1, projection=names[r], sharey=share
                )
    return figure, axes
