"""The obvious sum: the whole n × m matrix at once. Fast while it fits, and the oracle of the others."""

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
    """Log Σ_j w_j κ(x_i, y_j) from the full matrix of scores; equal weights 1/m for None."""
    # Transposed, [m, n]: a CPU vectorises the sums down the columns, not those along the rows.
    scores = log_kernel_at(kernel, jnp.matmul(y, x.T, precision="highest"))
    if exclude_self:
        scores = jnp.where(jnp.eye(x.shape[0], dtype=bool), -jnp.inf, scores)
    heavy = scores if weights is None else jnp.where(weights[:, None] > 0, scores, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(heavy, axis=0))
    # Only a point of weight 0 can lie above the top: capped, so that 0 times its share is 0.
    cap = 0.9 * math.log(float(jnp.finfo(scores.dtype).max))
    mass = jnp.exp(jnp.minimum(scores - top[None, :], cap))
    return top + jnp.log(jnp.mean(mass, axis=0) if weights is None else weights @ mass)
