"""A run as a figure for a paper."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from ctflow._base.colors import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from ctflow.plotting.pictures import Picture
from ctflow.plotting.spheres import globe, globe_points
from ctflow.plotting.style import panels, styled

_CLOUDS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)


@styled
def plot(
    run: Any,
    *,
    frames: Sequence[int] | None = None,
    series: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    axes: str = "auto",
    view: tuple[float, float] = (20, 30),
) -> Picture:
    """A figure for a paper: the clouds at some saved steps, and beneath them what was measured.

    Args:
        run: as for `ct.view`: a `ct.Solution` whose clouds were saved (`save=ct.saving.frames(energy)`), an
            array [frames, n, d], a Pair of arrays, or a run of `ct.viewing.as_run`.
        frames: indices of the frames to draw, a column for each; by default the first, the middle and the
            last.
        series: names of the numbers per step to draw, at most one per column; by default the energy, then
            gaps and distances, then others.
        names: a name for each cloud.
        axes: the three axes for d > 3, as for `ct.view`.
        view: where the viewer is, (elevation, azimuth) in degrees.

    Raises:
        ValueError: no clouds were saved; a frame or a series does not exist.
    """
    from ctflow.viewing.axes import axes_of
    from ctflow.viewing.solutions import any_run
    from ctflow.viewing.words import in_order

    found = any_run(run, names)
    last = found.frames - 1
    shown = sorted({0, last // 2, last}) if frames is None else [int(frame) for frame in frames]
    if not shown or any(not -found.frames <= frame <= last for frame in shown):
        raise ValueError(f"frames must be indices of the {found.frames} frames, got {frames}")
    wanted = in_order(found.series)[: len(shown)] if series is None else list(series)
    missing = [name for name in wanted if name not in found.series]
    if missing or len(wanted) > len(shown):
        known = ", ".join(found.series) or "none"
        raise ValueError(f"series must be at most {len(shown)} of the saved ones ({known}), got {wanted}")
    rows, frame = 2 if wanted else 1, axes_of([found], axes).frame
    size = 2.3 * len(shown), 2.4 + 1.5 * (rows - 1)
    figure, grid = panels(
        rows, len(shown), size=size, projection=[None if found.d == 2 else "3d", None][:rows]
    )
    for ax, at in zip(grid[0], shown, strict=True):
        drawn = [z[at] @ frame.T for z in found.clouds]
        if found.d == 2:
            _draw_circle(ax, drawn)
        else:
            _draw_globe(ax, drawn, view)
        ax.set_title(f"{found.unit} {found.clock[at]:.4g}", y=None if found.d == 2 else 0.97)
    for ax, name in zip(grid[-1], wanted, strict=False):
        values = found.series[name]
        ax.plot(found.series_clock, values, color="black", linewidth=1)
        marked = found.clock[shown]
        ax.plot(marked, values[np.searchsorted(found.series_clock, marked)], "o", color=GREY)
        ax.set(xlabel=found.unit, title=name.replace("_", " "))
    for ax in grid[-1][len(wanted) :] if wanted else ():
        ax.remove()
    if len(wanted) == 1:  # one curve takes the whole row
        grid[-1][0].set_subplotspec(grid[-1][0].get_gridspec()[-1, :])
    handles = [
        Line2D([], [], marker="o", linestyle="", color=_CLOUDS[i % len(_CLOUDS)], label=name)
        for i, name in enumerate(found.names)
    ]
    if len(handles) > 1 or names is not None:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return Picture(figure)


def _draw_globe(ax: Any, clouds: Sequence[np.ndarray], view: tuple[float, float]) -> None:
    globe(ax, view=view)
    size = float(
        np.clip(2500 / sum(map(len, clouds)), 0.6, 5)
    )  # many points are drawn small, to be seen apart
    for i, z in enumerate(clouds):
        globe_points(ax, z, color=_CLOUDS[i % len(_CLOUDS)], view=view, size=size)


def _draw_circle(ax: Any, clouds: Sequence[np.ndarray]) -> None:
    """Each further cloud a little outside the one before, so that all can be seen."""
    angle = np.linspace(0, 2 * np.pi, 121)
    ax.plot(np.cos(angle), np.sin(angle), color="#C5CDD6", linewidth=0.6)
    for i, z in enumerate(clouds):
        x, y = (1 + 0.06 * i) * z[:, :2].T
        ax.scatter(x, y, s=5, color=_CLOUDS[i % len(_CLOUDS)], linewidths=0, alpha=0.85, zorder=3)
    ax.set_axis_off()
    ax.set_aspect("equal")
