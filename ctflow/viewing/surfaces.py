"""A function on the sphere, such as a potential, on the grid that a page colours."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ctflow.viewing.runs import Run

LATITUDES, LONGITUDES = 64, 128
_CIRCLE = 256


def grid(d: int) -> np.ndarray:
    """Points [k, d] where a function is evaluated: a grid of the circle, or of S² by rows of latitude."""
    if d == 2:
        angle = 2 * np.pi * (np.arange(_CIRCLE) + 0.5) / _CIRCLE
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    theta = np.pi * (np.arange(LATITUDES) + 0.5) / LATITUDES  # from the north pole
    phi = 2 * np.pi * (np.arange(LONGITUDES) + 0.5) / LONGITUDES
    theta, phi = np.meshgrid(theta, phi, indexing="ij")
    z = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    return z.reshape(-1, 3)


def evaluated(surface: Callable[..., Any], run: Run) -> np.ndarray:
    """Values [frames, k] of a function on the grid; one frame if it does not depend on the clouds.

    Args:
        surface: a function of points [k, d], such as a `ct.Potential`, or of points and a frame's clouds.
        run: the run, in d = 2 or 3.

    Raises:
        ValueError: more than three dimensions, or the function does not return one number per point.
    """
    import jax.numpy as jnp

    if run.d > 3:
        raise ValueError(
            f"surface can be drawn for d = 2 or 3, but the clouds have d = {run.d}; leave it out"
        )
    z = jnp.asarray(grid(run.d), dtype=jnp.result_type(float))
    if not takes_clouds(surface):
        return _checked(surface(z), len(z))[None]
    rows = [_checked(surface(z, _in_jax(run.clouds_at(f), z.dtype)), len(z)) for f in range(run.frames)]
    return np.stack(rows)


def takes_clouds(surface: Any) -> bool:
    """Whether a function takes the clouds of a frame as its second argument.

    Raises:
        ValueError: it is no function of points.
    """
    if not callable(surface):
        raise ValueError(
            "surface must be a function of points [k, d], such as a ct.Potential, or of points and clouds, "
            f"got {type(surface).__name__}"
        )
    try:
        parameters = inspect.signature(surface).parameters.values()
    except ValueError:  # of a function that is written in C
        return False
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) > 2:
        raise ValueError(
            "surface must take points [k, d], or points and clouds, got a function that needs "
            f"{', '.join(p.name for p in needed)}"
        )
    return len(needed) == 2


def _in_jax(clouds: Any, dtype: Any) -> Any:
    import jax
    import jax.numpy as jnp

    from ctflow.clouds import points, with_points
    from ctflow.sphere import normalize

    clouds = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), clouds)
    return with_points(clouds, jax.tree.map(normalize, points(clouds)))


def _checked(values: Any, k: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (k,) or array.dtype.kind not in "fiub":
        raise ValueError(
            f"surface must return a number per point, shape ({k},), got shape {array.shape} of {array.dtype}"
        )
    return array.astype(np.float64)
