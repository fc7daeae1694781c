"""The compiled part of a sum, after all checks and decisions: its method, weights, padding and tangents."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow.kernels import Kernel
from ctflow.partition.certified import spectral_values
from ctflow.partition.dense import dense_values, weights_of
from ctflow.partition.exact import Settings, exact_values
from ctflow.partition.means import spectral_means
from ctflow.partition.tiled import Side


@jax.custom_jvp
def _tangential(z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The identity on points; projects their tangents and gradients to the tangent space of the sphere."""
    return z


@_tangential.defjvp
def _tangential_jvp(primals, tangents):
    return primals[0], sphere.project_tangent(primals[0], tangents[0])


@partial(jax.jit, static_argnums=(0, 1))
def take(settings: Settings, method: str, x: Side, y: Side | None, kernel: Kernel) -> Any:
    """The fields at x and, if asked for, at y, which is None for the cloud x itself; or their means."""
    x = x._replace(points=_tangential(x.points))
    y = None if y is None else y._replace(points=_tangential(y.points))
    other = x if y is None else y
    fields: list[tuple[Side, Side]] = [(x, other), (other, x)][: 1 + settings.columns]
    if method == "spectral":
        found = _spectral(settings._replace(columns=False), fields, kernel)
    elif method == "dense":
        options = {"columns": settings.columns, "exclude_self": settings.exclude_self}
        found = dense_values(x, other, kernel, bounded=settings.bounded, **options)
    else:
        found = _divided(settings, x, y, kernel)
    seen = _mean if settings.means else lambda _, values: values
    results = [seen(at, values) for (at, _), values in zip(fields, found, strict=False)]
    if settings.exclude_self:
        shares = (seen(at, _share_of_others(cloud)) for at, cloud in fields)
        results = [result - share for result, share in zip(results, shares, strict=True)]
    return results[0], results[1] if settings.columns else None


def _share_of_others(side: Side) -> Any:
    """Log(1 - w_i), by which the weights of the other points are renormalised."""
    w = side.weights
    return math.log1p(-1 / side.points.shape[0]) if w is None else jnp.log1p(-w)


def _mean(side: Side, values: Any) -> Any:
    """The mean of values at the points of a cloud; of a number, the number itself."""
    if jnp.ndim(values) == 0:
        return values
    return jnp.mean(values) if side.weights is None else jnp.sum(side.weights * values)


def _spectral(settings: Settings, fields: list[tuple[Side, Side]], kernel: Kernel) -> Any:
    """The sums in harmonics of each field, or their means."""
    devices = 1 if settings.mesh is None else settings.mesh.size
    padded = tuple(tuple(_padded(_with_weights(side), devices) for side in sides) for sides in fields)
    if settings.means:
        return spectral_means(settings, padded, kernel)
    found = (spectral_values(settings, *sides, kernel)[0] for sides in padded)
    return [values[: at.points.shape[0]] for values, (at, _) in zip(found, fields, strict=True)]


def _divided(settings: Settings, x: Side, y: Side | None, kernel: Kernel) -> Any:
    """The exact sums for clouds of any size, with explicit weights; a mesh needs equal shares."""
    x = _with_weights(x) if settings.columns or y is None else x
    y = None if y is None else _with_weights(y)
    if settings.mesh is None:
        return exact_values(settings, x, y, kernel)
    devices, m = settings.mesh.size, x.points.shape[0] if y is None else y.points.shape[0]
    padded = _padded(x, devices), None if y is None else _padded(y, devices)
    at_x, at_y = exact_values(settings, *padded, kernel)
    return at_x[: x.points.shape[0]], None if at_y is None else at_y[:m]


def _with_weights(side: Side) -> Side:
    return side._replace(weights=weights_of(side))


def _padded(side: Side, devices: int) -> Side:
    """The side with points of weight 0, to a multiple of the devices."""
    short = -side.points.shape[0] % devices
    if not short:
        return side
    points = jnp.pad(side.points, ((0, short), (0, 0)), mode="edge")
    return Side(points, None if side.weights is None else jnp.pad(side.weights, (0, short)))
