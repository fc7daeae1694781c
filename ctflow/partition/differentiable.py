"""The all-pairs sums as differentiable functions: the exact one, and the spectral one with its fallbacks.

When a gradient is requested, the forward pass computes ∇_x L together with L. The backward pass computes the
gradients in y, weights and kernel only if one of them is requested.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from ctflow.kernels import Kernel
from ctflow.partition.ring import ring_pull, ring_sum
from ctflow.partition.spectral import no_field, proves, spectral_pull, spectral_sum


class Settings(NamedTuple):
    """The settings of a sum that are fixed when it is traced.

    Attributes:
        exclude_self: leave out the pairs j = i.
        block_size: side of a tile.
        mesh: a mesh with one axis over which x and y are split, or None.
        degrees: (degree, dtype name) of each spectral attempt, cheapest first; empty for an exact sum.
        rtol: largest proven error of L (a relative error of e^L) with which an attempt is accepted.
    """

    exclude_self: bool
    block_size: int
    mesh: Mesh | None
    degrees: tuple[tuple[int, str], ...]
    rtol: float

    @property
    def axis(self) -> str | None:
        """The mesh's axis, None without a mesh."""
        return None if self.mesh is None else self.mesh.axis_names[0]


def log_sum(
    settings: Settings,
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    weights: Float[Array, " m"],
    kernel: Kernel,
) -> Float[Array, " n"]:
    """L_i = log Σ_j w_j κ(x_i, y_j), reverse-mode differentiable; a mesh's size must divide n and m."""
    return _log_sum(settings, x, y, weights, kernel)


class _Forward(NamedTuple):
    """L [n], its gradient in x [n, d] or None, and `Sums.field`."""

    value: Array
    gradient: Array | None
    field: tuple[Array, ...]


def attempt(
    settings: Settings, x: Array, y: Array, weights: Array, kernel: Kernel, *, gradient: bool
) -> tuple[_Forward, Array]:
    """The sum and the number of the run that gave it: an index into `degrees`, or len(degrees) if exact."""
    options = {"gradient": gradient, "exclude_self": settings.exclude_self, "axis": settings.axis}

    def body(x, y, weights, kernel):
        def spectral(degree, dtype):
            sums = spectral_sum(x, y, weights, kernel, degree=degree, dtype=dtype, **options)
            return _Forward(*sums[:3]), proves(sums.bound, settings.rtol)

        def exact():
            sums = ring_sum(x, y, weights, kernel, block_size=settings.block_size, **options)
            return _Forward(*sums, no_field(x) if settings.degrees else ()), True

        return _first_proven([*(partial(spectral, *attempt) for attempt in settings.degrees), exact])

    return _over_mesh(settings, body, "xyw-", "x-")(x, y, weights, kernel)


def _first_proven(runs: list[Callable[[], tuple[Any, Any]]], first: Any = 0) -> tuple[Any, Array]:
    """Result and number of the first run, from `first` on, that is proven; the last run always counts."""
    if len(runs) == 1:
        return runs[0]()[0], jnp.int32(0)
    empty = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(runs[-1])[0])
    state = empty, jnp.zeros((), bool), jnp.int32(0)
    for number, run in enumerate(runs):

        def go(state, run=run, number=number):
            result, proven = run()
            return result, jnp.asarray(proven), jnp.int32(number)

        state = jax.lax.cond(state[1] | (number < first), lambda state: state, go, state)
    return state[0], state[2]


def _pull(settings, of_kernel, x, y, weights, kernel, value, field, cotangent, taken):
    """Gradients in y, weights and, if requested, kernel, from the first proven run, from `taken` on."""
    options = {"exclude_self": settings.exclude_self, "axis": settings.axis}

    def spectral(degree, dtype):
        pulled, bound = spectral_pull(
            *(x, y, weights, kernel, field, cotangent),
            **{"degree": degree, "dtype": dtype, "of_kernel": of_kernel, **options},
        )
        return pulled, proves(bound, settings.rtol)

    def exact():
        pulled = ring_pull(x, y, weights, kernel, value, cotangent, block_size=settings.block_size, **options)
        return (pulled if of_kernel else (*pulled[:2], None)), True

    runs = [partial(spectral, *attempt) for attempt in settings.degrees]
    return _first_proven([*runs, exact], taken)[0]


def _over_mesh(settings: Settings, body: Callable[..., Any], takes: str, gives: str) -> Callable[..., Any]:
    """Run `body` on each device's share of the arguments.

    `takes` and `gives` have one letter per argument and result; `-` marks those that all devices share.
    Without a mesh, `vmap` runs a spectral body one instance at a time: batched, each would run all fallbacks.
    """
    if settings.mesh is None:
        return sequential_vmap(body) if settings.degrees else body
    spec = {False: PartitionSpec(settings.axis), True: PartitionSpec()}
    in_specs, out_specs = (tuple(spec[letter == "-"] for letter in letters) for letters in (takes, gives))
    return jax.shard_map(body, mesh=settings.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_sum(settings, x, y, weights, kernel):
    return attempt(settings, x, y, weights, kernel, gradient=False)[0].value


@jax.custom_jvp
def _once(tree: Any) -> Any:
    """The identity on a tree; it raises if differentiated, because its result enters a first derivative."""
    return tree


@_once.defjvp
def _once_jvp(primals, tangents):
    raise NotImplementedError(
        "this method of log_partition has first derivatives only; use method='dense' for second derivatives"
    )


def _forward(settings, *arguments):
    x, y, weights, kernel = _once(jax.tree.map(lambda a: a.value, arguments, is_leaf=_is_primal))
    asked = [any(leaf.perturbed for leaf in jax.tree.leaves(a, is_leaf=_is_primal)) for a in arguments]
    (value, slope, field), taken = attempt(settings, x, y, weights, kernel, gradient=True)
    # Residuals must be arrays, so static facts are passed on by which of them are present (not None).
    of_columns, of_kernel = any(asked[1:]), asked[3]
    columns = (x, y, weights, kernel, value, field, taken) if of_columns else None
    return value, (slope, columns, () if of_kernel else None)


def _is_primal(node: Any) -> bool:
    return isinstance(node, jax.custom_derivatives.CustomVJPPrimal)


def _backward(settings, residuals, cotangent):
    slope, columns, kernel_marker = residuals
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return None, None, None, None
    d_x = cotangent[:, None] * slope
    if columns is None:
        return d_x, None, None, None
    x, y, weights, kernel, value, field, taken = columns
    of_kernel = kernel_marker is not None

    def body(x, y, weights, kernel, value, field, cotangent, taken):
        return _pull(settings, of_kernel, x, y, weights, kernel, value, field, cotangent, taken)

    pull = _over_mesh(settings, body, "xyw-xxx-", "yw-")
    return (d_x, *pull(x, y, weights, kernel, value, field, cotangent, taken))


_log_sum.defvjp(_forward, _backward, symbolic_zeros=True)
