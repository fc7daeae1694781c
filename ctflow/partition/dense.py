"""The direct sum with the whole n × m matrix: fast if it fits, and the reference for the other methods."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.kernels import Kernel, log_kernel_at


def dense_log_partition(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"] | None,
    kernel: Kernel,
    *,
    exclude_self: bool,
) -> Float[Array, " n"]:
    """Log Σ_j w_j κ(x_i, y_j) from the full matrix of scores; None means equal weights 1/m."""
    # The matrix is [m, n] because a CPU vectorises sums over the first axis, but not over the last.
    scores = log_kernel_at(kernel, jnp.matmul(y, x.T, precision="highest"))
    if exclude_self:
        scores = jnp.where(jnp.eye(x.shape[0], dtype=bool), -jnp.inf, scores)
    heavy = scores if weights is None else jnp.where(weights[:, None] > 0, scores, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(heavy, axis=0))
    # Only a score with weight 0 can exceed `top`. The cap keeps its exponential finite: 0 · inf would be NaN.
    cap = 0.9 * math.log(float(jnp.finfo(scores.dtype).max))
    mass = jnp.exp(jnp.minimum(scores - top[None, :], cap))
    return top + jnp.log(jnp.mean(mass, axis=0) if weights is None else weights @ mass)
