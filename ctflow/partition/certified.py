"""The spectral sums with their fallbacks, which JAX can differentiate in every mode and to any order.

When a derivative is requested, the forward pass computes ∇_x L together with L. The backward pass computes
the gradients in y, weights and kernel only if one of them is requested, and certifies them for the cotangent
that it is given. Derivatives in these three in forward mode, and second derivatives, are those of the exact
sum.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array

from ctflow import sphere
from ctflow.kernels import Kernel
from ctflow.partition.exact import Settings, chosen, exact_rates, in_two_passes, over_mesh, present, there
from ctflow.partition.linear import linear
from ctflow.partition.ring import exact_pull, exact_sums
from ctflow.partition.spectral import no_field, proves, spectral_pull, spectral_sum
from ctflow.partition.tiled import Side, Tangents


class _Forward(NamedTuple):
    """The result of a pass: L [n], its gradient in x [n, d] or None, and `Sums.field`."""

    value: Array
    gradient: Array | None
    field: tuple[Array, ...]


def attempt(
    settings: Settings, x: Array, y: Side, kernel: Kernel, *, gradient: bool
) -> tuple[_Forward, Array]:
    """The sum and the number of the run that gave it: an index into `degrees`, or len(degrees) if exact."""

    def body(x, y, kernel):
        def spectral(degree, dtype):
            options: dict[str, Any] = {"gradient": gradient, "degree": degree, "dtype": dtype}
            options |= {"exclude_self": settings.exclude_self, "axis": settings.axis}
            sums = spectral_sum(x, y.points, y.weights, kernel, **options)
            return _Forward(*sums[:3]), proves(sums.bound, settings.rtol)

        def exact():
            options = {"gradient": gradient, "columns": False, **settings.options(y)}
            at_x, _ = exact_sums(Side(x, None), y, kernel, **options)
            return _Forward(at_x.value(), at_x.slope(), no_field(x)), True

        return _first_proven(settings, [*(partial(spectral, *each) for each in settings.degrees), exact])

    return _one_by_one(settings, body, "xy-", "x-")(x, y, kernel)


def _pull(settings, of_kernel, x, y, kernel, value, field, cotangent, taken):
    """Gradients in y, weights and, if requested, kernel, from the first proven run, from `taken` on."""

    def body(x, y, kernel, value, field, cotangent, taken):
        def spectral(degree, dtype):
            options: dict[str, Any] = {"of_kernel": of_kernel, "degree": degree, "dtype": dtype}
            options |= {"exclude_self": settings.exclude_self, "axis": settings.axis}
            pulled, bound = spectral_pull(x, y.points, y.weights, kernel, field, cotangent, **options)
            return (Side(*pulled[:2]), pulled[2]), proves(bound, settings.rtol)

        def exact():
            asked = Tangents(Side(None, None), y, kernel if of_kernel else None)
            arguments = Side(x, None), y, kernel, (value, None), (cotangent, None), asked
            return exact_pull(*arguments, **settings.options(y))[1:], True

        runs = [partial(spectral, *attempt) for attempt in settings.degrees]
        return _first_proven(settings, [*runs, exact], taken)[0]

    return _one_by_one(settings, body, "xy-xxx-", "y-")(x, y, kernel, value, field, cotangent, taken)


def _first_proven(
    settings: Settings, runs: list[Callable[[], tuple[Any, Any]]], first: Any = 0
) -> tuple[Any, Array]:
    """Result and number of the first run, from `first` on, that is proven; the last run always counts."""
    if not settings.fallbacks:
        result, proven = runs[0]()
        return jax.tree.map(lambda a: jnp.where(proven, a, jnp.nan), result), jnp.int32(0)
    empty = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(runs[-1])[0])
    state = empty, jnp.zeros((), bool), jnp.int32(0)
    for number, run in enumerate(runs):

        def go(state, run=run, number=number):
            result, proven = run()
            return result, jnp.asarray(proven), jnp.int32(number)

        state = jax.lax.cond(state[1] | (number < first), lambda state: state, go, state)
    return state[0], state[2]


def _one_by_one(settings: Settings, body: Callable[..., Any], takes: str, gives: str) -> Callable[..., Any]:
    """As `over_mesh`; `vmap` runs the instances one by one: batched, each would run all fallbacks."""
    return sequential_vmap(body) if settings.mesh is None else over_mesh(settings, body, takes, gives)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def spectral_values(settings: Settings, x: Side, y: Side, kernel: Kernel) -> tuple[Array, None]:
    """L_i = log Σ_j w_j κ(x_i, y_j), by the first attempt that is proven, and None for the fields at y.

    A mesh's size must divide n and m.
    """
    return attempt(settings, x.points, y, kernel, gradient=False)[0].value, None


@partial(spectral_values.defjvp, symbolic_zeros=True)
def _spectral_values_jvp(settings, primals, tangents):
    x, y, kernel = primals
    d_x, d_y, d_kernel = present(tangents, kernel)
    value, slope, field, taken = _with_slope(settings, x, y, kernel)
    rate = jnp.zeros_like(value) if d_x.points is None else jnp.sum(slope * d_x.points, axis=1)
    moved = d_y, d_kernel
    if not jax.tree.leaves(moved):
        return (value, None), (rate, None)
    which, of_kernel = there(moved), d_kernel is not None

    def forward(residuals, moved):
        (x, y, kernel, value, *_), (d_y, d_kernel) = residuals, moved
        if d_y.points is not None:  # as `spectral_pull` gives a tangential gradient
            d_y = d_y._replace(points=sphere.project_tangent(y.points, d_y.points))
        return exact_rates(settings, x, y, kernel, (value, None), (Side(None, None), d_y, d_kernel))[0]

    def transposed(residuals, cotangent):
        x, y, kernel, value, field, taken = residuals
        found = _pull(settings, of_kernel, x.points, y, kernel, value, field, cotangent, taken)
        return chosen(which, found)

    rate = rate + linear(forward, transposed, (x, y, kernel, value, field, taken), moved)
    return (value, None), (rate, None)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_slope(settings, x, y, kernel):
    """L, its gradient in x, `Sums.field`, and the number of the attempt that gave them, as a float."""
    found, taken = attempt(settings, x.points, y, kernel, gradient=True)
    return *found, taken.astype(x.points.dtype)


@_with_slope.defjvp
def _with_slope_jvp(settings, primals, tangents):
    def derived(x, y, kernel):
        value, slope = in_two_passes(settings, x, y, kernel)
        return value, sphere.project_tangent(x.points, slope)

    _, rates = jax.jvp(derived, primals, tangents)
    found = _with_slope(settings, *primals)
    return found, (*rates, *jax.tree.map(jnp.zeros_like, found[2:]))
