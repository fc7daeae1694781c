"""The exact sums in tiles: the n × m matrix is never stored, in derivatives of any order neither.

A tile holds the scores of a block of rows against a block of columns. `add_tiles` makes each tile once and
sums it along its rows and, if requested, its columns. The cloud x against itself needs the tiles on and above
the diagonal only. `tangents` is the derivative of these sums, linear in the tangents of their arguments; JAX
derives the gradients (its transpose) and higher derivatives from it. There, too, each tile is made again where
it is needed, and none is kept.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.kernels import Kernel, log_kernel_at


class Side(NamedTuple):
    """One side of the sums.

    Attributes:
        points: [n, d].
        weights: [n], >= 0, with which its points enter the sums of the other side; None if those are not taken.
    """

    points: Array
    weights: Array | None


class LogSum(NamedTuple):
    """Sums Σ_j w_j e^{s_ij} = total·e^top under way.

    Attributes:
        top: the largest score so far [n], -inf before the first.
        total: Σ_j w_j e^{s_ij - top} [n].
        pull: gradient [n, d] of `total` in the points at fixed `top`, or None.
    """

    top: Array
    total: Array
    pull: Array | None = None

    @classmethod
    def nothing(cls, z: Array, *, gradient: bool = False) -> "LogSum":
        """The sums at the points z [n, d] before the first term."""
        zero = jnp.zeros_like(z[:, 0])
        return cls(zero - jnp.inf, zero, jnp.zeros_like(z) if gradient else None)

    def joined(self, other: "LogSum") -> "LogSum":
        """Both sums together, without a gradient."""
        top = jnp.maximum(self.top, other.top)
        shift = jnp.where(jnp.isfinite(top), top, 0)
        return LogSum(top, sum(a.total * jnp.exp(a.top - shift) for a in (self, other)))

    def value(self) -> Float[Array, " n"]:
        """The logarithms of the sums."""
        return self.top + jnp.log(self.total)

    def slope(self) -> Float[Array, "n d"] | None:
        """The gradient of `value` in the points, or None."""
        return None if self.pull is None else self.pull / self.total[:, None]


class Tiling(NamedTuple):
    """Which tiles are made, and which pairs are left out.

    Attributes:
        block_size: side of a tile.
        half: whether x and y are the same cloud: then a tile below the diagonal is one above, transposed.
        own: None, or the global indices (of the first row, of the first column): then pairs of equal global
            index are left out.
    """

    block_size: int
    half: bool = False
    own: Any = None


def blocks(a: Array, size: int) -> Array:
    """Cut the leading axis into blocks [k, size, …], zero-padded."""
    padding = [(0, -a.shape[0] % size)] + [(0, 0)] * (a.ndim - 1)
    return jnp.pad(a, padding).reshape(-1, size, *a.shape[1:])


def unblock(a: Array, n: int) -> Array:
    """Undo `blocks`; n is the original length of the leading axis."""
    return a.reshape(-1, *a.shape[2:])[:n]


class _Block(NamedTuple):
    """A block of one side: its number, the global indices of its points, and arrays along them."""

    number: Array
    index: Array
    arrays: Any


def _cut(arrays: Any, n: int, block_size: int, first: Any) -> _Block:
    """The arrays' blocks, stacked."""
    size = min(block_size, n)
    count = -(-n // size)
    index = first + jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)
    return _Block(jnp.arange(count, dtype=jnp.int32), index, jax.tree.map(lambda a: blocks(a, size), arrays))


class _Kept(NamedTuple):
    """Which pairs of a tile enter the sums of its rows and of its columns: masks [rows, columns], None for all."""

    in_rows: Any
    in_columns: Any


def _over_tiles(tiling: Tiling, tile: Any, x: Any, y: Any, sums: tuple[Any, Any]) -> tuple[Any, Any]:
    """Run `tile(x block, y block, kept, sums of the rows, of the columns) → sums` over all tiles, row by row.

    Args:
        tiling: the tiles.
        tile: adds one tile to the sums.
        x: arrays [n, …] along the rows.
        y: arrays [m, …] along the columns.
        sums: arrays [n, …] and [m, …] to add to.
    """
    n, m = jax.tree.leaves(x)[0].shape[0], jax.tree.leaves(y)[0].shape[0]
    i0, j0 = (0, 0) if tiling.own is None else tiling.own
    rows, columns = (
        _cut((z, part), size, tiling.block_size, first)
        for z, part, size, first in zip((x, y), sums, (n, m), (i0, j0), strict=True)
    )

    def kept(row: _Block, column: _Block) -> _Kept:
        mask = None if tiling.own is None else row.index[:, None] != column.index[None, :]
        if not tiling.half:
            return _Kept(mask, mask)
        above = column.number > row.number
        return _Kept(mask, above if mask is None else mask & above)

    def run_row(of_columns, row):
        x_block, of_rows = row.arrays

        def run_column(of_rows, block):
            column, of_column = block

            def run(of_rows, of_column):
                return tile(x_block, column.arrays[0], kept(row, column), of_rows, of_column)

            if not tiling.half:
                return run(of_rows, of_column)
            skipped = column.number < row.number
            return jax.lax.cond(skipped, lambda *sums: sums, run, of_rows, of_column)

        of_rows, of_columns = jax.lax.scan(run_column, of_rows, (columns, of_columns))
        return of_columns, of_rows

    of_columns, of_rows = jax.lax.scan(run_row, columns.arrays[1], rows)
    return jax.tree.map(lambda a: unblock(a, n), of_rows), jax.tree.map(lambda a: unblock(a, m), of_columns)


def _scores(kernel: Kernel, x: Array, y: Array) -> Array:
    return log_kernel_at(kernel, jnp.matmul(x, y.T, precision="highest"))


