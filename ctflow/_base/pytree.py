"""Frozen dataclasses that JAX can trace, used for kernels, potentials, couplings, energies and flows."""

import abc
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from ctflow._base.checks import check_positive

T = TypeVar("T")


def positive(*, optional: bool = False, **kwargs: Any) -> Any:
    """Declare a field whose numbers must be finite and > 0; with `optional`, None is allowed too.

    The numbers are leaves of the pytree, so a sweep over them is traced once.
    """
    return dataclasses.field(metadata={"positive": True, "optional": optional}, **kwargs)


def converted(*, converter: Callable[[Any], Any], **kwargs: Any) -> Any:
    """A field whose value is first passed through `converter`."""
    return dataclasses.field(metadata={"converter": converter}, **kwargs)


def static(**kwargs: Any) -> Any:
    """Declare a field that is part of the compiled program, not of the data: a new value is traced anew."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(positive, static, converted))
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass registered with JAX.

    JAX rebuilds these objects with tracers or placeholders as leaves, so the constructor checks only Python
    and NumPy numbers; public functions check the rest with `check_numbers`. A class that is already
    registered is returned unchanged.
    """
    if cls.__dict__.get("_registered"):
        return cls
    own = getattr(cls, "__post_init__", None)

    def check_and_adapt(self: Any) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if "converter" in field.metadata:
                object.__setattr__(self, field.name, field.metadata["converter"](value))
            if field.metadata.get("positive") and isinstance(value, int | float | np.number | np.ndarray):
                check_positive(field.name, value)
        if own is not None:
            own(self)

    cls.__post_init__ = check_and_adapt  # pyright: ignore[reportAttributeAccessIssue]
    own_init = "__init__" in cls.__dict__
    inherits = not inspect.get_annotations(cls) and getattr(cls, "_own_init", False)
    cls._own_init = own_init or inherits  # pyright: ignore[reportAttributeAccessIssue]
    frozen = dataclasses.dataclass(frozen=True, eq=False, init=not inherits)(cls)
    _register(frozen)
    frozen._registered = True  # pyright: ignore[reportAttributeAccessIssue]
    return frozen


@dataclass_transform(frozen_default=True, field_specifiers=(positive, static, converted))
class Registered:
    """Base class that makes its subclasses pytrees without a decorator; annotated fields are their leaves.

    It leaves three kinds of subclass unchanged: those with their own `__init__`, those with another metaclass
    (such as an `equinox.Module`), and those declared with `abstract=True`, which are bases without fields.
    """

    def __init_subclass__(cls, *, abstract: bool = False, **options: Any):
        super().__init_subclass__(**options)
        if not abstract and type(cls) in (type, abc.ABCMeta) and "__init__" not in cls.__dict__:
            pytree(cls)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves with their paths in words, such as `energy` or `clouds.x`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]


def assign(node: Any, **fields: Any) -> None:
    """Set the fields of a frozen dataclass, in an `__init__` of its own."""
    for name, value in fields.items():
        object.__setattr__(node, name, value)


def check_registered(name: str, node: Any) -> None:
    """Raise ValueError unless JAX can flatten `node` into numbers and arrays.

    Args:
        name: name of the argument, used in the message.
        node: an energy, a kernel, a flow, or a tree of them.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(node):
        if not isinstance(leaf, int | float | complex | np.generic | np.ndarray | jax.Array):
            kind = type(leaf).__name__
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} must be a number, an array or an object registered with "
                f"JAX, got an unregistered {kind}; declare the numbers of an energy, kernel, potential or "
                f"flow as annotated fields, not in an __init__, and other fields with ct.static()"
            )


def _register(cls: type) -> None:
    """Register a dataclass with JAX, with its class as part of the tree's structure.

    `jax.tree_util.register_dataclass` does not compare the classes of two structures (seen in JAX 0.10.1 and
    0.12.0). Two kernels with one number each then look like the same argument to a jitted function, which
    sometimes runs the program that was traced for the other kernel.
    """
    fields = dataclasses.fields(cls)
    static_names = [f.name for f in fields if f.metadata.get("static")]
    leaf_names = [f.name for f in fields if not f.metadata.get("static")]

    def flatten(node: Any) -> tuple[list[tuple[Any, Any]], Any]:
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in leaf_names]
        return leaves, (cls, *(getattr(node, name) for name in static_names))

    def unflatten(structure: Any, leaves: Any) -> Any:
        node = object.__new__(cls)
        for name, value in zip([*static_names, *leaf_names], [*structure[1:], *leaves], strict=True):
            object.__setattr__(node, name, value)
        return node

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
