"""Alignment of pairs, spread of a cloud, and the kernel distance (MMD) between two clouds."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow._base.annotations import Real
from ctflow._base.checks import check_choice, check_positive
from ctflow.clouds import Cloud, check_cloud, check_clouds, points, weights
from ctflow.kernels import Exponential
from ctflow.partition import log_partition


def alignment(x: Any, y: Any) -> Float[Array, ""]:
    """E‖x_i - y_i‖² over rows paired one to one, in [0, 4]: 2 - 2·(mean paired cosine) (arXiv 2005.10242).

    Args:
        x: unit rows, [n, d].
        y: unit rows, [n, d].
    """
    x, y = check_cloud("x", x), check_cloud("y", y)
    if x.shape != y.shape:
        raise ValueError(f"x and y must be paired row by row, got {x.shape} and {y.shape}")
    return jnp.mean(jnp.sum((x - y) ** 2, axis=1))


def uniformity(x: Cloud, *, exponent: Real = 2.0, estimator: str = "u") -> Float[Array, ""]:
    """Log E e^{-t‖x - x'‖²}, in [-4t, 0]; lower is more uniform (arXiv 2005.10242).

    Args:
        x: a cloud, [n, d].
        exponent: t > 0.
        estimator: `u`, the mean over distinct points, as in the paper; `v`, the mean over all pairs.
    """
    check_choice("estimator", estimator, ("u", "v"))
    check_positive("exponent", exponent)
    (x,) = check_clouds("clouds", (x,))
    return _log_mean_kernel(x, x, exponent, estimator)


def mmd_squared(x: Cloud, y: Cloud, *, bandwidth: Real, estimator: str = "u") -> Float[Array, ""]:
    """MMD² with the kernel e^{-‖x - y‖²/(2b²)}: E k(x, x') + E k(y, y') - 2E k(x, y) (Gretton et al. 2012).

    Args:
        x: a cloud, [n, d].
        y: a cloud, [m, d].
        bandwidth: b > 0, in chordal distance.
        estimator: `u`, unbiased (it can be negative); `v`, the value for the clouds as measures (>= 0).
    """
    check_choice("estimator", estimator, ("u", "v"))
    check_positive("bandwidth", bandwidth)
    x, y = check_clouds("clouds", (x, y))
    exponent = 1 / (2 * bandwidth**2)
    within = [jnp.exp(_log_mean_kernel(z, z, exponent, estimator)) for z in (x, y)]
    return within[0] + within[1] - 2 * jnp.exp(_log_mean_kernel(x, y, exponent, "v"))


def mean_cosine(x: Cloud) -> Float[Array, ""]:
    """Mean cosine of two distinct points, in [-1/(n - 1), 1]; large if the cloud fills a narrow cone.

    Args:
        x: a cloud, [n, d], n >= 2.
    """
    (x,) = check_clouds("clouds", (x,))
    p = weights(x)
    mean = jnp.matmul(p, points(x), precision="highest")
    return (mean @ mean - _coincidence(x)) / (1 - _coincidence(x))


def effective_rank(x: Cloud) -> Float[Array, ""]:
    """Exp of the entropy of the singular values of the centred cloud, in [1, d] (Roy and Vetterli 2007).

    It is NaN for a single point. For equal points rounding decides: NaN, or a value that means nothing.
    """
    (x,) = check_clouds("clouds", (x,))
    p, z = weights(x), points(x)
    centred = jnp.sqrt(p)[:, None] * (z - jnp.matmul(p, z, precision="highest")[None, :])
    values = jnp.linalg.svd(centred, compute_uv=False)
    return jnp.exp(jnp.sum(jax.scipy.special.entr(values / jnp.sum(values))))


def _coincidence(cloud: Any) -> Float[Array, ""]:
    """Probability Σw² that two independent draws are the same point."""
    if points(cloud).shape[0] < 2:
        raise ValueError(f"a cloud needs >= 2 points for distinct pairs, got {points(cloud).shape[0]}")
    return jnp.sum(weights(cloud) ** 2)


def _log_mean_kernel(x: Any, y: Any, exponent: Real, estimator: str) -> Float[Array, ""]:
    """Log Σ_ij p_i q_j e^{-t‖x_i - y_j‖²}; for `u`, over distinct points of one cloud."""
    # ‖x - y‖² = 2 - 2cos on the sphere: e^{-2t}·e^{2t·cos}.
    kernel, p = Exponential(1 / (2 * exponent)), weights(x)
    if estimator == "v":
        rows = log_partition(points(x), points(y), kernel, weights=weights(y))
        return jax.nn.logsumexp(rows, b=p) - 2 * exponent
    # Without the term of point i itself, its row has weights p_j/(1 - p_i).
    share = p * (1 - p) / (1 - _coincidence(x))
    rows = log_partition(points(x), points(x), kernel, weights=p, exclude_self=True)
    return jax.nn.logsumexp(rows, b=share) - 2 * exponent
