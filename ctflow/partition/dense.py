"""The direct sum with the whole n × m matrix: fast if it fits, and the reference for the other methods."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow._base.products import cosines
from ctflow.kernels import Kernel, log_kernel_at
from ctflow.partition.scaling import middle
from ctflow.partition.tiled import Side

# Up to so many points two matrices, each summed along its first axis, are faster than one summed along both.
SMALL = 200


def dense_values(
    x: Side, y: Side, kernel: Kernel, *, columns: bool, exclude_self: bool, bounded: bool
) -> tuple[Array, Any]:
    """Log Σ_j q_j κ(x_i, y_j) [n], and log Σ_i p_i κ(x_i, y_j) [m] or None, from one matrix of scores.

    Weights of None are equal. If the sums are `bounded`, there is one exponential per pair for both fields;
    otherwise each field subtracts its own largest score from the scores.
    """
    if bounded:
        return _bounded_values(x, y, kernel, columns=columns, exclude_self=exclude_self)
    if columns and max(x.points.shape[0], y.points.shape[0]) <= SMALL:
        options = {"columns": False, "exclude_self": exclude_self, "bounded": False}
        return dense_values(x, y, kernel, **options)[0], dense_values(y, x, kernel, **options)[0]
    # The matrix is [m, n] because a CPU vectorises sums over the first axis, but not over the last.
    scores = log_kernel_at(kernel, cosines(y.points, x.points))
    if exclude_self:
        scores = jnp.where(jnp.eye(scores.shape[0], dtype=bool), -jnp.inf, scores)
    at_x = _log_sum(scores, y.weights, axis=0)
    return at_x, _log_sum(scores, x.weights, axis=1) if columns else None


def _bounded_values(
    x: Side, y: Side, kernel: Kernel, *, columns: bool, exclude_self: bool
) -> tuple[Array, Any]:
    """The fields from κ itself, divided by one number; NaN if the kernel is not bounded after all."""
    scores = log_kernel_at(kernel, cosines(x.points, y.points))
    shift = middle(kernel, scores.dtype)
    values = jnp.exp(scores - shift)
    if exclude_self:
        values = jnp.where(jnp.eye(values.shape[0], dtype=bool), 0, values)

    at_x = _log(jnp.matmul(values, weights_of(y), precision="highest"))
    at_y = _log(jnp.matmul(weights_of(x), values, precision="highest")) if columns else None
    return shift + at_x, None if at_y is None else shift + at_y


def weights_of(side: Side) -> Float[Array, " n"]:
    """The weights of a side as an array; equal ones if it has none."""
    n = side.points.shape[0]
    return jnp.full(n, 1 / n, side.points.dtype) if side.weights is None else side.weights


@jax.custom_jvp
def _log(total: Float[Array, " n"]) -> Float[Array, " n"]:
    """The logarithm, whose derivatives of any order have no power of 1/total, which could overflow."""
    return jnp.log(total)


@_log.defjvp
def _log_jvp(primals, tangents):
    value = _log(primals[0])
    return value, jnp.exp(-value) * tangents[0]


def _log_sum(
    scores: Float[Array, "m n"], weights: Float[Array, " k"] | None, axis: int
) -> Float[Array, " l"]:
    """Log Σ w e^score along an axis; None means equal weights."""
    along = None if weights is None else jnp.expand_dims(weights, 1 - axis)
    heavy = scores if along is None else jnp.where(along > 0, scores, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(heavy, axis=axis))
    # Only a score with weight 0 can exceed `top`. The cap keeps its exponential finite: 0 · inf would be NaN.
    cap = 0.9 * math.log(float(jnp.finfo(scores.dtype).max))
    mass = jnp.exp(jnp.minimum(scores - jnp.expand_dims(top, axis), cap))
    if weights is None:
        return top + jnp.log(jnp.mean(mass, axis=axis))
    return top + jnp.log(weights @ mass if axis == 0 else mass @ weights)
