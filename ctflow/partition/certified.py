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
from ctflow.partition.bounds import proves
from ctflow.partition.exact import Settings, chosen, exact_rates, in_two_passes, over_mesh, present, there
from ctflow.partition.linear import linear
from ctflow.partition.ring import exact_pull, exact_sums
from ctflow.partition.spectral import no_field, spectral_pull, spectral_sum
from ctflow.partition.tiled import Side, Tangents


class Forward(NamedTuple):
    """The result of a pass: L [n], its gradient in x [n, d] or None, `Sums.field` and `Sums.divided`."""

    value: Array
    gradient: Array | None
    field: tuple[Array, ...]
    divided: Array | None = None


class _Spectral(NamedTuple):
    """A run in harmonics, with whether it is proven."""

    settings: Settings
    degree: int
    dtype: str

    def _options(self) -> dict[str, Any]:
        own = self._asdict()
        settings = own.pop("settings")
        return own | {"exclude_self": settings.exclude_self, "axis": settings.axis}

    def forward(self, x: Array, y: Side, kernel: Kernel, *, gradient: bool, cotangent: Any = None) -> Any:
        """The sum; with the cotangent of `backward`, if it is known, the moments that it needs."""
        arguments = x, y.points, y.weights, kernel
        sums = spectral_sum(*arguments, gradient=gradient, cotangent=cotangent, **self._options())
        return Forward(*sums[:3], sums.divided), proves(sums.bound, self.settings.rtol)

    def backward(
        self, x: Array, y: Side, kernel: Kernel, done: Forward, cotangent: Array, *, of_kernel: bool
    ) -> Any:
        """Gradients in y and, if requested, in the kernel."""
        arguments = x, y.points, y.weights, kernel, done.field, cotangent
        options = self._options() | {"of_kernel": of_kernel, "divided": done.divided}
        pulled, bound = spectral_pull(*arguments, **options)
        return (Side(*pulled[:2]), pulled[2]), proves(bound, self.settings.rtol)


class _Exact(NamedTuple):
    """The run in tiles, which needs no proof."""

    settings: Settings

    def forward(self, x: Array, y: Side, kernel: Kernel, *, gradient: bool, cotangent: Any = None) -> Any:
        """As that of `_Spectral`."""
        layout = self.settings.layout(y)
        at_x, _ = exact_sums(Side(x, None), y, kernel, layout, gradient=gradient, columns=False)
        return Forward(at_x.value(), at_x.slope(), no_field(x)), True

    def backward(
        self, x: Array, y: Side, kernel: Kernel, done: Forward, cotangent: Array, *, of_kernel: bool
    ) -> Any:
        """As that of `_Spectral`."""
        asked = Tangents(Side(None, None), y, kernel if of_kernel else None)
        arguments = Side(x, None), y, kernel, (done.value, None), (cotangent, None), asked
        return exact_pull(*arguments, self.settings.layout(y))[1:], True


def runs(settings: Settings) -> list[_Spectral | _Exact]:
    """The runs of a sum, in the order in which they are tried."""
    return [*(_Spectral(settings, *each) for each in settings.degrees), _Exact(settings)]


def attempt(
    settings: Settings, x: Array, y: Side, kernel: Kernel, *, gradient: bool
) -> tuple[Forward, Array]:
    """The sum and the number of the run that gave it: an index into `degrees`, or len(degrees) if exact."""

    def body(x, y, kernel):
        return first_proven(
            settings, [partial(run.forward, x, y, kernel, gradient=gradient) for run in runs(settings)]
        )

    return one_by_one(settings, body, "xy-", "x-")(x, y, kernel)


def _pull(settings, of_kernel, x, y, kernel, done, cotangent, taken):
    """Gradients in y, weights and, if requested, kernel, from the first proven run, from `taken` on."""

    def body(x, y, kernel, done, cotangent, taken):
        arguments = x, y, kernel, done, cotangent
        tried = [partial(run.backward, *arguments, of_kernel=of_kernel) for run in runs(settings)]
        return first_proven(settings, tried, taken)[0]

    return one_by_one(settings, body, "xy-xx-", "y-")(x, y, kernel, done, cotangent, taken)


def first_proven(
    settings: Settings, tried: list[Callable[[], tuple[Any, Any]]], first: Any = 0
) -> tuple[Any, Array]:
    """Result and number of the first run, from `first` on, that is proven; the last run always counts."""
    if not settings.fallbacks:
        result, proven = tried[0]()
        return jax.tree.map(lambda a: jnp.where(proven, a, jnp.nan), result), jnp.int32(0)
    empty = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(tried[-1])[0])
    state = empty, jnp.zeros((), bool), jnp.int32(0)
    for number, run in enumerate(tried):

        def go(state, run=run, number=number):
            result, proven = run()
            return result, jnp.asarray(proven), jnp.int32(number)

        state = jax.lax.cond(state[1] | (number < first), lambda state: state, go, state)
    return state[0], state[2]


def one_by_one(settings: Settings, body: Callable[..., Any], takes: str, gives: str) -> Callable[..., Any]:
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
        done = Forward(value, None, field)
        found = _pull(settings, of_kernel, x.points, y, kernel, done, cotangent, taken)
        return chosen(which, found)

    rate = rate + linear(forward, transposed, (x, y, kernel, value, field, taken), moved)
    return (value, None), (rate, None)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_slope(settings, x, y, kernel):
    """L, its gradient in x, `Sums.field`, and the number of the attempt that gave them, as a float."""
    found, taken = attempt(settings, x.points, y, kernel, gradient=True)
    return *found[:3], taken.astype(x.points.dtype)


@_with_slope.defjvp
def _with_slope_jvp(settings, primals, tangents):
    def derived(x, y, kernel):
        value, slope = in_two_passes(settings, x, y, kernel)
        return value, sphere.project_tangent(x.points, slope)

    _, rates = jax.jvp(derived, primals, tangents)
    found = _with_slope(settings, *primals)
    return found, (*rates, *jax.tree.map(jnp.zeros_like, found[2:]))
