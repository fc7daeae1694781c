"""Types of arguments: what is accepted beside JAX's own arrays."""

import jax
import numpy as np

AnyArray = jax.Array | np.ndarray
"""An array of JAX or NumPy; of what shape, jaxtyping says."""

Real = float | np.number | AnyArray
"""A real number: Python's, NumPy's, or an array of shape (), which may be traced."""
