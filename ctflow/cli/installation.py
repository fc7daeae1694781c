"""A check of the installation: versions, devices, and a test of jaxlib for a known error."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ctflow.io import versions


def last_row_square(n: int, dtype) -> tuple[float, float]:
    """Row n-1 of a jitted, vmapped matrix-vector product with a reduction, and its correct value.

    jaxlib 0.10.2 silently returns a wrong value on a CPU (jax-ml/jax#39103).
    """
    i = jnp.arange(n, dtype=dtype)
    x = jnp.stack([i, jnp.zeros_like(i), jnp.zeros_like(i)], axis=1)
    matrix = jnp.eye(3, dtype=dtype)

    @jax.jit
    def squares(x: Float[Array, "n 3"]) -> Float[Array, " n"]:
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(x)

    return float(squares(x)[-1]), float(dtype(n - 1) ** 2)


def jaxlib_sums_correctly() -> bool:
    """Whether this jaxlib passes the check in float32, and in float64 if that is enabled."""
    cases = [(32_769, jnp.float32)]
    if jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        cases.append((16_385, jnp.float64))
    return all(got == wanted for got, wanted in (last_row_square(n, dtype) for n, dtype in cases))


def report() -> tuple[str, bool]:
    """The text that `ctflow doctor` prints, and whether jaxlib passes the check."""
    healthy = jaxlib_sums_correctly()
    lines = [f"{name:8} {version}" for name, version in versions().items()]
    lines.append(f"devices  {', '.join(f'{d.platform}:{d.id} ({d.device_kind})' for d in jax.devices())}")
    lines.append(f"dtype    {jnp.zeros(()).dtype} by default")
    if healthy:
        lines.append("jaxlib   sums correctly")
    else:
        lines.append("jaxlib   RETURNS WRONG SUMS: install another version, e.g. pip install 'jax!=0.10.2'")
    return "\n".join(lines), healthy
