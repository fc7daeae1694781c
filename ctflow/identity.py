"""What a run is made of, as text that can be compared: settings, arrays, functions, versions, device."""

import dataclasses
import functools
import hashlib
import types
from enum import Enum
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow.io import sources, versions

_LISTED = 8


def identity(**parts: Any) -> dict[str, str]:
    """A line of text for every setting in the parts, by its place, with versions, sources and device.

    Arrays are told apart by shape, dtype and the SHA-256 of their bytes; functions by their code and what
    they close over, not by the globals they read.
    """
    lines: dict[str, str] = {}
    for name, part in parts.items():
        _walk(name, part, lines, set())
    environment = {**versions(), "ctflow's sources": sources(), "device": jax.devices()[0].device_kind}
    config: Any = jax.config
    return lines | environment | {"float64 enabled": str(config.jax_enable_x64)}


def differences(there: dict[str, str], now: dict[str, str]) -> str:
    """What differs, as text; empty where nothing does."""
    names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    listed = [
        f"{name} was {there.get(name, 'not there')}, is {now.get(name, 'not there')}"
        for name in names[:_LISTED]
    ]
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return "; ".join(listed + more)


def _walk(name: str, value: Any, lines: dict[str, str], seen: set[int]) -> None:
    """Add a line for a value, and for what it holds."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        lines[name] = _array(value)
        return
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Enum | Path):
        lines[name] = repr(value)
        return
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | np.ufunc | np.dtype):
        lines[name] = getattr(value, "__qualname__", None) or getattr(value, "__name__", str(value))
        return
    if id(value) in seen:  # a function that closes over itself
        return
    seen.add(id(value))
    lines[name] = type(value).__qualname__
    if isinstance(value, types.FunctionType):
        lines[name] = f"{value.__qualname__}, code {_code(value.__code__)}"
    for label, held in _held(value):
        _walk(f"{name}{label}", held, lines, seen)


def _held(value: Any) -> list[tuple[str, Any]]:
    """What a value holds, each with its place."""
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        inside = [(f".{name}", cell.cell_contents) for name, cell in cells if _is_filled(cell)]
        defaults = [(f" default {i}", v) for i, v in enumerate(value.__defaults__ or ())]
        return inside + defaults + [(f" default {k}", v) for k, v in (value.__kwdefaults__ or {}).items()]
    if isinstance(value, types.MethodType):
        return [(".self", value.__self__), (".function", value.__func__)]
    if isinstance(value, functools.partial):
        return [(".function", value.func), (".arguments", value.args), (".keywords", value.keywords)]
    if hasattr(value, "__wrapped__"):  # a jitted function
        return [(".wrapped", value.__wrapped__)]
    if dataclasses.is_dataclass(value):
        return [(f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return [(f"[{key!r}]", held) for key, held in value.items()]
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", None)
        return [(f".{names[i]}" if names else f"[{i}]", held) for i, held in enumerate(value)]
    return [(f".{key}", held) for key, held in getattr(value, "__dict__", {}).items()]


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is cell.cell_contents
    except ValueError:
        return False


def _array(value: Any) -> str:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"{value.dtype} {_array(jax.random.key_data(value))}"
    array = np.asarray(value)
    if array.size == 1:
        return f"{array.dtype}{list(array.shape)} {array.item()!r}"
    text = repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(text).hexdigest()[:16]}"


def _code(code: types.CodeType) -> str:
    """A digest of compiled code, nested functions included; where it was written does not matter."""
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    told = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]
