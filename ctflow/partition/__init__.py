"""All-pairs kernel sums with one entry point, `log_partition`.

All methods compute the same sum; they differ in memory and speed. `dense` builds the n × m matrix. `tiled`
computes it block by block, forwards and backwards, in O((n + m)·d + block_size²) memory. `spectral` sums in
harmonics on the circle and S² in O(n + m) time; if it cannot prove its error small enough, the sum is taken
exactly. `ring` is `tiled` over the devices of a mesh; with a mesh, `spectral` adds the devices' moments.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray
from ctflow._base.checks import check_count, is_concrete
from ctflow.clouds import as_dtype, check_cloud, check_weights
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition.dense import is_bounded
from ctflow.partition.exact import Settings
from ctflow.partition.plan import (
    BLOCK_SIZE,
    DEGREES,
    EVALUATIONS,
    TRACED_EVALUATIONS,
    Degrees,
    Explanation,
    attempts_in,
    check_kernel,
    check_memory,
    check_sums,
    choose_degrees,
    choose_method,
    explain,
    needed_bytes,
    no_degrees,
    tolerance,
    worthwhile_degrees,
)
from ctflow.partition.spectral import proves, spectral_sum
from ctflow.partition.staged import Planned, all_finite, planned
from ctflow.partition.sums import take
from ctflow.partition.tiled import Side

__all__ = [
    "Certificate",
    "Explanation",
    "Planned",
    "certify",
    "explain",
    "log_partition",
    "log_partitions",
    "planned",
    "value_and_gradient",
]


def log_partition(
    x: Float[AnyArray, "n d"],
    y: Float[AnyArray, "m d"],
    kernel: Kernel,
    *,
    weights: Float[AnyArray, " m"] | list[float] | None = None,
    exclude_self: bool = False,
    method: str = "auto",
    rtol: float | None = None,
    block_size: int = BLOCK_SIZE,
    mesh: Mesh | None = None,
) -> Float[Array, " n"]:
    """L_i = log Σ_j w_j κ(x_i, y_j), the log partition field of the cloud y seen from x.

    Differentiable in x, y, weights and the kernel's parameters, in every mode and to any order, in about the
    memory of the sum itself. The gradients in x and y are tangential, because L is a function on the sphere.
    A gradient in x alone is computed together with the value, in one pass. If y is the array x itself, the
    exact sum in tiles visits each pair once. Second derivatives of a spectral sum, and its derivatives in y,
    weights and kernel in forward mode, are those of the exact sum: O(n·m) in time. Over a mesh, second
    derivatives hold the points y of all devices on each.

    Args:
        x: points [n, d] on the sphere.
        y: points [m, d] on the same sphere.
        kernel: a kernel of `ct.kernels`, or a function of the cosine that returns log κ.
        weights: [m], >= 0 and summing to 1; 1/m by default.
        exclude_self: leave out j = i and renormalise the other weights (needs n = m >= 2).
        method: `dense`, `tiled`, `spectral` (d = 2 or 3), `ring` (needs a mesh), or `auto`: spectral for
            so many points that harmonics are worth their compilation, if the kernel is smooth enough for
            them; otherwise ring with a mesh, and without one dense or tiled, by the matrix's size. See
            `ct.partition.explain`.
        rtol: largest error of L that a spectral sum may have, by its own proof; by default 1e-5 in float32
            and 1e-9 in float64. Gradients may be off by 10·rtol: in x, per radian; in y (divided by w_j, per
            radian), in weights and in the log of a kernel parameter, for a cotangent g with Σ|g_i| = 1, plus
            a relative error rtol of each row's share. Without a proof the sum is repeated in float64, then
            exactly. Exact sums ignore rtol; they have the points' round-off, about eps·|log κ|.
        block_size: side of a tile; memory grows with its square.
        mesh: a `jax.sharding.Mesh` with one axis, over which x and y are split.

    Raises:
        ValueError: a point off the sphere, mismatched d, weights that are not probabilities, a method that
            is unknown or not available for these arguments, or a block size < 1.
        MemoryError: the method needs more memory than the device has.
    """
    options = {"method": method, "rtol": rtol, "block_size": block_size, "mesh": mesh}
    return _values(x, y, kernel, (None, weights), exclude_self, columns=False, **options)[0]


def log_partitions(
    x: Float[AnyArray, "n d"],
    y: Float[AnyArray, "m d"],
    kernel: Kernel,
    *,
    weights: tuple[Any, Any] = (None, None),
    exclude_self: bool = False,
    method: str = "auto",
    rtol: float | None = None,
    block_size: int = BLOCK_SIZE,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Both fields of two clouds: L_i = log Σ_j q_j κ(x_i, y_j) and K_j = log Σ_i p_i κ(x_i, y_j).

    They are those of `log_partition` for (x, y) and (y, x). Exact sums compute each pair's score once for
    both, and once again for the gradients; with `tiled` on a CPU they take between half and two thirds of the
    time (d = 512 and d = 3). Harmonics gain nothing, nor do matrices of up to 200 points if the range of
    log κ is unknown or large (`Planned`). Derivatives are as in `log_partition`.

    Args:
        x: points [n, d] on the sphere.
        y: points [m, d] on the same sphere.
        kernel: as in `log_partition`.
        weights: the weights p [n] of x and q [m] of y, each as in `log_partition`.
        exclude_self: leave out the pairs i = j in both fields, and renormalise the other weights.
        method: as in `log_partition`.
        rtol: as in `log_partition`.
        block_size: as in `log_partition`.
        mesh: as in `log_partition`.

    Raises:
        ValueError: as in `log_partition`.
        MemoryError: as in `log_partition`.
    """
    options = {"method": method, "rtol": rtol, "block_size": block_size, "mesh": mesh}
    at_x, at_y = _values(x, y, kernel, weights, exclude_self, columns=True, **options)
    assert at_y is not None
    return at_x, at_y


