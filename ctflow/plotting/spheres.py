"""Pictures and maps of spheres, and points on them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

POTENTIAL_COLORS = LinearSegmentedColormap.from_list("wells", ["#23395B", "#6C8EAD", "#E8EDF2"])
# Drawing order from back to front. Matplotlib's own order, by mean depth, hides points behind their surface.
_BEHIND, _SURFACE, _IN_FRONT = 1, 2, 3


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
