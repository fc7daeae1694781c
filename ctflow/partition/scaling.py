"""Kernels whose values one number scales into a dtype's range, so that no sum needs a largest term."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow._base.checks import is_concrete
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel


def is_bounded(kernel: Kernel, dtype: Any) -> bool:
    """Whether all values of κ, divided by one number, are in a dtype's range with room for their sums.

    For `Exponential` that is τ > 0.025 in float32 and τ > 0.0032 in float64. False if a parameter is traced.
    """
    if not is_concrete(kernel) or not kernel.monotone:
        return False
    with jax.ensure_compile_time_eval():
        return bool(np.asarray(_range(kernel, jnp.dtype(dtype).name)) <= _widest(dtype))


@partial(jax.jit, static_argnums=1)
def _range(kernel: Kernel, dtype: str) -> Any:
    return _middle_and_range(as_dtype(kernel, dtype), dtype)[1]


def middle(kernel: Kernel, dtype: Any) -> Any:
    """The mean of the least and the largest log κ of a bounded kernel; NaN if it is not bounded after all."""
    found, width = jax.lax.stop_gradient(_middle_and_range(kernel, dtype))
    return jnp.where(width <= _widest(dtype), found, jnp.nan)


def _middle_and_range(kernel: Kernel, dtype: Any) -> tuple[Any, Any]:
    """The mean of the least and the largest log κ of a monotone kernel, and their difference."""
    least, largest = (jnp.asarray(kernel.log_kernel(jnp.asarray(c, dtype))) for c in (-1.0, 1.0))
    return (least + largest) / 2, jnp.abs(largest - least)


def _widest(dtype: Any) -> float:
    """The largest range of log κ: e to the power of half of it is e^0.45 of a dtype's largest number."""
    return 0.9 * math.log(float(jnp.finfo(dtype).max))
