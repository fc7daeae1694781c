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


def paired_rows(n: int, d: int, noise: float, seed: int) -> list[np.ndarray]:
    """Rows [n, d] of two modalities that share what is not noise; their norms are not 1."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, d))
    return [common + noise * rng.standard_normal((n, d)) for _ in range(2)]


def stretched_pairs(n=300, d=6, shift=1.0, noise=0.5, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Paired unit rows, the second modality shifted and stretched."""
    x, y = paired_rows(n, d, noise, seed)
    return unit(x - shift), unit(y * np.linspace(0.5, 1.5, d) + shift)
