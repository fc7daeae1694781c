"""The exact sums in tiles: the n × m matrix is never stored, in derivatives of any order neither.

A tile holds the scores of a block of rows against a block of columns. `add_tiles` makes each tile once and
sums it along its rows and, if requested, its columns. The cloud x against itself needs half of the tiles.
`add_tangents` is the derivative of these sums, linear in the tangents of their arguments; JAX derives the
gradients (its transpose) and higher derivatives from it. There, too, each tile is made again where it is
needed, and none is kept.
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
        weights: [n], >= 0, with which its points enter the sums of the other side; None if there are none.
    """

    points: Any
    weights: Any


class LogSum(NamedTuple):
    """Sums Σ_j w_j e^{s_ij} = total·e^top under way.

    Attributes:
        top: the largest score so far [n], -inf before the first; or one number, if scores are `shifted`.
        total: Σ_j w_j e^{s_ij - top} [n].
        pull: gradient [n, d] of `total` in the points at fixed `top`, or None.
    """

    top: Array
    total: Array
    pull: Array | None = None

    @classmethod
    def nothing(cls, z: Array, shift: Any = None, *, gradient: bool = False) -> "LogSum":
        """The sums at the points z [n, d] before the first term; for `shift` see `Tiling`."""
        zero = jnp.zeros_like(z[:, 0])
        top = zero + (-jnp.inf if shift is None else shift)
        return cls(top, zero, jnp.zeros_like(z) if gradient else None)

    def joined(self, other: "LogSum") -> "LogSum":
        """Both sums together, without a gradient."""
        top = jnp.maximum(self.top, other.top)
        shift = jnp.where(jnp.isfinite(top), top, 0)
        mine, others = (a.total * jnp.exp(a.top - shift) for a in (self, other))
        return LogSum(top, mine + others)

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
        shift: None, or a number that may be subtracted from all scores: their exponentials and all sums of
            them are then in range, and each tile needs one exponential per pair for rows and columns.
    """

    block_size: int
    half: bool = False
    own: Any = None
    shift: Any = None


def blocks(a: Array, size: int) -> Array:
    """Cut the leading axis into blocks [k, size, …], zero-padded."""
    padding = [(0, -a.shape[0] % size)] + [(0, 0)] * (a.ndim - 1)
    return jnp.pad(a, padding).reshape(-1, size, *a.shape[1:])


def unblock(a: Array, n: int) -> Array:
    """Undo `blocks`; n is the original length of the leading axis."""
    return a.reshape(-1, *a.shape[2:])[:n]


class _Blocks(NamedTuple):
    """One side in blocks [k, size, …]: the global numbers of its points, and arrays along them."""

    number: Array
    arrays: Any


def _cut(arrays: Any, count: int, size: int, first: Any) -> _Blocks:
    index = first + jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)
    return _Blocks(index, jax.tree.map(lambda a: blocks(a, size), arrays))


def _over_tiles(tiling: Tiling, tile: Any, x: Any, y: Any, sums: tuple[Any, Any]) -> tuple[Any, Any]:
    """Run `tile(x block, y block, kept, above, sums of the rows, of the columns) → sums` over all tiles.

    Args:
        tiling: the tiles.
        tile: adds one tile to the sums. `kept` is a mask [rows, columns] of the pairs that count, None for
            all. In a half, `above` says whether the tile counts for its columns too; otherwise it is None.
        x: arrays [n, …] along the rows.
        y: arrays [m, …] along the columns.
        sums: arrays [n, …] and [m, …] to add to.
    """
    n, m = (jax.tree.leaves(z)[0].shape[0] for z in (x, y))
    i0, j0 = (0, 0) if tiling.own is None else tiling.own
    counts = [-(-size // tiling.block_size) for size in (n, m)]
    if tiling.half:
        counts = [count | 1 for count in counts]  # then every two blocks are at one distance round the circle
    sizes = [-(-size // count) for size, count in zip((n, m), counts, strict=True)]

    def run(row, column, of_rows, of_columns, above=None):
        kept = None if tiling.own is None else row.number[:, None] != column.number[None, :]
        return tile(row.arrays, column.arrays, kept, above, of_rows, of_columns)

    rows, columns = map(_cut, (x, y), counts, sizes, (i0, j0))
    of_rows, of_columns = (cut.arrays for cut in map(_cut, sums, counts, sizes, (0, 0)))
    over = _over_half if tiling.half else _over_all
    of_rows, of_columns = over(run, rows, columns, of_rows, of_columns)
    return jax.tree.map(lambda a: unblock(a, n), of_rows), jax.tree.map(lambda a: unblock(a, m), of_columns)


def _over_all(run: Any, rows: _Blocks, columns: _Blocks, of_rows: Any, of_columns: Any) -> tuple[Any, Any]:
    """All tiles, row by row."""

    def run_row(of_columns, row):
        row, of_row = row

        def run_column(of_row, column):
            return run(row, column[0], of_row, column[1])

        of_row, of_columns = jax.lax.scan(run_column, of_row, (columns, of_columns))
        return of_columns, of_row

    of_columns, of_rows = jax.lax.scan(run_row, of_columns, (rows, of_rows))
    return of_rows, of_columns


def _over_half(run: Any, rows: _Blocks, columns: _Blocks, of_rows: Any, of_columns: Any) -> tuple[Any, Any]:
    """One tile for every two blocks of an odd number k, and those on the diagonal for their rows alone.

    Block i meets blocks i, i + 1, … i + (k - 1)/2 modulo k, all i at the same distance one after the other.
    """
    count = rows.number.shape[0]

    @partial(jax.checkpoint, prevent_cse=False)
    def at_distance(sums, distance):
        def turned(tree, by):
            return jax.tree.map(lambda a: jnp.roll(a, by, axis=0), tree)

        def meet(_, block):
            return None, run(*block, above=distance > 0)

        of_rows, of_columns = sums
        met = rows, turned(columns, -distance), of_rows, turned(of_columns, -distance)
        _, (of_rows, of_columns) = jax.lax.scan(meet, None, met)
        return (of_rows, turned(of_columns, distance)), None

    distances = jnp.arange((count + 1) // 2, dtype=jnp.int32)
    return jax.lax.scan(at_distance, (of_rows, of_columns), distances)[0]


def _share(weights: Array, above: Any) -> Array:
    return weights if above is None else weights * jnp.asarray(above, weights.dtype)


def _scores(kernel: Kernel, x: Array, y: Array) -> Array:
    return log_kernel_at(kernel, jnp.matmul(x, y.T, precision="highest"))


def _scores_and_slopes(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """Log κ and its derivative in the cosine."""
    cosine = jnp.matmul(x, y.T, precision="highest")
    return jax.jvp(partial(log_kernel_at, kernel), (cosine,), (jnp.ones_like(cosine),))


def _exp(exponents: Array, kept: Any) -> Array:
    """The exponentials of the pairs that count, 0 for others."""
    return jnp.exp(exponents if kept is None else jnp.where(kept, exponents, -jnp.inf))


def _along(axis: int, matrix: Array, weights: Array) -> Array:
    """Σ_j w_j M_ij for axis 1, Σ_i w_i M_ij for axis 0."""
    return matrix @ weights if axis == 1 else weights @ matrix


def _added(
    sums: LogSum, scores: Array, weights: Array, kept: Any, axis: int, pull: tuple[Array, Array] | None = None
) -> LogSum:
    """The sums with a tile's scores added along an axis; `pull` is the slopes and the other side's points."""
    # Adding 0 or -inf to all scores of a point is faster than selecting those of points with weight.
    scores = scores + jnp.expand_dims(jnp.where(weights > 0, 0, -jnp.inf), 1 - axis)
    scores = scores if kept is None else jnp.where(kept, scores, -jnp.inf)
    top = jnp.maximum(sums.top, jnp.max(scores, axis=axis))
    shift = jnp.where(jnp.isfinite(top), top, 0)
    mass = jnp.exp(scores - jnp.expand_dims(shift, axis))
    shrink = jnp.exp(sums.top - shift)
    before = LogSum(top, sums.total * shrink, None if sums.pull is None else sums.pull * shrink[:, None])
    return _with_mass(before, mass, weights, axis, pull)


def _with_mass(
    sums: LogSum, mass: Array, weights: Array, axis: int, pull: tuple[Array, Array] | None = None
) -> LogSum:
    """The sums with e^{s_ij - top} of a tile added along an axis."""
    total = sums.total + _along(axis, mass, weights)
    if sums.pull is None or pull is None:
        return LogSum(sums.top, total)
    slopes, y = pull
    force = jnp.matmul(mass * slopes * jnp.expand_dims(weights, 1 - axis), y, precision="highest")
    return LogSum(sums.top, total, sums.pull + force)


def add_tiles(
    sums: tuple[LogSum, LogSum | None], x: Side, y: Side, kernel: Kernel, tiling: Tiling
) -> tuple[LogSum, LogSum | None]:
    """Add the pairs of x and y to the sums at the rows x, and at the columns y unless those are None.

    The sums of the rows have a gradient if they have had one. Points of weight 0 have no effect on others.
    """

    def tile(x, y, kept, above, of_rows, of_columns):
        if of_rows.pull is None:
            scores, pull = _scores(kernel, x.points, y.points), None
        else:
            scores, slopes = _scores_and_slopes(kernel, x.points, y.points)
            pull = slopes, y.points
        if tiling.shift is None:
            of_rows = _added(of_rows, scores, y.weights, kept, 1, pull)
            if of_columns is not None:
                of_columns = _added(of_columns, scores, _share(x.weights, above), kept, 0)
            return of_rows, of_columns
        mass = _exp(scores - tiling.shift, kept)
        of_rows = _with_mass(of_rows, mass, y.weights, 1, pull)
        if of_columns is not None:
            of_columns = _with_mass(of_columns, mass, _share(x.weights, above), 0)
        return of_rows, of_columns

    return _over_tiles(tiling, tile, x, y, sums)


class Tangents(NamedTuple):
    """Tangents of the arguments of the sums, with None where there is none."""

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

        primals, tangents = (tuple(moved[i][k] for i in which) for k in (0, 1))
        return jax.jvp(scores, primals, tangents)

    def along(mass, d_mass, weights, d_weights, axis):
        total = jnp.zeros_like(mass[:, 0] if axis == 1 else mass[0])
        if d_mass is not None:
            total = total + _along(axis, d_mass, weights)
        return total if d_weights is None else total + _along(axis, mass, d_weights)

    def separate(scores, d_scores, value, kept, axis):
        """Shares e^{s_ij - L} and their tangent."""
        # Only a point of weight (nearly) 0 reaches the cap, which keeps its share finite: 0 · inf is NaN.
        share = _exp(jnp.minimum(scores - jnp.expand_dims(value, axis), cap), kept)
        return share, None if d_scores is None else share * d_scores

    def contributions(known, moved):
        (kernel, x, of_x, y, of_y, kept, above), (d_kernel, d_x, d_y) = known, moved
        scores, d_scores = rate(kernel, x.points, y.points, d_kernel, d_x.points, d_y.points)
        weights, d_weights = jax.tree.map(lambda w: _share(w, above), (x.weights, d_x.weights))
        if tiling.shift is None:
            at_rows = along(*separate(scores, d_scores, of_x, kept, 1), y.weights, d_y.weights, 1)
            if of_y is None:
                return at_rows, None
            return at_rows, along(*separate(scores, d_scores, of_y, kept, 0), weights, d_weights, 0)
        mass = _exp(scores - tiling.shift, kept)
        d_mass = None if d_scores is None else mass * d_scores
        at_rows = jnp.exp(tiling.shift - of_x) * along(mass, d_mass, y.weights, d_y.weights, 1)
        if of_y is None:
            return at_rows, None
        return at_rows, jnp.exp(tiling.shift - of_y) * along(mass, d_mass, weights, d_weights, 0)

    again = jax.checkpoint(contributions, prevent_cse=False)

    def tile(x, y, kept, above, of_rows, of_columns):
        (x, of_x, d_x), (y, of_y, d_y) = x, y
        added = again((kernel, x, of_x, y, of_y, kept, above), (tangents.kernel, d_x, d_y))
        return jax.tree.map(jnp.add, (of_rows, of_columns), added)

    along_x, along_y = (x, values[0], tangents.x), (y, values[1], tangents.y)
    return _over_tiles(tiling, tile, along_x, along_y, sums)
