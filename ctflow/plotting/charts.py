"""Bands, shades of one colour, and angles on the circle."""

from typing import Any

import matplotlib as mpl
import numpy as np


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
