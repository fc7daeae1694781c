"""The exact sum in tiles: the n × m matrix is never stored, neither forwards nor backwards.

The forward pass runs an online log-sum-exp over blocks of columns and can sum the gradient in x with it.
The backward pass computes each tile again, so the other gradients need no n × m residual either.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.kernels import Kernel, log_kernel_at

Sums = tuple[Array, Array, Array | None]


def blocks(a: Array, size: int) -> Array:
    """Cut the leading axis into blocks [k, size, …], zero-padded."""
    padding = [(0, -a.shape[0] % size)] + [(0, 0)] * (a.ndim - 1)
    return jnp.pad(a, padding).reshape(-1, size, *a.shape[1:])


def unblock(a: Array, n: int) -> Array:
    """Undo `blocks`; n is the original length of the leading axis."""
    return a.reshape(-1, *a.shape[2:])[:n]


def _indices(n: int, size: int, first: Any) -> Array:
    return first + jnp.arange(-(-n // size) * size, dtype=jnp.int32).reshape(-1, size)


def _scores(kernel: Kernel, x: Array, y: Array) -> Array:
    return log_kernel_at(kernel, jnp.matmul(x, y.T, precision="highest"))


def _scores_and_slopes(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """Log κ and its derivative in the cosine."""
    cosine = jnp.matmul(x, y.T, precision="highest")
    return jax.jvp(partial(log_kernel_at, kernel), (cosine,), (jnp.ones_like(cosine),))


def no_sums(x: Float[Array, "n d"], *, gradient: bool) -> Sums:
    """The sums before the first column: top [n], total [n] and pull [n, d] (None without a gradient)."""
    zero = jnp.zeros_like(x[:, 0])
    return zero - jnp.inf, zero, jnp.zeros_like(x) if gradient else None


def add_columns(
    sums: Sums | None,
    x: Array,
    y: Array,
    weights: Array,
    kernel: Kernel,
    *,
    gradient: bool,
    own: Any,
    block_size: int,
) -> Sums:
    """Add the columns y to the sums over the rows x.

    Args:
        sums: (top, total, pull): the largest score so far, total = Σ_j w_j e^{s_ij - top}, and the gradient
            of total in x at fixed top; None to begin.
        x: rows [n, d].
        y: columns [m, d].
        weights: [m], >= 0; a column of weight 0 has no effect.
        kernel: gives the scores s_ij = log κ(⟨x_i, y_j⟩).
        gradient: whether to compute the gradient.
        own: None, or the global indices (of the first row, of the first column): then pairs of equal global
            index are left out.
        block_size: side of a tile.
    """
    rows, columns = min(block_size, x.shape[0]), min(block_size, y.shape[0])
    i0, j0 = (0, 0) if own is None else own
    y_blocks = blocks(y, columns), blocks(weights, columns), _indices(y.shape[0], columns, j0)

    def row(_, block):
        x_block, i, start = block
        start = no_sums(x_block, gradient=gradient) if start is None else start

        def column(sums, block):
            top, total, pull = sums
            y_block, w, j = block
            if gradient:
                scores, slopes = _scores_and_slopes(kernel, x_block, y_block)
            else:
                scores, slopes = _scores(kernel, x_block, y_block), None
            heavy = (w > 0)[None, :]
            if own is not None:
                heavy = heavy & (i[:, None] != j[None, :])
            new_top = jnp.maximum(top, jnp.max(jnp.where(heavy, scores, -jnp.inf), axis=1))
            shift = jnp.where(jnp.isfinite(new_top), new_top, 0)
            mass = jnp.exp(jnp.where(heavy, scores - shift[:, None], -jnp.inf))
            shrink = jnp.exp(top - shift)
            if slopes is not None:
                force = mass * slopes * w[None, :]
                pull = pull * shrink[:, None] + jnp.matmul(force, y_block, precision="highest")
            return (new_top, total * shrink + mass @ w, pull), None

        return None, jax.lax.scan(column, start, y_blocks)[0]

    starts = jax.tree.map(lambda a: blocks(a, rows), sums)
    _, ends = jax.lax.scan(row, None, (blocks(x, rows), _indices(x.shape[0], rows, i0), starts))
    return jax.tree.map(lambda a: unblock(a, x.shape[0]), ends)


def finish(sums: Sums) -> tuple[Float[Array, " n"], Float[Array, "n d"] | None]:
    """Log Σ_j w_j κ(x_i, y_j) and its gradient in x_i."""
    top, total, pull = sums
    return top + jnp.log(total), None if pull is None else pull / total[:, None]


def pull_columns(
    x: Array,
    y: Array,
    weights: Array,
    kernel: Kernel,
    value: Array,
    cotangent: Array,
    *,
    own: Any,
    block_size: int,
) -> tuple[Float[Array, "m d"], Float[Array, " m"], Kernel]:
    """Gradients of Σ_i g_i L_i in y, weights and kernel: the contributions of these rows and columns.

    Args:
        x: rows [n, d].
        y: columns [m, d].
        weights: [m].
        kernel: the kernel.
        value: L [n] over all columns.
        cotangent: g [n].
        own: as in `add_columns`.
        block_size: side of a tile.
    """
    rows, columns = min(block_size, x.shape[0]), min(block_size, y.shape[0])
    i0, j0 = (0, 0) if own is None else own
    # Padded rows have cotangent 0 and a finite value, so they contribute nothing.
    x_blocks = blocks(x, rows), _indices(x.shape[0], rows, i0), blocks(value, rows), blocks(cotangent, rows)
    y_blocks = blocks(y, columns), blocks(weights, columns), _indices(y.shape[0], columns, j0)
    cap = 0.9 * math.log(float(jnp.finfo(x.dtype).max))

    def column(d_kernel, block):
        y_block, w, j = block

        def row(carry, block):
            x_block, i, value_block, g = block
            scores, pull = jax.vjp(lambda kernel, y: _scores(kernel, x_block, y), kernel, y_block)
            # Only a point of weight (nearly) 0 reaches the cap, which keeps its share finite: 0 · inf is NaN.
            exponent = jnp.minimum(scores - value_block[:, None], cap)
            if own is not None:
                exponent = jnp.where(i[:, None] != j[None, :], exponent, -jnp.inf)
            share = g[:, None] * jnp.exp(exponent)
            gradients = (*pull(share * w[None, :]), share.sum(axis=0))
            return jax.tree.map(jnp.add, carry, gradients), None

        start = d_kernel, *jax.tree.map(jnp.zeros_like, (y_block, w))
        (d_kernel, *d_columns), _ = jax.lax.scan(row, start, x_blocks)
        return d_kernel, d_columns

    empty = jax.tree.map(jnp.zeros_like, kernel)
    d_kernel, (d_y, d_weights) = jax.lax.scan(column, empty, y_blocks)
    return unblock(d_y, y.shape[0]), unblock(d_weights, y.shape[0]), d_kernel
