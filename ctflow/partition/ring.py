"""The exact sums over several devices: each keeps its rows, and blocks of columns travel round a ring.

After D hops every block of columns has met every row and is back on its own device, with what was summed at
the columns on the way. Without a mesh axis there is one device and no hop.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ctflow.kernels import Kernel
from ctflow.partition.scaling import middle
from ctflow.partition.tiled import LogSum, Side, Tangents, Tiling, add_tangents, add_tiles


class Layout(NamedTuple):
    """How the pairs of two clouds are visited.

    Attributes:
        block_size: side of a tile.
        half: whether x and y are the same cloud, on one device.
        exclude_self: leave out the pairs j = i.
        bounded: whether one number scales all values of κ, and their sums, into the dtype's range.
        axis: the axis of the mesh over which x and y are divided, or None.
    """

    block_size: int
    half: bool
    exclude_self: bool
    bounded: bool
    axis: str | None


def _round(axis: str | None, hop: Any, of_rows: Any, travelling: Any) -> tuple[Any, Any]:
    """Let `travelling` go round: `hop(places, of_rows, travelling)` returns both anew.

    `places` are the ranks of this device and of the one that the columns belong to.
    """
    if axis is None:
        return hop((0, 0), of_rows, travelling)
    rank, size = jax.lax.axis_index(axis), jax.lax.axis_size(axis)
    onwards = [(i, (i + 1) % size) for i in range(size)]

    def step(carry, number):
        carry = hop((rank, (rank - number) % size), *carry)
        return (carry[0], jax.lax.ppermute(carry[1], axis, onwards)), None

    return jax.lax.scan(step, (of_rows, travelling), jnp.arange(size, dtype=jnp.int32))[0]


def _tiling(layout: Layout, places: Any, x: Side, y: Side, kernel: Kernel) -> Tiling:
    rank, owner = places
    own = (rank * x.points.shape[0], owner * y.points.shape[0]) if layout.exclude_self else None
    return Tiling(layout.block_size, layout.half, own, _shift(layout, x, kernel))


def _shift(layout: Layout, x: Side, kernel: Kernel) -> Any:
    return middle(kernel, x.points.dtype) if layout.bounded else None


def exact_sums(
    x: Side,
    y: Side,
    kernel: Kernel,
    layout: Layout,
    *,
    gradient: bool,
    columns: bool,
) -> tuple[LogSum, LogSum | None]:
    """The sums over the pairs of x and y of all devices: at x, with or without gradient, and at y or None."""
    shift = _shift(layout, x, kernel)
    at_x = LogSum.nothing(x.points, shift, gradient=gradient)
    at_y = LogSum.nothing(y.points, shift) if columns else None

    def meet(places, at_x, travelling):
        y, at_y = travelling
        tiling = _tiling(layout, places, x, y, kernel)
        at_x, at_y = add_tiles((at_x, at_y), x, y, kernel, tiling)
        return at_x, (y, at_y)

    at_x, (_, at_y) = _round(layout.axis, meet, at_x, (y, at_y))
    return at_x, at_y


def exact_tangents(
    x: Side,
    y: Side,
    kernel: Kernel,
    values: tuple[Array, Array | None],
    tangents: Tangents,
    layout: Layout,
) -> tuple[Array, Array | None]:
    """The tangents of the log sums at x, and at y or None, over the pairs of all devices."""
    of_x, of_y = values
    at_x, at_y = jax.tree.map(jnp.zeros_like, values)

    def meet(places, at_x, travelling):
        y, of_y, d_y, at_y = travelling
        tiling = _tiling(layout, places, x, y, kernel)
        moved = Tangents(tangents.x, d_y, tangents.kernel)
        at_x, at_y = add_tangents((at_x, at_y), x, y, kernel, (of_x, of_y), moved, tiling)
        return at_x, (y, of_y, d_y, at_y)

    at_x, (*_, at_y) = _round(layout.axis, meet, at_x, (y, of_y, tangents.y, at_y))
    return at_x, at_y


def exact_pull(
    x: Side,
    y: Side,
    kernel: Kernel,
    values: tuple[Array, Array | None],
    cotangents: tuple[Array, Array | None],
    asked: Tangents,
    layout: Layout,
) -> Tangents:
    """The transpose of `exact_tangents`: the gradients in those arguments that `asked` has arrays for.

    JAX's own transpose, which second derivatives take, keeps the columns of all devices. Here each block's
    gradient travels with it.
    """
    (of_x, of_y), (of_rows, of_columns) = values, cotangents
    empty = jax.tree.map(jnp.zeros_like, asked)

    def meet(places, found, travelling):
        y, of_y, of_columns, d_y = travelling
        tiling = _tiling(layout, places, x, y, kernel)

        def rates(moved):
            start = jax.tree.map(jnp.zeros_like, (of_x, of_y))
            return add_tangents(start, x, y, kernel, (of_x, of_y), moved, tiling)

        (more,) = jax.linear_transpose(rates, asked)((of_rows, of_columns))
        found, d_y = jax.tree.map(jnp.add, (found, d_y), ((more.x, more.kernel), more.y))
        return found, (y, of_y, of_columns, d_y)

    found, travelling = (empty.x, empty.kernel), (y, of_y, of_columns, empty.y)
    (d_x, d_kernel), (*_, d_y) = _round(layout.axis, meet, found, travelling)
    return Tangents(d_x, d_y, d_kernel if layout.axis is None else jax.lax.psum(d_kernel, layout.axis))
