"""Deprecated names: they keep working for one minor version, with a DeprecationWarning."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any


def deprecated_name(module: str, name: str, renamed: Mapping[str, str]) -> Any:
    """What a module's `__getattr__` returns for a name that it does not define.

    Args:
        module: the module's `__name__`.
        name: the name that was asked for.
        renamed: the new name of each deprecated one, in the same module.

    Raises:
        AttributeError: the name is not deprecated either.
    """
    if name not in renamed:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    new = renamed[name]
    text = f"{module}.{name} is deprecated and will be removed in the next minor version; use {module}.{new}"
    warnings.warn(text, DeprecationWarning, stacklevel=3)  # the line that asked the module
    return getattr(sys.modules[module], new)
