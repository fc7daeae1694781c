"""Figures for pages as plotly.js takes them, in one style; the same for every kind of report."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctflow._base.colors import BLUE, GREY, RED

FIRST, SECOND = BLUE, RED
"""Colours of the two modalities."""
_SYMBOLS = ("circle", "diamond-open")
_DASHES = ("solid", "dash", "dot")
_INK, _LINE = "#1c2430", "#d8dee6"


def safe(text: str) -> str:
    """Text for a figure: plotly.js takes some HTML, so marks are escaped."""
    return html.escape(text, quote=False).replace("%{", "%&#123;")


def plain(values: Any, digits: int = 5) -> list[Any]:
    """Numbers as a list of floats with few digits; NaN and infinity become None, which draws nothing."""
    array = np.asarray(values, dtype=float)
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in array.ravel()]


def layout(x: str, y: str = "", **more: Any) -> dict[str, Any]:
    """The style of all figures, with titles of the axes.

    Args:
        x: title of the horizontal axis.
        y: title of the vertical axis.
        more: further entries; `xaxis` and `yaxis` are merged into the style's.
    """
    axis = {
        "gridcolor": "#edf0f4",
        "linecolor": "#9aa5b1",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": "#9aa5b1",
    }
    base = {
        "font": {
            "family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif",
            "size": 13,
            "color": _INK,
        },
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 48, "r": 14, "t": 40, "b": 46},
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": True,
        "legend": {
            "itemsizing": "constant",
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
        },
        "xaxis": {**axis, "title": {"text": safe(x), "font": {"size": 13}}},
        "yaxis": {**axis, "title": {"text": safe(y), "font": {"size": 13}}},
    }
    for name in ("xaxis", "yaxis"):
        base[name].update(more.pop(name, {}))
    return {**base, **more}


def histogram(name: str, edges: np.ndarray, share: np.ndarray, color: str, number: int = 0) -> dict[str, Any]:
    """A curve with steps for shares [k] in bins with edges [k + 1]."""
    heights = np.concatenate([[0.0], np.repeat(share, 2), [0.0]])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": safe(name),
        "x": plain(np.repeat(edges, 2)),
        "y": plain(heights),
        "fill": "tozeroy",
        "fillcolor": _faded(color),
        "line": {"color": color, "width": 1.6, "dash": _DASHES[number]},
        "hovertemplate": "%{x:.3g}: %{y:.1%} of the rows<extra>%{fullData.name}</extra>",
    }


def points(
    name: str, xy: np.ndarray, customdata: list[list[Any]], hover: str, color: str, number: int = 0
) -> dict[str, Any]:
    """Points [n, 2]; `hover` may use `%{customdata[k]}` and must hold no text of the user's."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": safe(name),
        "x": plain(xy[:, 0], 4),
        "y": plain(xy[:, 1], 4),
        "customdata": customdata,
        "hovertemplate": hover + "<extra>%{fullData.name}</extra>",
        "marker": {"color": color, "size": 5, "opacity": 0.6, "symbol": _SYMBOLS[number]},
    }


def joined(name: str, starts: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    """A hidden curve of line pieces from each of the starts [n, 2] to its end [n, 2], for a `Toggle`."""
    pieces = np.stack([starts, ends, np.full_like(starts, np.nan)], axis=1).reshape(-1, 2)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": safe(name),
        "x": plain(pieces[:, 0], 4),
        "y": plain(pieces[:, 1], 4),
        "line": {"color": GREY, "width": 0.5},
        "opacity": 0.5,
        "hoverinfo": "skip",
        "visible": False,
    }


def curve(name: str, x: Any, y: Any, color: str, number: int = 0, **more: Any) -> dict[str, Any]:
    """A curve; solid, dashed and dotted for the numbers 0, 1 and 2."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": safe(name),
        "x": plain(x),
        "y": plain(y),
        "line": {"color": color, "width": 2, "dash": _DASHES[number]},
        "hovertemplate": "%{x:.4g}: %{y:.4g}<extra>%{fullData.name}</extra>",
        **more,
    }


def marks(name: str, x: Any, y: Sequence[str], color: str, symbol: str, **more: Any) -> dict[str, Any]:
    """One mark per named row of a dot plot."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": safe(name),
        "x": plain(x),
        "y": [safe(label) for label in y],
        "marker": {"color": color, "size": 10, "symbol": symbol, "line": {"color": color, "width": 2}},
        "hovertemplate": "%{y}: %{x:.4g}<extra>%{fullData.name}</extra>",
        **more,
    }


def length(low: float, high: float, y: float, text: str, color: str) -> list[dict[str, Any]]:
    """A double arrow between two places with a text above it: annotations for a layout."""
    arrow = {
        "x": high,
        "y": y,
        "ax": low,
        "ay": y,
        "xref": "x",
        "yref": "y",
        "axref": "x",
        "ayref": "y",
        "text": "",
        "showarrow": True,
        "arrowhead": 2,
        "arrowside": "start+end",
        "startarrowhead": 2,
        "arrowwidth": 1.5,
        "arrowcolor": color,
    }
    label = {
        "x": (low + high) / 2,
        "y": y,
        "text": safe(text),
        "showarrow": False,
        "yshift": 10,
        "font": {"color": color, "size": 12},
    }
    return [arrow, label]


def _faded(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.25)"
