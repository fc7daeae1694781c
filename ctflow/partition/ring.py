"""The exact sum over several devices: each keeps its rows, and blocks of columns travel round a ring.

After D hops every block of columns has met every row and is back on its own device. In the backward pass the
blocks travel round again, together with their gradients. Without a mesh axis there is one device and no hop.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.kernels import Kernel
from ctflow.partition.tiled import add_columns, finish, no_sums, pull_columns


def _place(axis: str) -> tuple[Any, int]:
    """This device's rank on the ring, and the number of devices."""
    return jax.lax.axis_index(axis), jax.lax.axis_size(axis)


def _next(tree: Any, axis: str) -> Any:
    """Send the tree to the next device on the ring, and return the tree of the previous one."""
    size = jax.lax.axis_size(axis)
    return jax.lax.ppermute(tree, axis, [(i, (i + 1) % size) for i in range(size)])


def _own(exclude_self: bool, rank: Any, owner: Any, n: int, m: int) -> Any:
    return (rank * n, owner * m) if exclude_self else None


def ring_sum(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    *,
    gradient: bool,
    exclude_self: bool,
    block_size: int,
    axis: str | None,
) -> tuple[Float[Array, " n"], Float[Array, "n d"] | None]:
    """Log Σ_j w_j κ(x_i, y_j) over the columns of all devices, and its gradient in x or None."""
    options = {"gradient": gradient, "block_size": block_size}
    if axis is None:
        own = _own(exclude_self, 0, 0, x.shape[0], y.shape[0])
        return finish(add_columns(None, x, y, weights, kernel, own=own, **options))
    rank, size = _place(axis)

    def hop(carry, step):
        sums, (y, weights) = carry
        own = _own(exclude_self, rank, (rank - step) % size, x.shape[0], y.shape[0])
        sums = add_columns(sums, x, y, weights, kernel, own=own, **options)
        return (sums, _next((y, weights), axis)), None

    start = no_sums(x, gradient=gradient), (y, weights)
    (sums, _), _ = jax.lax.scan(hop, start, jnp.arange(size, dtype=jnp.int32))
    return finish(sums)


def ring_pull(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    value: Float[Array, " n"],
    cotangent: Float[Array, " n"],
    *,
    exclude_self: bool,
    block_size: int,
    axis: str | None,
) -> tuple[Float[Array, "m d"], Float[Array, " m"], Kernel]:
    """Gradients of Σ_i g_i L_i, over the rows of all devices, in this device's y, weights and the kernel."""
    options = {"block_size": block_size}
    if axis is None:
        own = _own(exclude_self, 0, 0, x.shape[0], y.shape[0])
        return pull_columns(x, y, weights, kernel, value, cotangent, own=own, **options)
    rank, size = _place(axis)

    def hop(carry, step):
        d_kernel, ((y, weights), d_columns) = carry
        own = _own(exclude_self, rank, (rank - step) % size, x.shape[0], y.shape[0])
        d_y, d_weights, d_kernel_here = pull_columns(
            x, y, weights, kernel, value, cotangent, own=own, **options
        )
        d_columns = jax.tree.map(jnp.add, d_columns, (d_y, d_weights))
        return (jax.tree.map(jnp.add, d_kernel, d_kernel_here), _next(((y, weights), d_columns), axis)), None

    zeros = jax.tree.map(jnp.zeros_like, (kernel, (y, weights)))
    start = zeros[0], ((y, weights), zeros[1])
    (d_kernel, (_, (d_y, d_weights))), _ = jax.lax.scan(hop, start, jnp.arange(size, dtype=jnp.int32))
    return d_y, d_weights, jax.lax.psum(d_kernel, axis)
