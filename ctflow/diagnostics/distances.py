"""Distances between two clouds: the centroid gap and the energy distance."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow._base.checks import check_choice
from ctflow._base.products import cosines
from ctflow.clouds import Cloud, Pair, check_clouds, points, weights
from ctflow.sphere import safe_norm

_BLOCK = 512


def centroid_gap(x: Cloud, y: Cloud) -> Float[Array, ""]:
    """‖x̄ - ȳ‖, the distance between the clouds' means, in [0, 2].

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> y = jnp.array([[-1.0, 0.0], [0.0, 1.0]])
        >>> float(ct.diagnostics.centroid_gap(x, y))
        1.0
    """
    x, y = check_clouds("clouds", Pair(x, y))
    means = [jnp.matmul(weights(c), points(c), precision="highest") for c in (x, y)]
    return safe_norm(means[0] - means[1])[0]


def energy_distance(x: Cloud, y: Cloud, *, estimator: str = "u") -> Float[Array, ""]:
    """2E‖x-y‖ - E‖x-x'‖ - E‖y-y'‖ with chordal distances; it is 0 only for equal laws.

    A distance is √(2 - 2⟨x, y⟩). Where points coincide its rounding error is about √eps, 3e-4 in float32.

    Args:
        x: a cloud, [n, d].
        y: a cloud, [m, d].
        estimator: `u` estimates without bias the distance between the laws of two independent samples, and
            can be negative; `v` is the distance between the clouds as measures, >= 0. A simulated cloud is
            itself the measure, so use `v`. If the samples are paired point by point, `u` is too low.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> keys = jax.random.split(jax.random.key(0))
        >>> x, y = (ct.sphere.uniform(key, n=200, d=3) for key in keys)
        >>> abs(float(ct.diagnostics.energy_distance(x, y))) < 0.02  # of one law
        True
        >>> y = ct.sphere.normalize(y + jax.numpy.array([0.0, 0.0, 1.0]))
        >>> round(float(ct.diagnostics.energy_distance(x, y)), 1)
        0.4
    """
    check_choice("estimator", estimator, ("u", "v"))
    x, y = check_clouds("clouds", Pair(x, y))
    if estimator == "u" and min(points(x).shape[0], points(y).shape[0]) < 2:
        raise ValueError('estimator "u" needs >= 2 points in each cloud; use estimator="v"')
    return 2 * _mean_distance(x, y) - _self_distance(x, estimator) - _self_distance(y, estimator)


def _self_distance(cloud: Any, estimator: str) -> Float[Array, ""]:
    """E‖x-x'‖; for `u` the mean is over distinct points."""
    value = _mean_distance(cloud, cloud)
    return value / (1 - jnp.sum(weights(cloud) ** 2)) if estimator == "u" else value


@jax.jit
def _mean_distance(x: Any, y: Any) -> Float[Array, ""]:
    """Σ_ij p_i q_j ‖x_i - y_j‖, computed in blocks of rows."""
    (zx, zy), (p, q) = (points(x), points(y)), (weights(x), weights(y))

    @jax.checkpoint
    def row(block):
        z, w = block
        square = jnp.maximum(2 - 2 * cosines(z, zy), 0)
        # The gradient of the square root at 0 is defined as 0.
        distance = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        return w @ (distance @ q)

    size = min(_BLOCK, zx.shape[0])
    pad = -zx.shape[0] % size
    blocks = (
        jnp.pad(zx, ((0, pad), (0, 0))).reshape(-1, size, zx.shape[1]),
        jnp.pad(p, (0, pad)).reshape(-1, size),
    )
    return jnp.sum(jax.lax.map(row, blocks))
