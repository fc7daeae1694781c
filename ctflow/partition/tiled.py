"""The same sum in tiles: no array larger than a block, neither forwards nor backwards.

Forwards, an online log-sum-exp runs over blocks of columns. Backwards, each block of scores is
computed again, so that the gradient needs no n × m residual either.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.kernels import Kernel


def _blocks(a: Array, size: int) -> Array:
    """Cut the leading axis into blocks [k, size, …], zero-padded."""
    padding = [(0, -a.shape[0] % size)] + [(0, 0)] * (a.ndim - 1)
    return jnp.pad(a, padding).reshape(-1, size, *a.shape[1:])


def _unblock(a: Array, n: int) -> Array:
    return a.reshape(-1, *a.shape[2:])[:n]


def _scores(kernel, x_block, y_block):
    return kernel.log_kernel(jnp.matmul(x_block, y_block.T, precision="highest"))


def _tiles(x, y, weights, exclude_self, block_size):
    """Blocks of x and y with their indices, and the mask of the pairs that count in a tile."""
    m = y.shape[0]
    x_size, y_size = min(block_size, x.shape[0]), min(block_size, m)
    x_index = _blocks(jnp.arange(x.shape[0]), x_size)
    y_index = jnp.arange(-(-m // y_size) * y_size).reshape(-1, y_size)
    rows = (_blocks(x, x_size), x_index)
    columns = (_blocks(y, y_size), _blocks(weights, y_size), y_index)

    def counts(i, j):
        return (j < m)[None, :] & ((i[:, None] != j[None, :]) if exclude_self else True)

    return rows, columns, counts


def _value(x, y, weights, kernel, exclude_self, block_size):
    rows, columns, counts = _tiles(x, y, weights, exclude_self, block_size)

    def row(_, block):
        x_block, i = block

        def column(carry, block):
            top, total = carry
            y_block, w, j = block
            scores = _scores(kernel, x_block, y_block)
            heavy = counts(i, j) & (w > 0)[None, :]
            new_top = jnp.maximum(top, jnp.max(jnp.where(heavy, scores, -jnp.inf), axis=1))
            shift = jnp.where(jnp.isfinite(new_top), new_top, 0)
            mass = jnp.exp(jnp.where(heavy, scores - shift[:, None], -jnp.inf)) @ w
            return (new_top, total * jnp.exp(top - shift) + mass), None

        empty = (jnp.full_like(x_block[:, 0], -jnp.inf), jnp.zeros_like(x_block[:, 0]))
        (top, total), _ = jax.lax.scan(column, empty, columns)
        return None, top + jnp.log(total)

    _, blocks = jax.lax.scan(row, None, rows)
    return _unblock(blocks, x.shape[0])


def _forward(x, y, weights, kernel, exclude_self, block_size):
    value = _value(x, y, weights, kernel, exclude_self, block_size)
    return value, (x, y, weights, kernel, value)


def _backward(exclude_self, block_size, residuals, cotangent):
    x, y, weights, kernel, value = residuals
    rows, columns, counts = _tiles(x, y, weights, exclude_self, block_size)
    x_size = rows[0].shape[1]
    cap = 0.9 * math.log(float(jnp.finfo(x.dtype).max))
    add = partial(jax.tree.map, jnp.add)

    def row(carry, block):
        x_block, i, value_block, g = block

        def column(carry, block):
            y_block, w, j = block
            scores, pull = jax.vjp(_scores, kernel, x_block, y_block)
            pairs = counts(i, j)
            # Only a point of (nearly) weight 0 reaches the cap: then 0 times its share is 0.
            exponent = jnp.minimum(scores - value_block[:, None], cap)
            share = g[:, None] * jnp.exp(jnp.where(pairs, exponent, -jnp.inf))
            d_kernel, d_x, d_y = pull(share * w[None, :])
            return add(carry, (d_kernel, d_x)), (d_y, share.sum(axis=0))

        d_kernel, d_columns = carry
        empty = (jax.tree.map(jnp.zeros_like, kernel), jnp.zeros_like(x_block))
        (d_kernel_row, d_x), d_columns_row = jax.lax.scan(column, empty, columns)
        return (add(d_kernel, d_kernel_row), add(d_columns, d_columns_row)), d_x

    # Padded rows carry cotangent 0 and a finite value, so that they add nothing.
    blocks = (*rows, _blocks(value, x_size), _blocks(cotangent, x_size))
    empty = jax.tree.map(jnp.zeros_like, (kernel, (columns[0], columns[1])))
    (d_kernel, (d_y, d_weights)), d_x = jax.lax.scan(row, empty, blocks)
    n, m = x.shape[0], y.shape[0]
    return _unblock(d_x, n), _unblock(d_y, m), _unblock(d_weights, m), d_kernel


_differentiable = jax.custom_vjp(_value, nondiff_argnums=(4, 5))
_differentiable.defvjp(_forward, _backward)


@partial(jax.jit, static_argnums=(4, 5))
def tiled_log_partition(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
    exclude_self: bool,
    block_size: int,
) -> Float[Array, " n"]:
    """Log Σ_j w_j κ(x_i, y_j), streamed over blocks of `block_size` points of x and of y."""
    return _differentiable(x, y, weights, kernel, exclude_self, block_size)