def _values(
    x: Any,
    y: Any,
    kernel: Any,
    weights: tuple[Any, Any],
    exclude_self: bool,
    *,
    columns: bool,
    method: str,
    rtol: float | None,
    block_size: int,
    mesh: Mesh | None,
) -> tuple[Array, Array | None]:
    """The fields at x and, with `columns`, at y, after all checks and decisions."""
    check_sums(method, rtol)
    check_count("block_size", block_size)
    kernel, itself = as_kernel(kernel), y is x and not columns
    p, q = weights
    x, y, q = _checked(x, y, kernel, q, exclude_self)
    (n, d), m = x.shape, y.shape[0]
    p = None if p is None else _checked_weights(p, n, x.dtype, exclude_self)
    is_planned = isinstance(kernel, Planned)
    only = kernel.only if is_planned else None
    bounded = kernel.bounded if is_planned else is_bounded(kernel, x.dtype)
    evaluations = EVALUATIONS if is_concrete(x, y, p, q) else TRACED_EVALUATIONS
    kernel, degrees, rtol, mesh = _hints(kernel, n, m, d, x.dtype, rtol, mesh, method, evaluations)
    method = _method(method, kernel, degrees, n, m, d, x.dtype, mesh)
    devices = 1 if mesh is None else mesh.size
    degree = degrees.wide if method == "spectral" and degrees is not None else 0
    sizes: dict[str, Any] = {"block_size": block_size, "degree": degree, "devices": devices}
    sizes |= {"columns": columns, "itself": itself, "bounded": bounded}
    check_memory(method, n, m, needed_bytes(method, n, m, d, x.dtype, **sizes))

    attempts = _attempts(degrees, x.dtype) if method == "spectral" and degrees is not None else ()
    settings = Settings(
        columns, exclude_self, block_size, mesh, attempts, tolerance(rtol, x.dtype), bounded=bounded
    )
    sides = Side(x, q if itself else p), None if itself else Side(y, q)
    arguments = *sides, as_dtype(kernel, x.dtype)
    exact = choose_method(n, m, d, x.dtype, spectral=False, mesh=mesh)

    def one_attempt(number: int) -> tuple[Array, Array | None]:
        if number >= len(attempts):
            return take(settings._replace(degrees=()), exact if attempts else method, *arguments)
        here = settings._replace(degrees=attempts[number : number + 1], fallbacks=False)
        return take(here, method, *arguments)

    if only is not None:
        return one_attempt(only)
    if attempts and is_concrete(arguments):  # an attempt is compiled only if the one before fails
        found = map(one_attempt, range(len(attempts)))
        return next(filter(all_finite, found), None) or one_attempt(len(attempts))
    return take(settings, method, *arguments)


