"""All drawing: one style with colour-blind safe colours (Okabe-Ito), and pictures of spheres.

Functions draw arrays on matplotlib axes; nothing touches pyplot's global state.
"""

import os
import sys
from contextlib import suppress

# A notebook's environment may name a backend in MPLBACKEND that is not installed here; matplotlib's import
# would then fail. The backend is therefore set after the import, and ignored if it does not exist.
_backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
import matplotlib as mpl

if _backend:
    os.environ["MPLBACKEND"] = _backend
    with suppress(ValueError):
        mpl.rcParams["backend"] = _backend

from ctflow._base.colors import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, YELLOW
from ctflow.plotting.charts import band, joint_histogram, polar_density, shades
from ctflow.plotting.pictures import Movie, Picture
from ctflow.plotting.runs import plot
from ctflow.plotting.spheres import (
    POTENTIAL_COLORS,
    equal_area_map,
    globe,
    globe_points,
    globe_surface,
    longitude_latitude,
    map_frame,
    view_direction,
)
from ctflow.plotting.style import panels, styled

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
