"""Checks of arguments; each raises a ValueError that names the argument, the rule and the value."""

import dataclasses
import sys
from typing import Any

import numpy as np


def _jax() -> Any:
    """The JAX module if this process has imported it, else None.

    This module must work without JAX. A process that has not imported JAX has no JAX arrays.
    """
    return sys.modules.get("jax")


def _is_jax_array(value: Any) -> bool:
    jax = _jax()
    return jax is not None and isinstance(value, jax.Array)


def is_concrete(*values: Any) -> bool:
    """Whether no value is a tracer, so that the numbers can be read."""
    jax = _jax()
    return jax is None or not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def check_concrete(function: str, **values: Any) -> None:
    """Raise ValueError if a value is a tracer: `function` computes with NumPy, which needs numbers."""
    for name, value in values.items():
        if not is_concrete(value):
            raise ValueError(
                f"{name} must be numbers for {function}, got a traced array: {function} computes with NumPy "
                f"and cannot run inside jit, grad or vmap; call it outside and pass its result in as an "
                f"argument"
            )


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless `value`, a number or an array of numbers, is finite and > 0."""
    number = isinstance(value, int | float | np.number | np.ndarray) or _is_jax_array(value)
    if not number or isinstance(value, bool):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    numbers = np.asarray(value, dtype=float)
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise ValueError(f"{name} must be finite and > 0, got {value}")


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    """Raise ValueError unless `value` is an integer >= `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")


def check_key(name: str, key: Any) -> None:
    """Raise ValueError unless `key` is one JAX random key, typed or raw."""
    jax = _jax()
    typed = _is_jax_array(key) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = _is_jax_array(key) and key.dtype == np.uint32
    if not (typed and key.ndim == 0) and not (raw and key.ndim == 1):
        raise ValueError(f"{name} must be one JAX random key such as jax.random.key(0), got {key!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def check_numbers(tree: Any) -> None:
    """Raise ValueError unless each `positive` field in a dataclass tree is one number > 0; tracers pass."""
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            value: Any = getattr(tree, field.name)
            if value is None and field.metadata.get("optional"):
                continue
            if field.metadata.get("positive") and is_concrete(value):
                check_positive(field.name, value)
                shape = np.asarray(value).shape
                if shape:
                    raise ValueError(f"{field.name} must be one number, got shape {shape}")
            check_numbers(value)
    elif isinstance(tree, list | tuple):
        for item in tree:
            check_numbers(item)
