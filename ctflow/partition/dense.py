"""The obvious sum: the whole n × m matrix at once. Fast while it fits, and the oracle of the others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.kernels import Kernel


def dense_log_partition(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    *,
    exclude_self: bool,
) -> Float[Array, " n"]:
    """Log Σ_j w_j κ(x_i, y_j) from the full matrix of scores."""
    scores = kernel.log_kernel(jnp.matmul(x, y.T, precision="highest"))
    if exclude_self:
        scores = jnp.where(jnp.eye(x.shape[0], dtype=bool), -jnp.inf, scores)
    top = jax.lax.stop_gradient(jnp.max(jnp.where(weights > 0, scores, -jnp.inf), axis=1))
    top = jnp.where(jnp.isfinite(top), top, 0)
    return top + jnp.log(jnp.exp(scores - top[:, None]) @ weights)
