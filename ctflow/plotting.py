"""All drawing: one style with colour-blind safe colours (Okabe-Ito), and pictures of spheres.

Functions draw arrays on matplotlib axes; nothing touches pyplot's global state.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

# A notebook's environment may name a backend in MPLBACKEND that is not installed here; matplotlib's import
# would then fail. The backend is therefore set after the import, and ignored if it does not exist.
_backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
import matplotlib as mpl

if _backend:
    os.environ["MPLBACKEND"] = _backend
    with suppress(ValueError):
        mpl.rcParams["backend"] = _backend
from cycler import cycler
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ctflow import io
from ctflow._base.checks import check_count, check_positive
from ctflow._base.colors import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, YELLOW

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "POTENTIAL_COLORS",
    "PURPLE",
    "RED",
    "SKY",
    "YELLOW",
    "Movie",
    "Picture",
    "band",
    "equal_area_map",
    "globe",
    "globe_points",
    "globe_surface",
    "joint_histogram",
    "longitude_latitude",
    "map_frame",
    "panels",
    "plot",
    "polar_density",
    "shades",
    "styled",
    "view_direction",
]

POTENTIAL_COLORS = LinearSegmentedColormap.from_list("wells", ["#23395B", "#6C8EAD", "#E8EDF2"])

_CLOUDS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
_VIDEO_CODECS = {"mp4": "h264", "webm": "libvpx-vp9"}
# Drawing order from back to front. Matplotlib's own order, by mean depth, hides points behind their surface.
_BEHIND, _SURFACE, _IN_FRONT = 1, 2, 3
# The user's own settings do not affect figures: the same numbers give the same picture everywhere, without
# LaTeX or missing fonts. Only the settings of the backend and of ffmpeg's path stay as they are.
_STYLE: dict[Any, Any] = {
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
    return wraps(draw)(mpl.rc_context(_STYLE)(draw))


class Picture(NamedTuple):
    """A figure with a method to save it; a file is written completely or not at all."""

    figure: Figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the figure in the format of the path's ending (upper or lower case).

        Raises:
            ValueError: the path has no ending, or one that is not an image format.
        """
        known = tuple(self.figure.canvas.get_supported_filetypes())
        suffix = _ending(path, known, "a picture is no film: use ct.plotting.Movie")
        with mpl.rc_context(_STYLE), io.atomic(path) as file:
            # A PNG gets no matplotlib version, so the same figure gives the same bytes.
            self.figure.savefig(file, format=suffix, metadata={"Software": None} if suffix == "png" else None)

    def _repr_png_(self) -> bytes:
        """The figure as PNG: what a notebook shows."""
        with mpl.rc_context(_STYLE), BytesIO() as file:
            self.figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
            return file.getvalue()


class Movie(NamedTuple):
    """A figure that is drawn again for each frame, and a method to save the movie."""

    figure: Figure
    draw: Callable[[int], None]
    frames: int
    fps: int = 12

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the movie in the format of the path's ending: .gif, or with ffmpeg installed .mp4 or .webm.

        Raises:
            ValueError: another ending, or one that needs ffmpeg when ffmpeg is not installed; no frames; a
                rate `fps` that is not above 0.
        """
        check_count("frames", self.frames)
        check_positive("fps", self.fps)
        with mpl.rc_context(_STYLE):
            codecs = _VIDEO_CODECS if FFMpegWriter.isAvailable() else {}
            missing = "it needs ffmpeg, which is not on the PATH: install it"
            suffix = _ending(path, ("gif", *codecs), missing)
            if suffix == "gif":
                writer = PillowWriter(fps=self.fps)
            else:  # all players support even sizes and this pixel format
                even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-pix_fmt", "yuv420p"]
                writer = FFMpegWriter(fps=self.fps, codec=codecs[suffix], extra_args=even)
            temporary = f"{os.fspath(path)}.part.{suffix}"
            try:
                with writer.saving(self.figure, temporary, dpi=90):
                    for frame in range(self.frames):
                        self.draw(frame)
                        writer.grab_frame()
                os.replace(temporary, path)
            finally:
                if os.path.exists(temporary):
                    os.unlink(temporary)


def _ending(path: str | os.PathLike[str], known: tuple[str, ...], no_video: str) -> str:
    """The path's ending in lower case without its dot; raises ValueError unless it is in `known`.

    `no_video` says why a film cannot be written.
    """
    suffix = os.path.splitext(os.fspath(path))[1][1:].lower()
    if suffix not in known:
        endings = ", ".join(f".{name}" for name in known)
        hint = f"; {no_video}" if suffix in _VIDEO_CODECS else ""
        raise ValueError(
            f"path must end in one of {endings} to be written here, got {os.fspath(path)!r}{hint}"
        )
    return suffix


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
    with mpl.rc_context(_STYLE):
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


def band(
    ax: Any,
    x: Any,
    samples: Any,
    *,
    color: str,
    label: str,
    marker: str = "o",
    shown: tuple[float, float, float] = (0.1, 0.5, 0.9),
) -> None:
    """Draw quantiles of samples [x, runs]: the median as a line, by default the middle 80 % as a band."""
    low, middle, high = np.quantile(samples, shown, axis=-1)
    ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    ax.plot(x, middle, color=color, marker=marker, label=label)


def shades(count: int) -> list[Any]:
    """Colours from dark to light for an ordered family of curves (viridis without its palest end)."""
    return list(mpl.colormaps["viridis"](np.linspace(0, 0.9, count)))


def polar_density(ax: Any, angles: Any, *, bins: int, color: str, label: str) -> None:
    """Draw the density of angles (radians) as a closed curve on polar axes."""
    density, edges = np.histogram(angles, bins=bins, range=(-np.pi, np.pi), density=True)
    centers = (edges[:-1] + edges[1:]) / 2
    ax.plot(np.append(centers, centers[0]), np.append(density, density[0]), color=color, label=label)
    ax.set_rticks([])
    ax.set_xticks(np.arange(4) * np.pi / 2, ["0", "", "π", ""])
    ax.tick_params(pad=-2)


def joint_histogram(ax: Any, a: Any, b: Any, *, bins: int) -> None:
    """Draw a histogram of pairs of angles (radians) as log(1 + count), with the diagonal."""
    counts = np.histogram2d(a, b, bins=bins, range=[[-np.pi, np.pi]] * 2)[0]
    ax.imshow(
        np.log1p(counts).T,
        extent=(-np.pi, np.pi) * 2,
        origin="lower",
        cmap="viridis",
        interpolation="nearest",
    )
    ax.plot([-np.pi, np.pi], [-np.pi, np.pi], color="white", linewidth=0.5, linestyle=":")


def globe(ax: Any, *, view: tuple[float, float] = (20, 30)) -> None:
    """Prepare 3-D axes: a faint unit sphere, no box."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, np.pi, 13))
    grid = np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
    ax.computed_zorder = False
    ax.plot_wireframe(*grid, color="#C5CDD6", alpha=0.35, linewidth=0.4, zorder=_SURFACE)
    ax.set_axis_off()
    ax.set_box_aspect((1, 1, 1), zoom=1.35)
    ax.view_init(elev=view[0], azim=view[1])
    for set_limits in (ax.set_xlim, ax.set_ylim, ax.set_zlim):
        set_limits(-1, 1)


