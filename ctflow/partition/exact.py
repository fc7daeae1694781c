"""The exact sums in tiles as functions that JAX differentiates in every mode and to any order.

Their derivative is `exact_tangents`, which is linear in the tangents. JAX transposes it for gradients and
differentiates it again for higher derivatives, in the same memory. A gradient in x alone is summed together
with the value, in one pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from ctflow.kernels import Kernel
from ctflow.partition.linear import linear
from ctflow.partition.ring import Layout, exact_pull, exact_sums, exact_tangents
from ctflow.partition.tiled import Side, Tangents


class Settings(NamedTuple):
    """The settings of a sum that are fixed when it is traced.

    Attributes:
        columns: whether to sum at the points y too, over x.
        exclude_self: leave out the pairs j = i.
        block_size: side of a tile.
        mesh: a mesh with one axis over which x and y are split, or None.
        degrees: (degree, dtype name) of each spectral attempt, cheapest first; empty for an exact sum.
        rtol: largest proven error of L (a relative error of e^L) with which an attempt is accepted.
        fallbacks: whether a spectral sum that is not proven is repeated; otherwise it is NaN.
        one_pass: whether a gradient in x alone is summed together with the value.
        means: whether the fields' means, with the weights of the points, are wanted in place of the fields.
        bounded: whether one number scales all values of κ into the dtype's range (`is_bounded`), and their
            sums too.
    """

    columns: bool
    exclude_self: bool
    block_size: int
    mesh: Mesh | None
    degrees: tuple[tuple[int, str], ...] = ()
    rtol: float = 0.0
    fallbacks: bool = True
    one_pass: bool = True
    means: bool = False
    bounded: bool = False

    @property
    def axis(self) -> str | None:
        """The mesh's axis, None without a mesh."""
        return None if self.mesh is None else self.mesh.axis_names[0]

    def layout(self, y: Any) -> Layout:
        """How the pairs are visited; y is None for the cloud x itself."""
        half = y is None and self.mesh is None
        return Layout(self.block_size, half, self.exclude_self, self.bounded, self.axis)


Values = tuple[Array, Array | None]


def over_mesh(settings: Settings, body: Callable[..., Any], takes: str, gives: str) -> Callable[..., Any]:
    """Run `body` on each device's share of the arguments.

    `takes` and `gives` have one letter per argument and result; `-` marks those that all devices share.
    """
    if settings.mesh is None:
        return body
    spec = {False: PartitionSpec(settings.axis), True: PartitionSpec()}
    in_specs, out_specs = (tuple(spec[letter == "-"] for letter in letters) for letters in (takes, gives))
    return jax.shard_map(body, mesh=settings.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _sums(settings: Settings, x: Side, y: Side | None, kernel: Kernel, *, gradient: bool = False) -> Any:
    layout = settings.layout(y)
    half = layout.half

    def body(x, y, kernel):
        return exact_sums(x, y, kernel, layout, gradient=gradient, columns=settings.columns or half)

    at_x, at_y = over_mesh(settings, body, "xy-", "xy")(x, x if y is None else y, kernel)
    return (at_x.joined(at_y), None) if half else (at_x, at_y)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def exact_values(settings: Settings, x: Side, y: Side | None, kernel: Kernel) -> Values:
    """The log sums at x over y, and at y over x or None; y is None for the cloud x itself."""
    at_x, at_y = _sums(settings, x, y, kernel)
    return at_x.value(), None if at_y is None else at_y.value()


@partial(exact_values.defjvp, symbolic_zeros=True)
def _exact_values_jvp(settings, primals, tangents):
    x, y, kernel = primals
    moved = d_x, d_y, d_kernel = present(tangents, kernel)
    in_points = not jax.tree.leaves((d_x.weights, d_y, d_kernel))
    if settings.one_pass and y is not None and not settings.columns and in_points:
        value, slope = exact_value_and_slope(settings, x, y, kernel)
        return (value, None), (jnp.sum(slope * d_x.points, axis=1), None)
    values = exact_values(settings, x, y, kernel)
    return values, exact_rates(settings, x, y, kernel, values, moved)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def exact_value_and_slope(settings: Settings, x: Side, y: Side, kernel: Kernel) -> tuple[Array, Array]:
    """L [n] and the gradient of L_i in x_i [n, d], in one pass."""
    at_x, _ = _sums(settings, x, y, kernel, gradient=True)
    return at_x.value(), at_x.slope()


@exact_value_and_slope.defjvp
def _exact_value_and_slope_jvp(settings, primals, tangents):
    return jax.jvp(partial(in_two_passes, settings), primals, tangents)


def in_two_passes(settings: Settings, x: Side, y: Side, kernel: Kernel) -> tuple[Array, Array]:
    """The same from the derivative of the values, which can be differentiated again."""
    settings = settings._replace(one_pass=False)
    value, pull = jax.vjp(lambda z: exact_values(settings, Side(z, None), y, kernel)[0], x.points)
    return value, pull(jnp.ones_like(value))[0]


def exact_rates(
    settings: Settings, x: Side, y: Side | None, kernel: Kernel, values: Values, moved: tuple[Any, Any, Any]
) -> Values:
    """The tangents of `exact_values` for those of x, y and kernel, `moved`, with None where there is none."""
    layout = settings.layout(y)
    (d_x, d_y, d_kernel), half = moved, layout.half
    y, d_y = (x, d_x) if y is None else (y, d_y)
    values = (values[0], values[0]) if half else values

    def forward(residuals, moved):
        def body(x, y, kernel, values, d_x, d_y, d_kernel):
            return exact_tangents(x, y, kernel, values, Tangents(d_x, d_y, d_kernel), layout)

        return over_mesh(settings, body, "xy-xxy-", "xy")(*residuals, *moved)

    def transposed(residuals, cotangents):
        def body(x, y, kernel, values, cotangents):
            asked = Tangents(*chosen(which, (x, y, kernel)))
            return tuple(exact_pull(x, y, kernel, values, cotangents, asked, layout))

        return over_mesh(settings, body, "xy-xx", "xy-")(*residuals, cotangents)

    residuals, moved = (x, y, kernel, values), (d_x, d_y, d_kernel)
    which = there(moved)
    if settings.mesh is not None:
        return linear(forward, transposed, residuals, moved)
    at_x, at_y = forward(residuals, moved)
    return (at_x + at_y, None) if half else (at_x, at_y)


def present(tangents: Any, kernel: Kernel) -> Any:
    """The tangents (of sides, at last of the kernel) with None for those that are zero by construction."""
    *sides, d_kernel = jax.tree.map(lambda a: None if _is_zero(a) else a, tangents, is_leaf=_is_zero)
    if jax.tree.leaves(d_kernel):
        leaves, tree = jax.tree.flatten(kernel)
        found = jax.tree.leaves(tangents[-1], is_leaf=_is_zero)
        filled = [jnp.zeros_like(a) if _is_zero(d) else d for a, d in zip(leaves, found, strict=True)]
        return (*sides, jax.tree.unflatten(tree, filled))
    return (*sides, None)


def there(tangents: Any) -> Any:
    """The tangents' tree, with whether there is one in place of each."""
    return jax.tree.map(lambda a: a is not None, tangents, is_leaf=lambda a: a is None)


def chosen(which: Any, arguments: Any) -> Any:
    """The arguments that have a tangent, None for the others."""
    return jax.tree.map(lambda wanted, a: a if wanted else None, which, arguments)


def _is_zero(node: Any) -> bool:
    return isinstance(node, SymbolicZero)
