"""All-pairs kernel sums, behind one door: `log_partition`.

Every method returns the same numbers; they differ in memory and speed. `dense` builds the n × m matrix;
`tiled` streams blocks of it, forwards and backwards, in O((n + m)·d + block_size²) memory; `spectral` sums
in harmonics on the circle and S², in O(n + m) time, within a proven error or else exactly; `ring` is
`tiled` over the devices of a mesh, and with a mesh `spectral` adds up the devices' moments.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ctflow import sphere
from ctflow._base.checks import check_choice, check_count, check_positive, is_concrete
from ctflow.clouds import as_dtype, check_cloud, check_weights
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition.dense import dense_log_partition
from ctflow.partition.differentiable import Settings, log_sum
from ctflow.partition.plan import (
    BLOCK_SIZE,
    DEGREES,
    METHODS,
    SPECTRAL_POINTS,
    Degrees,
    Explanation,
    Planned,
    check_kernel,
    check_memory,
    choose_degrees,
    choose_method,
    explain,
    memory,
    no_degrees,
    planned,
    tolerance,
)
from ctflow.partition.spectral import proves, spectral_sum

__all__ = [
    "Certificate",
    "Explanation",
    "Planned",
    "certify",
    "explain",
    "log_partition",
    "planned",
    "value_and_gradient",
]


def log_partition(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    kernel: Kernel,
    *,
    weights: Float[Array, " m"] | None = None,
    exclude_self: bool = False,
    method: str = "auto",
    rtol: float | None = None,
    block_size: int = BLOCK_SIZE,
    mesh: Mesh | None = None,
) -> Float[Array, " n"]:
    """L_i = log Σ_j w_j κ(x_i, y_j), the log partition field of the cloud y seen from x.

    Differentiable (reverse mode, once; `dense` any way) in x, y, weights and the kernel's parameters. The
    gradients in x and y are tangential, as L is a function on the sphere. One that only x asks for comes
    with the value, in one pass.

    Args:
        x: points [n, d] on the sphere.
        y: points [m, d] on the same sphere.
        kernel: a kernel of `ct.kernels`, or a function of the cosine that returns log κ.
        weights: [m], >= 0 and summing to 1; 1/m by default.
        exclude_self: leave j = i out and renormalise the other weights (needs n = m >= 2).
        method: `dense`, `tiled`, `spectral` (d = 2 or 3), `ring` (with a mesh), or `auto`: spectral from
            500 points on where the kernel is smooth enough for harmonics, else dense where the matrix is
            small, tiled elsewhere. See `ct.partition.explain`.
        rtol: error of L that a spectral sum must prove of itself; 1e-5 in float32 and 1e-9 in float64 by
            default. Its gradients must prove 10·rtol: in x, per radian; in y, weights and the logarithm of a
            kernel's parameter, for a cotangent g with Σ|g_i| = 1 (in y, over w_j and per radian), beside a
            relative error rtol of every row's share. If it cannot, the sum is taken again in float64, then
            exactly. Exact sums prove nothing: they have the rounding of the points' dtype, about eps·|log κ|.
        block_size: side of a tile; memory grows with its square.
        mesh: a `jax.sharding.Mesh` of one axis, over which x and y are cut.

    Raises:
        ValueError: a point off the sphere, mismatched d, weights that are no probabilities, an unknown
            method or one that is not for these arguments, a block size < 1.
        MemoryError: the method needs more memory than there is.
    """
    check_choice("method", method, METHODS)
    check_count("block_size", block_size)
    if rtol is not None:
        check_positive("rtol", rtol)
    kernel = as_kernel(kernel)
    x, y, weights = _checked(x, y, kernel, weights, exclude_self)
    (n, d), m = x.shape, y.shape[0]
    kernel, degrees, rtol, mesh = _hints(kernel, n, m, d, x.dtype, rtol, mesh, method)
    method = _method(method, kernel, degrees, n, m, d, x.dtype, mesh)
    devices = 1 if mesh is None else mesh.size
    degree = degrees.wide if method == "spectral" and degrees is not None else 0
    check_memory(
        method, n, m, memory(method, n, m, d, x.dtype, block_size=block_size, degree=degree, devices=devices)
    )

    attempts = _attempts(degrees, x.dtype) if method == "spectral" and degrees is not None else ()
    settings = Settings(exclude_self, block_size, mesh, attempts, tolerance(rtol, x.dtype))
    return _sum(settings, method == "dense", x, y, weights, as_dtype(kernel, x.dtype))


def value_and_gradient(
    x: Float[Array, "n d"], y: Float[Array, "m d"], kernel: Kernel, **options: Any
) -> tuple[Float[Array, " n"], Float[Array, "n d"]]:
    """L of `log_partition` [n] and its tangential gradient in each point of x [n, d], in one pass.

    Args:
        x: points [n, d].
        y: points [m, d].
        kernel: a kernel of `ct.kernels`.
        options: those of `log_partition`.
    """
    value, pull = jax.vjp(lambda x: log_partition(x, y, kernel, **options), check_cloud("x", x))
    return value, pull(jnp.ones_like(value))[0]


class Certificate(NamedTuple):
    """What a spectral sum proved of itself on a cloud, in the attempt that was taken.

    Attributes:
        method: `spectral`, or the exact `tiled` if no attempt could prove enough.
        dtype: of the attempt.
        degree: of its harmonics.
        value: bound on the error of L before rounding to the points' dtype; if all attempts failed, that
            of the last one.
        gradient: bound on the error of its gradient in x, in 1/radian, likewise.
    """

    method: str
    dtype: str
    degree: int
    value: float
    gradient: float


def certify(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    kernel: Kernel,
    *,
    weights: Float[Array, " m"] | None = None,
    exclude_self: bool = False,
    rtol: float | None = None,
) -> Certificate:
    """How exact the spectral sum is on these clouds, and whether it would be taken.

    The bounds assume that the kernel has no feature between the angles at which it is sampled, see
    `ctflow.partition.spectral`. The gradients in y, weights and kernel are checked in the backward pass.

    Args are those of `log_partition`, all of them numbers.

    Raises:
        ValueError: the kernel has no spectral sum here.
    """
    kernel = as_kernel(kernel)
    x, y, weights = _checked(x, y, kernel, weights, exclude_self)
    (n, d), m = x.shape, y.shape[0]
    kernel, degrees, rtol, _ = _hints(kernel, n, m, d, x.dtype, rtol, None, "spectral")
    if degrees is None:
        raise ValueError(no_degrees(kernel, d))
    w = jnp.full(m, 1 / m, x.dtype) if weights is None else weights
    certificate = Certificate("tiled", x.dtype.name, 0, math.inf, math.inf)
    for degree, dtype in _attempts(degrees, x.dtype):
        options = {"degree": degree, "dtype": dtype, "gradient": True, "exclude_self": exclude_self}
        bound = _bound(x, y, w, as_dtype(kernel, x.dtype), **options)
        value, gradient = float(bound.value), float(bound.gradient)
        proven = bool(proves(bound, tolerance(rtol, x.dtype)))
        certificate = Certificate("spectral" if proven else "tiled", dtype, degree, value, gradient)
        if proven:
            break
    return certificate


@partial(jax.jit, static_argnames=("degree", "dtype", "gradient", "exclude_self"))
def _bound(x, y, weights, kernel, **options):
    return spectral_sum(x, y, weights, kernel, axis=None, **options).bound


def _checked(x: Any, y: Any, kernel: Kernel, weights: Any, exclude_self: bool) -> tuple[Array, Array, Any]:
    """The clouds and weights as JAX arrays, or a ValueError that says what is wrong with them."""
    check_kernel(kernel)
    x, y = check_cloud("x", x), check_cloud("y", y)
    (n, d), m = x.shape, y.shape[0]
    if y.shape[1] != d:
        raise ValueError(f"x and y must have the same d, got x {x.shape} and y {y.shape}")
    if y.dtype != x.dtype:
        raise ValueError(f"x and y must have the same dtype, got {x.dtype} and {y.dtype}; cast one")
    if exclude_self and (n != m or n < 2):
        raise ValueError(f"exclude_self needs x and y to be the same n >= 2 points, got n = {n}, m = {m}")
    if weights is not None:
        weights = check_weights("weights", weights, m, x.dtype)
        if exclude_self and is_concrete(weights) and bool((weights == 1).any()):
            raise ValueError("weights must be < 1 with exclude_self: a point that has all is left alone")
    return x, y, weights


def _attempts(degrees: Degrees, dtype: Any) -> tuple[tuple[int, str], ...]:
    """(degree, dtype) of the spectral attempts: in the points' dtype, then in float64."""
    own = (degrees.narrow, jnp.dtype(dtype).name)
    return (own,) if dtype == jnp.float64 else (own, (degrees.wide, "float64"))


