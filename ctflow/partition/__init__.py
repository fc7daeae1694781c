"""All-pairs kernel sums, behind one door: `log_partition`.

Every method returns the same numbers; they differ in memory and speed. `dense` builds the n × m matrix,
`tiled` streams blocks of it, forwards and backwards, in O((n + m)·d + block_size²) memory.
"""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.checks import check_choice, check_count, check_numbers, is_concrete
from ctflow.clouds import as_dtype, check_cloud, check_weights
from ctflow.kernels import Kernel
from ctflow.partition.dense import dense_log_partition
from ctflow.partition.tiled import tiled_log_partition

METHODS = ("auto", "dense", "tiled")
DENSE_BYTES = 2**30
BLOCK_SIZE = 512


def log_partition(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    kernel: Kernel,
    *,
    weights: Float[Array, " m"] | None = None,
    exclude_self: bool = False,
    method: str = "auto",
    block_size: int = BLOCK_SIZE,
) -> Float[Array, " n"]:
    """L_i = log Σ_j w_j κ(x_i, y_j), the log partition field of the cloud y seen from x.

    Differentiable (reverse mode) in x, y, weights and the kernel's parameters.

    Args:
        x: points [n, d] on the sphere.
        y: points [m, d] on the same sphere.
        kernel: a kernel of `ct.kernels`.
        weights: [m], >= 0 and summing to 1; 1/m by default.
        exclude_self: leave j = i out and renormalise the other weights (needs n = m >= 2).
        method: `dense`, `tiled`, or `auto`: dense where the matrix is small, tiled elsewhere.
        block_size: side of a tile; memory grows with its square.

    Raises:
        ValueError: a point off the sphere, mismatched d, weights that are no probabilities, an unknown
            method or a block size < 1.
    """
    check_choice("method", method, METHODS)
    check_count("block_size", block_size)
    check_numbers(kernel)
    if not isinstance(kernel, Kernel):
        raise ValueError(f"kernel must be a kernel of ct.kernels, got {type(kernel).__name__}")
    x, y = check_cloud("x", x), check_cloud("y", y)
    (n, d), m = x.shape, y.shape[0]
    if y.shape[1] != d:
        raise ValueError(f"x and y must have the same d, got x {x.shape} and y {y.shape}")
    if y.dtype != x.dtype:
        raise ValueError(f"x and y must have the same dtype, got {x.dtype} and {y.dtype}; cast one")
    kernel = as_dtype(kernel, x.dtype)
    if exclude_self and (n != m or n < 2):
        raise ValueError(f"exclude_self needs x and y to be the same n >= 2 points, got n = {n}, m = {m}")
    if weights is not None:
        weights = check_weights("weights", weights, m, x.dtype)
        if exclude_self and is_concrete(weights) and bool((weights == 1).any()):
            raise ValueError("weights must be < 1 with exclude_self: a point that has all is left alone")
    if method == "auto":
        method = choose_method(n, m, d, x.dtype)
    if method == "dense":
        total = dense_log_partition(x, y, weights, kernel, exclude_self=exclude_self)
    else:
        w = jnp.full(m, 1 / m, y.dtype) if weights is None else weights
        total = tiled_log_partition(x, y, w, kernel, exclude_self, block_size)
    if exclude_self:
        total = total - (math.log1p(-1 / m) if weights is None else jnp.log1p(-weights))
    return total


def choose_method(n: int, m: int, d: int, dtype: Any) -> str:
    """The method `auto` takes: dense for a matrix within 1 GiB if small or high-dimensional, else tiled."""
    fits = n * m * jnp.dtype(dtype).itemsize <= DENSE_BYTES
    return "dense" if fits and (d >= 64 or max(n, m) <= 2000) else "tiled"
