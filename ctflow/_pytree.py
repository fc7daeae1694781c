"""Frozen dataclasses that JAX can trace: the shape of every kernel, potential, coupling, energy and flow."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jax.core import Tracer

T = TypeVar("T")


def positive(**kwargs: Any) -> Any:
    """A field whose numbers must be finite and > 0 (a leaf: sweeps over it trace once)."""
    return dataclasses.field(metadata={"positive": True}, **kwargs)


def static(**kwargs: Any) -> Any:
    """A field that is part of the program, not of the data: changing it traces anew."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(positive, static))
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass registered with JAX.

    JAX rebuilds these objects with tracers or placeholders as leaves, so the constructor
    refuses plain Python and NumPy numbers only; `check_numbers` looks at the rest at a public door.
    """
    own = cls.__dict__.get("__post_init__")

    def check_and_adapt(self: Any) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("positive") and isinstance(value, int | float | np.number | np.ndarray):
                check_positive(field.name, value)
        if own is not None:
            own(self)

    cls.__post_init__ = check_and_adapt  # pyright: ignore[reportAttributeAccessIssue]
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, eq=False)(cls))


def is_concrete(*values: Any) -> bool:
    """Whether no value is a tracer, so that numbers can be looked at."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless `value` (a number or an array of numbers) is finite and > 0."""
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}") from None
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise ValueError(f"{name} must be finite and > 0, got {value}")


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    """Raise ValueError unless `value` is an integer >= `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def check_numbers(tree: Any) -> None:
    """Check every `positive` field in a tree of these dataclasses, JAX arrays included; tracers pass."""
    if dataclasses.is_dataclass(tree):
        for field in dataclasses.fields(tree):
            value = getattr(tree, field.name)
            if field.metadata.get("positive") and is_concrete(value):
                check_positive(field.name, value)
            check_numbers(value)
    elif isinstance(tree, list | tuple):
        for item in tree:
            check_numbers(item)
