"""What the page's scripts draw, as content for JSON."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ctflow._base.colors import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, YELLOW
from ctflow.pages.figures import plain
from ctflow.viewing.axes import Axes
from ctflow.viewing.packing import limits, pack_levels, pack_positions
from ctflow.viewing.runs import Run
from ctflow.viewing.surfaces import LATITUDES, evaluated
from ctflow.viewing.words import in_order

_WEIGHT = "weight × number of particles"
# Blue and vermilion are hard to see on dark ground; the second list is brighter.
_LIGHT = (BLUE, RED, GREEN, PURPLE, ORANGE, GREY)
_DARK = (SKY, ORANGE, GREEN, PURPLE, YELLOW, "#B4BCC6")
_Surface = Callable[..., Any]


def scene(
    runs: Sequence[Run], axes: Axes, surfaces: Sequence[_Surface | None], surface_name: str
) -> dict[str, Any]:
    """Runs, scales and surfaces. The runs share every scale, so that their colours can be compared."""
    fields = [_fields(run) for run in runs]
    modes = list(dict.fromkeys(name for of in fields for name in of))
    scales = {name: limits(*(part for of in fields for part in of.get(name, ()))) for name in modes}
    values = [None if s is None else evaluated(s, run) for s, run in zip(surfaces, runs, strict=True)]
    heights = limits(*values)
    d = runs[0].d
    return {
        "kind": {2: "circle", 3: "sphere"}.get(d, "ball"),
        "unit": runs[0].unit,
        "colors": {"light": _LIGHT, "dark": _DARK},
        "modes": [{"name": name, "low": low, "high": high} for name, (low, high) in scales.items()],
        "surface": None
        if all(v is None for v in values)
        else {
            "name": surface_name,
            "low": heights[0],
            "high": heights[1],
            "rows": 1 if d == 2 else LATITUDES,
            "columns": next(v.shape[1] for v in values if v is not None) // (1 if d == 2 else LATITUDES),
        },
        "runs": [
            {
                "label": run.label,
                "clock": plain(run.clock, 9),
                "names": list(run.names),
                "clouds": [_positions(z, axes) for z in run.clouds],
                "fields": [
                    [_part(of.get(name), i, *scales[name]) for i in range(len(run.clouds))] for name in modes
                ],
                "series": {name: plain(run.series[name], 6) for name in in_order(run.series)},
                "seriesClock": plain(run.series_clock, 9),
                "surface": None if v is None else _levels(v, *heights),
            }
            for run, of, v in zip(runs, fields, values, strict=True)
        ],
    }


def _fields(run: Run) -> dict[str, tuple[np.ndarray | None, ...]]:
    """The fields, and the weights as one of them."""
    if all(w is None for w in run.weights):
        return run.fields
    return {_WEIGHT: tuple(None if w is None else w * w.shape[1] for w in run.weights)} | run.fields


def _positions(z: np.ndarray, axes: Axes) -> dict[str, Any]:
    return {"n": z.shape[1], "data": pack_positions(z @ axes.frame.T)}


def _part(parts: tuple[np.ndarray | None, ...] | None, i: int, low: float, high: float) -> Any:
    part = None if parts is None else parts[i]
    return None if part is None else _levels(part, low, high)


def _levels(values: np.ndarray, low: float, high: float) -> dict[str, Any]:
    data, frames = pack_levels(values, low, high)
    return {"frames": frames, "data": data}
