"""Descent of an energy to a state at rest, faster than a flow gets there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

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
        tolerance: it ends where the largest slope is this times that at the start.
        max_iterations: it ends after so many at the latest.
    """
    start, unravel = ravel_pytree(points(clouds))

    def on_flat(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _value_and_slope(energy, with_points(clouds, unravel(jnp.asarray(flat))))
        return float(value), np.asarray(ravel_pytree(slope)[0])

    largest = float(np.abs(on_flat(np.asarray(start))[1]).max())
    options = {
        "maxiter": max_iterations,
        "maxfun": 2 * max_iterations,
        "gtol": tolerance * largest,
        "ftol": 0.0,
        "maxcor": 20,
    }
    done = minimize(on_flat, np.asarray(start), jac=True, method="L-BFGS-B", options=options)
    z = jax.tree.map(np.asarray, unravel(jnp.asarray(done.x)))
    onto = jax.tree.map(lambda p: p / np.linalg.norm(p, axis=1, keepdims=True), z)
    return float(done.fun), with_points(clouds, onto)