def view_direction(view: tuple[float, float]) -> np.ndarray:
    """Unit vector from the sphere's centre to the viewer, for `globe`'s (elevation, azimuth) in degrees."""
    elevation, azimuth = np.radians(view)
    return np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )


def globe_points(ax: Any, z: Any, *, color: Any, view: tuple[float, float], size: float = 5) -> list[Any]:
    """Draw points on axes prepared by `globe`; on the far side, faded or hidden by a `globe_surface`."""
    z = np.asarray(z)
    front = z @ view_direction(view) > 0
    shades = ((front, 0.85, _IN_FRONT), (~front, 0.12, _BEHIND))
    return [
        ax.scatter(*z[side].T, s=size, color=color, alpha=alpha, linewidths=0, depthshade=False, zorder=order)
        for side, alpha, order in shades
    ]


def globe_surface(ax: Any, value_fn: Callable[[np.ndarray], np.ndarray]) -> ScalarMappable:
    """Colour the sphere on axes prepared by `globe` by a function of points [k, 3]; low values are dark.

    Returns:
        The mappable from which a colour bar is made.
    """
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 121), np.linspace(0, np.pi, 61))
    z = np.stack([np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)], axis=-1)
    values = np.asarray(value_fn(z.reshape(-1, 3))).reshape(u.shape)
    scale = ScalarMappable(Normalize(values.min(), max(values.max(), values.min() + 1e-12)), POTENTIAL_COLORS)
    colors = scale.to_rgba(values)
    ax.plot_surface(
        *np.moveaxis(z, -1, 0),
        facecolors=colors,
        rstride=1,
        cstride=1,
        shade=False,
        antialiased=False,
        zorder=_SURFACE,
    )
    return scale


def map_frame(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rotation matrix [3, 3] that puts a and b on a map's equator, on either side of its middle."""
    middle = (a + b) / np.linalg.norm(a + b)
    east = (b - a) / np.linalg.norm(b - a)
    return np.stack([middle, east, np.cross(middle, east)])


def longitude_latitude(z: Any, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude (radians) of points [n, 3] in the frame of `map_frame`."""
    p = np.asarray(z) @ frame.T
    return np.arctan2(p[:, 1], p[:, 0]), np.arcsin(np.clip(p[:, 2], -1, 1))


def equal_area_map(
    ax: Any, frame: np.ndarray, value_fn: Callable[[np.ndarray], np.ndarray], *, filled: bool = False
) -> None:
    """Draw contours of a function of points [k, 3] on Mollweide axes, which show equal areas as equal."""
    longitude, latitude = np.meshgrid(np.linspace(-np.pi, np.pi, 181), np.linspace(-np.pi / 2, np.pi / 2, 91))
    p = np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ],
        axis=-1,
    ).reshape(-1, 3)
    values = np.asarray(value_fn(p @ frame)).reshape(longitude.shape)
    if filled:
        ax.contourf(longitude, latitude, values, levels=24, cmap=POTENTIAL_COLORS)
    ax.contour(longitude, latitude, values, levels=8, colors="#9AA5B1", linewidths=0.6, linestyles="solid")
    ax.set_xticks([])
    ax.set_yticks([])


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
