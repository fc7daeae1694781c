"""The error bound of a spectral sum on given clouds."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ctflow._base.annotations import AnyArray
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition.arguments import attempts_at, checked_arguments, plan_of
from ctflow.partition.bounds import proves
from ctflow.partition.plan import no_degrees, tolerance
from ctflow.partition.spectral import spectral_sum


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
    `ctflow.partition.bounds`. The gradients in y, weights and kernel are checked in the backward pass.

    The arguments are those of `log_partition`; none may be traced.

    Raises:
        ValueError: there is no spectral sum for this kernel and d.
    """
    kernel = as_kernel(kernel)
    x, y, weights = checked_arguments(x, y, kernel, weights, exclude_self)
    (n, d), m = x.shape, y.shape[0]
    kernel, degrees, rtol, _ = plan_of(kernel, n, m, d, x.dtype, rtol, None, "spectral")
    if degrees is None:
        raise ValueError(no_degrees(kernel, d))
    w = jnp.full(m, 1 / m, x.dtype) if weights is None else weights
    certificate = Certificate("tiled", x.dtype.name, 0, math.inf, math.inf)
    for degree, dtype in attempts_at(degrees, x.dtype):
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
