"""Means of spectral fields, Σ_i p_i L_i: their value and all their gradients from one pass.

The gradients of a mean are known as soon as the field is: the cotangent of L_i is p_i. So the waves of the
points x serve the field, its gradient, and the moments of the measure Σ_i (p_i/f_i) δ_{x_i}, from whose field
the gradients at the points y follow. All are certified together.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ctflow import sphere
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel
from ctflow.partition.certified import attempt, first_proven, one_by_one, runs
from ctflow.partition.exact import Settings, exact_values, present
from ctflow.partition.tiled import Side

Field = tuple[Side, Side]
"""The points at which a field is summed, with their weights in the mean, and the cloud whose field it is."""


class _Asked(NamedTuple):
    """Whether gradients in the cloud and in the kernel are requested besides those at the points."""

    cloud: bool
    kernel: bool


class _Gradients(NamedTuple):
    """The gradients of a mean: (slope [n, d], L [n]) for the points and their weights, cloud, kernel."""

    at: Side
    cloud: Side
    kernel: Any


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def spectral_means(settings: Settings, fields: tuple[Field, ...], kernel: Kernel) -> tuple[Array, ...]:
    """Σ_i p_i L_i of each field, from the first attempt that is proven."""

    def mean(at: Side, cloud: Side) -> Array:
        found, _ = attempt(settings, at.points, cloud, kernel, gradient=False)
        return _average(at.weights, found.value)

    return _of_each(settings, mean, fields)


@partial(spectral_means.defjvp, symbolic_zeros=True)
def _spectral_means_jvp(settings, primals, tangents):
    fields, kernel = primals
    *moved, d_kernel = present((*tangents[0], tangents[1]), kernel)
    of_kernel = d_kernel is not None
    asked = _Asked(of_kernel or bool(jax.tree.leaves([cloud for _, cloud in moved])), of_kernel)
    found = _with_gradients(settings, asked, fields, kernel)
    means = tuple(
        _average(at.weights, gradients.at.weights) for (at, _), gradients in zip(fields, found, strict=True)
    )
    rates = (_dot(gradients, (*each, d_kernel)) for gradients, each in zip(found, moved, strict=True))
    return means, tuple(jnp.asarray(rate, mean.dtype) for rate, mean in zip(rates, means, strict=True))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _with_gradients(settings, asked, fields, kernel):
    """The `_Gradients` of each field's mean, from the first run in which all are proven."""

    def body(at, cloud, kernel):
        def everything(run):
            g = at.weights
            options = {"gradient": True, "cotangent": g if asked.cloud else None}
            done, sure = run.forward(at.points, cloud, kernel, **options)
            pulled = Side(None, None), None
            if asked.cloud:
                arguments = at.points, cloud, kernel, done, g
                pulled, also = run.backward(*arguments, of_kernel=asked.kernel)
                sure = sure & also
            return (Side(g[:, None] * done.gradient, done.value), *pulled), sure

        return first_proven(settings, [partial(everything, run) for run in runs(settings)])[0]

    def gradients(at: Side, cloud: Side) -> _Gradients:
        return _Gradients(*one_by_one(settings, body, "xy-", "xy-")(at, cloud, kernel))

    return _of_each(settings, gradients, fields)


@_with_gradients.defjvp
def _with_gradients_jvp(settings, asked, primals, tangents):
    exact = settings._replace(one_pass=False)

    def derived(fields, kernel):
        def gradients(at: Side, cloud: Side) -> _Gradients:
            def values(points, *others):
                return exact_values(exact, Side(points, None), *(others or (cloud, kernel)))[0]

            others = (cloud, kernel) if asked.cloud else ()
            value, pull = jax.vjp(values, at.points, *others)
            slope, *pulled = pull(at.weights)
            slope = sphere.project_tangent(at.points, slope)
            of_cloud, of_kernel = pulled or (Side(None, None), None)
            if asked.cloud:
                of_cloud = of_cloud._replace(points=sphere.project_tangent(cloud.points, of_cloud.points))
            return _Gradients(Side(slope, value), of_cloud, of_kernel if asked.kernel else None)

        return tuple(gradients(*field) for field in fields)

    rates = jax.jvp(derived, primals, tangents)[1]
    return _with_gradients(settings, asked, *primals), rates


def _of_each(settings: Settings, function: Callable[..., Any], fields: Sequence[Field]) -> tuple[Any, ...]:
    """The function of each field. Two fields of one shape share a program of half the size."""
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(field)) for field in fields}
    if len(fields) == 1 or len(shapes) > 1 or settings.mesh is not None:
        return tuple(function(*field) for field in fields)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields)
    found = jax.lax.map(lambda field: function(*field), stacked)
    return tuple(jax.tree.map(lambda a, k=k: a[k], found) for k in range(len(fields)))


def _average(weights: Array, values: Array) -> Array:
    """Σ w_i v_i, added in float64."""
    with jax.enable_x64(True):
        return jnp.vdot(*as_dtype((weights, values), jnp.float64)).astype(values.dtype)


def _dot(gradients: Any, tangents: Any) -> Any:
    """The sum of the products of gradients and tangents; None stands for a tangent of zero.

    By reductions: on a CPU `vdot` adds float32 numbers one after the other, which loses digits at large n.
    """
    leaves = partial(jax.tree.leaves, is_leaf=lambda a: a is None)
    pairs = zip(leaves(tuple(gradients)), leaves(tangents), strict=True)
    return sum((jnp.sum(a * d) for a, d in pairs if d is not None), 0.0)
