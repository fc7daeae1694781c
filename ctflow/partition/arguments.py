"""Checks of a sum's arguments, and the decisions that they allow: degrees, attempts, method."""

import math
from typing import Any

from jax.sharding import Mesh
from jaxtyping import Array

from ctflow._base.checks import is_concrete
from ctflow.clouds import check_cloud, check_weights
from ctflow.kernels import Kernel
from ctflow.partition.plan import (
    DEGREES,
    EVALUATIONS,
    Degrees,
    attempts_in,
    check_kernel,
    choose_degrees,
    choose_method,
    no_degrees,
    worthwhile_degrees,
)
from ctflow.partition.staged import Planned


def checked_arguments(
    x: Any, y: Any, kernel: Kernel, weights: Any, exclude_self: bool
) -> tuple[Array, Array, Any]:
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
    return x, y, None if weights is None else checked_weights(weights, m, x.dtype, exclude_self)


def checked_weights(weights: Any, n: int, dtype: Any, exclude_self: bool) -> Array:
    """Return weights [n] as a JAX array, or raise a ValueError that says what is wrong."""
    weights = check_weights("weights", weights, n, dtype)
    if exclude_self and is_concrete(weights) and bool((weights == 1).any()):
        raise ValueError("weights must be < 1 with exclude_self, got 1; give another point a weight > 0")
    return weights


def attempts_at(degrees: Degrees, dtype: Any) -> tuple[tuple[int, str], ...]:
    """(degree, dtype) of each spectral attempt: first in the points' dtype, then in float64."""
    return tuple(zip((degrees.narrow, degrees.wide), attempts_in(dtype), strict=False))


def plan_of(
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


def method_for(
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