def _hints(
    kernel: Kernel, n: int, m: int, d: int, dtype: Any, rtol: float | None, mesh: Mesh | None, method: str
) -> tuple[Kernel, Degrees | None, float | None, Mesh | None]:
    """The kernel itself, its degrees where they matter, rtol and mesh, from a plan where there is one."""
    if isinstance(kernel, Planned):
        degrees = None if kernel.degrees is None or d not in DEGREES else Degrees(*kernel.degrees, math.nan)
        rtol = kernel.rtol if rtol is None else rtol
        return kernel.kernel, degrees, rtol, kernel.mesh if mesh is None else mesh
    asked = method == "spectral" or (method == "auto" and min(n, m) >= SPECTRAL_POINTS)
    return kernel, choose_degrees(kernel, n, m, d, dtype, rtol) if asked else None, rtol, mesh


def _method(
    method: str, kernel: Kernel, degrees: Any, n: int, m: int, d: int, dtype: Any, mesh: Mesh | None
) -> str:
    """The method to take, or a ValueError that says why this one cannot be."""
    if mesh is not None and len(mesh.axis_names) != 1:
        raise ValueError(f"mesh must have one axis, got {mesh.axis_names}")
    if method == "auto":
        return choose_method(n, m, d, dtype, spectral=degrees is not None, mesh=mesh)
    if method == "ring" and mesh is None:
        raise ValueError("method='ring' needs mesh=, a jax.sharding.Mesh of one axis")
    if method == "dense" and mesh is not None:
        raise ValueError(
            "method='dense' holds the matrix on one device; with a mesh use 'ring' or 'spectral'"
        )
    if method == "spectral" and degrees is None:
        raise ValueError(no_degrees(kernel, d))
    return method


