"""Descent of an energy to a state at rest, faster than a flow gets there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from ctflow._base.blas import one_blas_thread
from ctflow.clouds import points, with_points


@jax.jit
def _value_and_slope(energy: Any, clouds: Any) -> tuple[Any, Any]:
    """The energy and its gradient in points that are scaled to the sphere."""

    def value(z: Any) -> Any:
        onto = jax.tree.map(lambda p: p / jnp.linalg.norm(p, axis=1, keepdims=True), z)
        return energy(with_points(clouds, onto))

    return jax.value_and_grad(value)(points(clouds))


def descend(energy: Any, clouds: Any, tolerance: float, max_iterations: int) -> tuple[float, Any]:
    """The energy and the clouds where `scipy.optimize`'s L-BFGS ends, on points scaled to the sphere.

    Args:
        energy: with numbers in float64.
        clouds: where it starts, in float64; weights stay as they are.
        tolerance: it ends where no coordinate has a slope above this times the steepest at random points.
        max_iterations: it ends after so many at the latest.
    """
    start, unravel = ravel_pytree(points(clouds))

    def on_flat(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _value_and_slope(energy, with_points(clouds, unravel(jnp.asarray(flat))))
        return float(value), np.asarray(ravel_pytree(slope)[0])

    # Relative to the start's own slope, a start near the end would never do. Random points of many dimensions
    # are nearly orthogonal and hardly moved, so three are taken.
    rng = np.random.default_rng(0)
    elsewhere = _on_sphere(
        jax.tree.map(lambda z: rng.standard_normal(z.shape) * (np.arange(z.shape[1]) < 3), points(clouds))
    )
    slopes = jax.tree.leaves(unravel(jnp.asarray(on_flat(np.asarray(ravel_pytree(elsewhere)[0]))[1])))
    largest = max(float(jnp.max(jnp.linalg.norm(slope, axis=1))) for slope in slopes)
    options = {
        "maxiter": max_iterations,
        "maxfun": 2 * max_iterations,
        "gtol": tolerance * largest,
        "ftol": 0.0,
        "maxcor": 20,
    }
    with one_blas_thread():
        done = minimize(on_flat, np.asarray(start), jac=True, method="L-BFGS-B", options=options)
    return float(done.fun), with_points(clouds, _on_sphere(unravel(jnp.asarray(done.x))))


def _on_sphere(z: Any) -> Any:
    return jax.tree.map(lambda p: np.asarray(p) / np.linalg.norm(p, axis=1, keepdims=True), z)
