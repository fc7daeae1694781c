"""All-pairs kernel sums with one entry point, `log_partition`.

All methods compute the same sum; they differ in memory and speed. `dense` builds the n × m matrix. `tiled`
computes it block by block, forwards and backwards, in O((n + m)·d + block_size²) memory. `spectral` sums in
harmonics on the circle and S² in O(n + m) time; if it cannot prove its error small enough, the sum is taken
exactly. `ring` is `tiled` over the devices of a mesh; with a mesh, `spectral` adds the devices' moments.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray
from ctflow._base.checks import check_count, is_concrete
from ctflow.clouds import as_dtype, check_cloud
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition.arguments import attempts_at, checked_arguments, checked_weights, method_for, plan_of
from ctflow.partition.certificate import Certificate, certify
from ctflow.partition.exact import Settings
from ctflow.partition.plan import (
    BLOCK_SIZE,
    EVALUATIONS,
    TRACED_EVALUATIONS,
    Explanation,
    check_memory,
    check_sums,
    choose_method,
    explain,
    is_curved,
    needed_bytes,
    tolerance,
)
from ctflow.partition.scaling import is_bounded
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
    "mean_log_partition",
    "mean_log_partitions",
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

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> x = jnp.array([[1.0, 0.0]])
        >>> y = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
        >>> field = ct.log_partition(x, y, ct.kernels.Exponential(1.0))
        >>> field.shape, round(float(field[0]), 3)  # log((e + 1/e)/2)
        ((1,), 0.434)
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


def mean_log_partition(
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
) -> Float[Array, ""]:
    """Σ_i p_i L_i, the mean over the cloud x of the log partition field L of the cloud y.

    The number is that of `log_partition`, averaged in float64 if it was summed in harmonics. There, value and
    gradients of the mean come from one pass and are certified together, in forward mode too; two means
    (`mean_log_partitions`) of clouds of one size come from a program of half the size.

    Args:
        x: points [n, d] on the sphere.
        y: points [m, d] on the same sphere.
        kernel: as in `log_partition`.
        weights: the weights p [n] of x in the mean and q [m] of y in the sum, each as in `log_partition`.
        exclude_self: as in `log_partition`.
        method: as in `log_partition`.
        rtol: as in `log_partition`.
        block_size: as in `log_partition`.
        mesh: as in `log_partition`.

    Raises:
        ValueError: as in `log_partition`.
        MemoryError: as in `log_partition`.
    """
    options = {"method": method, "rtol": rtol, "block_size": block_size, "mesh": mesh}
    return _values(x, y, kernel, weights, exclude_self, columns=False, means=True, **options)[0]


def mean_log_partitions(
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
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Σ_i p_i L_i and Σ_j q_j K_j, the means of both fields of `log_partitions`.

    Args:
        x: points [n, d] on the sphere.
        y: points [m, d] on the same sphere.
        kernel: as in `log_partition`.
        weights: the weights p [n] of x and q [m] of y, each as in `log_partition`.
        exclude_self: as in `log_partitions`.
        method: as in `log_partition`.
        rtol: as in `log_partition`.
        block_size: as in `log_partition`.
        mesh: as in `log_partition`.

    Raises:
        ValueError: as in `log_partition`.
        MemoryError: as in `log_partition`.
    """
    options = {"method": method, "rtol": rtol, "block_size": block_size, "mesh": mesh}
    at_x, at_y = _values(x, y, kernel, weights, exclude_self, columns=True, means=True, **options)
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
    means: bool = False,
    method: str,
    rtol: float | None,
    block_size: int,
    mesh: Mesh | None,
) -> tuple[Array, Array | None]:
    """The fields at x and, with `columns`, at y, or their means, after all checks and decisions."""
    check_sums(method, rtol)
    check_count("block_size", block_size)
    p, q = weights
    kernel, itself = as_kernel(kernel), y is x and not columns and (p is q or not means)
    x, y, q = checked_arguments(x, y, kernel, q, exclude_self)
    (n, d), m = x.shape, y.shape[0]
    p = None if p is None else checked_weights(p, n, x.dtype, exclude_self)
    plan = kernel if isinstance(kernel, Planned) else None
    evaluations = EVALUATIONS if is_concrete(x, y, p, q) else TRACED_EVALUATIONS
    kernel, degrees, rtol, mesh = plan_of(kernel, n, m, d, x.dtype, rtol, mesh, method, evaluations)
    method = method_for(method, kernel, degrees, n, m, d, x.dtype, mesh)
    devices = 1 if mesh is None else mesh.size
    degree = degrees.wide if method == "spectral" and degrees is not None else 0
    sizes: dict[str, Any] = {"block_size": block_size, "degree": degree, "devices": devices}
    sizes |= {"columns": columns, "itself": itself}
    bounded = is_bounded(kernel, x.dtype) if plan is None else plan.bounded
    if exclude_self and not (p is None and q is None):  # the weights of the others may sum to very little
        bounded = False
    sizes |= {"bounded": bounded, "curved": method == "dense" and is_curved(kernel, x.dtype)}
    check_memory(method, n, m, needed_bytes(method, n, m, d, x.dtype, **sizes))

    attempts = attempts_at(degrees, x.dtype) if method == "spectral" and degrees is not None else ()
    rtol = tolerance(rtol, x.dtype)
    settings = Settings(columns, exclude_self, block_size, mesh, attempts, rtol, means=means, bounded=bounded)
    sides = Side(x, q if itself else p), None if itself else Side(y, q)
    arguments = *sides, as_dtype(kernel, x.dtype)
    exact = choose_method(n, m, d, x.dtype, spectral=False, mesh=mesh)

    def one_attempt(number: int) -> tuple[Array, Array | None]:
        if number >= len(attempts):
            return take(settings._replace(degrees=()), exact if attempts else method, *arguments)
        here = settings._replace(degrees=attempts[number : number + 1], fallbacks=False)
        return take(here, method, *arguments)

    if plan is not None and plan.only is not None:
        return one_attempt(plan.only)
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
