"""Random clouds for tests, drawn by NumPy: JAX would compile a program for every shape."""

import jax
import jax.numpy as jnp
import numpy as np


def uniform(seed, n: int, d: int, dtype=np.float64) -> jax.Array:
    """Points [n, d] of the uniform law."""
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def unit(rows) -> np.ndarray:
    """Rows [n, d] divided by their norms."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