def value_and_gradient(
    x: Float[AnyArray, "n d"], y: Float[AnyArray, "m d"], kernel: Kernel, **options: Any
) -> tuple[Float[Array, " n"], Float[Array, "n d"]]:
    """L of `log_partition` [n], and the tangential gradient of L_i in x_i [n, d], in one pass.

    Args:
        x: points [n, d].
        y: points [m, d].
        kernel: a kernel of `ct.kernels`.
        options: the keyword arguments of `log_partition`.
    """
    value, pull = jax.vjp(lambda x: log_partition(x, y, kernel, **options), check_cloud("x", x))
    return value, pull(jnp.ones_like(value))[0]


class Certificate(NamedTuple):
    """Error bounds of a spectral sum on a cloud: of its first attempt within the tolerance, or of its last.

    Attributes:
        method: `spectral`, or the exact `tiled` if no attempt is within the tolerance.
        dtype: dtype of the attempt.
        degree: degree of its harmonics.
        value: bound on the error of L before rounding to the points' dtype.
        gradient: bound on the error of the gradient of L in x, in 1/radian.
    """

    method: str
    dtype: str
    degree: int
    value: float
    gradient: float


def certify(
    x: Float[AnyArray, "n d"],
    y: Float[AnyArray, "m d"],
    kernel: Kernel,
    *,
    weights: Float[AnyArray, " m"] | list[float] | None = None,
    exclude_self: bool = False,
    rtol: float | None = None,
) -> Certificate:
    """Bound the error of the spectral sum on these clouds, and say whether it would be used.

    The bounds assume that the kernel has no feature between the angles at which it is sampled, see
    `ctflow.partition.spectral`. The gradients in y, weights and kernel are checked in the backward pass.

    The arguments are those of `log_partition`; none may be traced.

    Raises:
        ValueError: there is no spectral sum for this kernel and d.
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
    """Return the clouds and weights as JAX arrays, or raise a ValueError that says what is wrong."""
    check_kernel(kernel)
    x, y = check_cloud("x", x), check_cloud("y", y)
    (n, d), m = x.shape, y.shape[0]
    if y.shape[1] != d:
        raise ValueError(f"x and y must have the same d, got x {x.shape} and y {y.shape}")
    if y.dtype != x.dtype:
        raise ValueError(f"x and y must have the same dtype, got {x.dtype} and {y.dtype}; cast one")
    if exclude_self and (n != m or n < 2):
        raise ValueError(f"exclude_self needs x and y to be the same n >= 2 points, got n = {n}, m = {m}")
    return x, y, None if weights is None else _checked_weights(weights, m, x.dtype, exclude_self)


def _checked_weights(weights: Any, n: int, dtype: Any, exclude_self: bool) -> Array:
    """Return weights [n] as a JAX array, or raise a ValueError that says what is wrong."""
    weights = check_weights("weights", weights, n, dtype)
    if exclude_self and is_concrete(weights) and bool((weights == 1).any()):
        raise ValueError("weights must be < 1 with exclude_self, got 1; give another point a weight > 0")
    return weights


def _attempts(degrees: Degrees, dtype: Any) -> tuple[tuple[int, str], ...]:
    """(degree, dtype) of each spectral attempt: first in the points' dtype, then in float64."""
    return tuple(zip((degrees.narrow, degrees.wide), attempts_in(dtype), strict=False))


def _hints(
    kernel: Kernel,
    n: int,
    m: int,
    d: int,
    dtype: Any,
    rtol: float | None,
    mesh: Mesh | None,
    method: str,
    evaluations: int = EVALUATIONS,
) -> tuple[Kernel, Degrees | None, float | None, Mesh | None]:
    """The unwrapped kernel, its degrees (None if unused), rtol and mesh; a `Planned` kernel gives them."""
    if isinstance(kernel, Planned):
        degrees = None if kernel.degrees is None or d not in DEGREES else Degrees(*kernel.degrees, math.nan)
        rtol = kernel.rtol if rtol is None else rtol
        return kernel.kernel, degrees, rtol, kernel.mesh if mesh is None else mesh
    degrees = None
    if method == "spectral":
        degrees = choose_degrees(kernel, n, m, d, dtype, rtol)
    elif method == "auto":
        degrees = worthwhile_degrees(kernel, n, m, d, dtype, rtol, mesh is not None, evaluations)
    return kernel, degrees, rtol, mesh


def _method(
    method: str, kernel: Kernel, degrees: Any, n: int, m: int, d: int, dtype: Any, mesh: Mesh | None
) -> str:
    """The method to use, or a ValueError that says why the requested one is not available."""
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
