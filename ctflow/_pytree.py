"""Frozen dataclasses that JAX can trace: the shape of every kernel, potential, coupling, energy and flow."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from ctflow.checks import check_positive

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
