"""A linear map with a transpose of its own, which can be differentiated again.

`jax.custom_jvp` takes a derivative's transpose from the derivative's own operations. A spectral gradient is
certified for the cotangent that it is given, and falls back if that fails: no transpose of linear operations
does this. `jax.custom_derivatives.linear_call` takes a transpose, but no derivative in what it is not linear
in. Here that derivative is the one of `forward`, whose own transpose replaces the given one from then on.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Map = Callable[..., list[Any]]


class _Maps(NamedTuple):
    """A linear map of leaves (*residuals, *tangents) and its transpose, as they run and as JAX has them."""

    run: Map
    transposed: Map
    exact: Map
    exact_transposed: Map


def linear(forward: Callable, transposed: Callable, residuals: Any, tangents: Any) -> Any:
    """`forward(residuals, tangents)`, with `transposed(residuals, cotangents)` as its transpose.

    No function may close over tracers.

    Args:
        forward: linear in the tangents, of operations that JAX can differentiate and transpose.
        transposed: the transpose of `forward` in the tangents, to within its own tolerance.
        residuals: a pytree of floating-point arrays, in which neither need be linear.
        tangents: a pytree of floating-point arrays.
    """
    of_residuals, of_tangents = map(jax.tree.structure, (residuals, tangents))
    out = jax.eval_shape(forward, residuals, tangents)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tangents)
    count = of_residuals.num_leaves

    def flat(function: Callable, linear_in: Any) -> Map:
        def on_leaves(*leaves):
            given = jax.tree.unflatten(of_residuals, leaves[:count])
            return jax.tree.leaves(function(given, jax.tree.unflatten(linear_in, leaves[count:])))

        return on_leaves

    def derived(residuals, cotangents):
        return jax.linear_transpose(partial(forward, residuals), shapes)(cotangents)[0]

    ahead, back = of_tangents, jax.tree.structure(out)
    maps = _Maps(flat(forward, ahead), flat(transposed, back), flat(forward, ahead), flat(derived, back))
    found = _linear_p.bind(*jax.tree.leaves((residuals, tangents)), maps=maps, count=count)
    return jax.tree.unflatten(back, found)


_linear_p = Primitive("linear_with_transpose")
_linear_p.multiple_results = True


@_linear_p.def_impl
def _run(*leaves, maps, count):
    return jax.jit(maps.run)(*leaves)


@_linear_p.def_abstract_eval
def _shapes(*leaves, maps, count):
    given = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in leaves)
    return [ShapedArray(a.shape, a.dtype) for a in jax.eval_shape(maps.run, *given)]


def _jvp(primals, tangents, *, maps, count):
    def bound(leaves):
        return _linear_p.bind(*primals[:count], *leaves, maps=maps, count=count)

    zero = [type(t) is ad.Zero for t in tangents]
    filled = tuple(map(ad.instantiate_zeros, tangents))
    rates = []
    if not all(zero[count:]):
        rates.append(bound(filled[count:]))
    if not all(zero[:count]):

        def of_residuals(*residuals):
            return maps.exact(*residuals, *primals[count:])

        rates.append(jax.jvp(of_residuals, primals[:count], filled[:count])[1])
    return bound(primals[count:]), [sum(parts) for parts in zip(*rates, strict=True)]


def _transpose(cotangents, *leaves, maps, count):
    filled = map(ad.instantiate_zeros, cotangents)
    turned = _Maps(maps.transposed, maps.run, maps.exact_transposed, maps.exact)
    found = _linear_p.bind(*leaves[:count], *filled, maps=turned, count=count)
    asked = map(ad.is_undefined_primal, leaves[count:])
    return [None] * count + [a if wanted else None for a, wanted in zip(found, asked, strict=True)]


def _batch(leaves, axes, *, maps, count):
    (size,) = {a.shape[axis] for a, axis in zip(leaves, axes, strict=True) if axis is not None}
    tangents = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(leaves[count:], axes[count:], strict=True)
    ]

    def mapped(function: Map) -> Map:
        def each(*leaves):
            return jax.vmap(function, in_axes=(*axes[:count], *[0] * (len(leaves) - count)))(*leaves)

        return each

    found = _linear_p.bind(*leaves[:count], *tangents, maps=_Maps(*map(mapped, maps)), count=count)
    return found, [0] * len(found)


ad.primitive_jvps[_linear_p] = _jvp
ad.primitive_transposes[_linear_p] = _transpose
batching.primitive_batchers[_linear_p] = _batch
mlir.register_lowering(
    _linear_p, mlir.lower_fun(lambda *leaves, maps, count: maps.run(*leaves), multiple_results=True)
)