@jax.custom_jvp
def _tangential(z: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The points, whose tangents and gradients are projected to the sphere."""
    return z


@_tangential.defjvp
def _tangential_jvp(primals, tangents):
    return primals[0], sphere.project_tangent(primals[0], tangents[0])


@partial(jax.jit, static_argnums=(0, 1))
def _sum(settings, dense, x, y, weights, kernel):
    """`log_partition` once all is checked and decided, as one program."""
    x, y, m = _tangential(x), _tangential(y), y.shape[0]
    if dense:
        total = dense_log_partition(x, y, weights, kernel, exclude_self=settings.exclude_self)
    else:
        w = jnp.full(m, 1 / m, y.dtype) if weights is None else weights
        total = _streamed(settings, x, y, w, kernel)
    if settings.exclude_self:
        total = total - (math.log1p(-1 / m) if weights is None else jnp.log1p(-weights))
    return total


def _streamed(settings, x, y, weights, kernel):
    """`log_sum` of clouds of any size: a mesh needs its devices' shares to be equal."""
    if settings.mesh is None:
        return log_sum(settings, x, y, weights, kernel)
    n, short = x.shape[0], [-z.shape[0] % settings.mesh.size for z in (x, y)]
    x, y = (jnp.pad(z, ((0, s), (0, 0)), mode="edge") for z, s in zip((x, y), short, strict=True))
    return log_sum(settings, x, y, jnp.pad(weights, (0, short[1])), kernel)[:n]