def _scores_and_slopes(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """Log κ and its derivative in the cosine."""
    cosine = jnp.matmul(x, y.T, precision="highest")
    return jax.jvp(partial(log_kernel_at, kernel), (cosine,), (jnp.ones_like(cosine),))


def _added(
    sums: LogSum, scores: Array, weights: Array, kept: Any, axis: int, pull: tuple[Array, Array] | None = None
) -> LogSum:
    """The sums with a tile's scores added along an axis; `pull` has the slopes and the other side's points."""
    weights = jnp.expand_dims(weights, 1 - axis)
    heavy = weights > 0 if kept is None else kept & (weights > 0)
    top = jnp.maximum(sums.top, jnp.max(jnp.where(heavy, scores, -jnp.inf), axis=axis))
    shift = jnp.where(jnp.isfinite(top), top, 0)
    mass = jnp.exp(jnp.where(heavy, scores - jnp.expand_dims(shift, axis), -jnp.inf))
    shrink = jnp.exp(sums.top - shift)
    total = sums.total * shrink + (mass @ weights[0] if axis == 1 else weights[:, 0] @ mass)
    if sums.pull is None or pull is None:
        return LogSum(top, total)
    slopes, y = pull
    force = jnp.matmul(mass * slopes * weights, y, precision="highest")
    return LogSum(top, total, sums.pull * shrink[:, None] + force)


def add_tiles(
    sums: tuple[LogSum, LogSum | None], x: Side, y: Side, kernel: Kernel, tiling: Tiling
) -> tuple[LogSum, LogSum | None]:
    """Add the pairs of x and y to the sums at the rows x, and at the columns y unless those are None.

    The sums of the rows have a gradient if they have had one. Points of weight 0 have no effect on others.
    """

    def tile(x, y, kept, of_rows, of_columns):
        if of_rows.pull is None:
            scores, pull = _scores(kernel, x.points, y.points), None
        else:
            scores, slopes = _scores_and_slopes(kernel, x.points, y.points)
            pull = slopes, y.points
        of_rows = _added(of_rows, scores, y.weights, kept.in_rows, 1, pull)
        if of_columns is not None:
            of_columns = _added(of_columns, scores, x.weights, kept.in_columns, 0)
        return of_rows, of_columns

    return _over_tiles(tiling, tile, x, y, sums)


class Tangents(NamedTuple):
    """Tangents of the arguments of the sums: of x and y as `Side`s, and of the kernel; None where there is none."""

    x: Side
    y: Side
    kernel: Kernel | None


def add_tangents(
    sums: tuple[Array, Array | None],
    x: Side,
    y: Side,
    kernel: Kernel,
    values: tuple[Array, Array | None],
    tangents: Tangents,
    tiling: Tiling,
) -> tuple[Array, Array | None]:
    """Add what the pairs of x and y contribute to the tangents of the log sums.

    L̇_i = Σ_j e^{s_ij - L_i}(w_j ṡ_ij + ẇ_j) at the rows, likewise at the columns. It is linear in `tangents`,
    and its transpose, the gradient, makes each tile again.

    Args:
        sums: tangents so far, at the rows [n] and at the columns [m] or None.
        x: the rows.
        y: the columns.
        kernel: the kernel.
        values: the log sums over all pairs at the rows [n], and at the columns [m] or None.
        tangents: those of x, y and kernel.
        tiling: the tiles.
    """
    cap = 0.9 * math.log(float(jnp.finfo(x.points.dtype).max))

    def rate(kernel, x, y, d_kernel, d_x, d_y):
        """Scores and their tangent, None if they have none."""
        moved = [(kernel, d_kernel), (x, d_x), (y, d_y)]
        which = [i for i, (_, d) in enumerate(moved) if d is not None]
        if not which:
            return _scores(kernel, x, y), None

        def scores(*some):
            whole = [kernel, x, y]
            for i, a in zip(which, some, strict=True):
                whole[i] = a
            return _scores(*whole)

        return jax.jvp(scores, *zip(*(moved[i] for i in which), strict=True))

    def along(scores, d_scores, value, weights, d_weights, kept, axis):
        # Only a point of weight (nearly) 0 reaches the cap, which keeps its share finite: 0 · inf is NaN.
        exponent = jnp.minimum(scores - jnp.expand_dims(value, axis), cap)
        share = jnp.exp(exponent if kept is None else jnp.where(kept, exponent, -jnp.inf))
        total = jnp.zeros_like(value)
        if d_scores is not None:
            moved = share * d_scores
            total = total + (moved @ weights if axis == 1 else weights @ moved)
        if d_weights is not None:
            total = total + (share @ d_weights if axis == 1 else d_weights @ share)
        return total

    def contributions(known, moved):
        (kernel, x, of_x, y, of_y, kept), (d_kernel, d_x, d_y) = known, moved
        scores, d_scores = rate(kernel, x.points, y.points, d_kernel, d_x.points, d_y.points)
        at_rows = along(scores, d_scores, of_x, y.weights, d_y.weights, kept.in_rows, 1)
        if of_y is None:
            return at_rows, None
        return at_rows, along(scores, d_scores, of_y, x.weights, d_x.weights, kept.in_columns, 0)

    again = jax.checkpoint(contributions, prevent_cse=False)

    def tile(x, y, kept, of_rows, of_columns):
        (x, of_x, d_x), (y, of_y, d_y) = x, y
        added = again((kernel, x, of_x, y, of_y, kept), (tangents.kernel, d_x, d_y))
        return jax.tree.map(jnp.add, (of_rows, of_columns), added)

    along_x, along_y = (x, values[0], tangents.x), (y, values[1], tangents.y)
    return _over_tiles(tiling, tile, along_x, along_y, sums)
