"""The identity of a run as text that can be compared: settings, arrays, functions, code, versions, device.

A run continues only if everything that can change its numbers is the same. Other differences, such as the
text of comments, only cause a warning: their names begin with `_TOLD`.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow.storage.provenance import sources, versions

_LISTED = 8
_TOLD = "told: "
_PACKAGE = Path(__file__).resolve().parents[1]
_COMPUTING = ("jax", "jaxlib", "numpy")  # packages that every run uses
_CONFIG = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
# Modules and packages that only display, store or check numbers, and so cannot change any.
_SHOWING = ("cli", "plotting", "running.solution", "viewing")
_KEEPING = ("cloud_files", "experiment", "io", "storage")
_CHECKING = ("_base.checks", "embeddings.array_likes", "running.checks")
_APART = tuple(f"ctflow.{name}" for name in _SHOWING + _KEEPING + _CHECKING)


def identity(*, roots: tuple[str, ...] = (), **parts: Any) -> dict[str, str]:
    """One line of text for each setting of a run, by name, with versions, code and device.

    Arrays are compared by shape, dtype and the SHA-256 of their bytes. Functions and methods are compared by
    their code, the values they close over, and the globals that they name in the caller's own modules. Global
    lists and sets are ignored, since programs often write logs into them.

    Args:
        roots: modules of ctflow that do the run. These, the modules of the parts, and all that they import
            must be unchanged. If empty, every module that computes anything must be unchanged.
        parts: settings of the run, by name.
    """
    lines: dict[str, str] = {}
    met: set[str] = set()
    for name, part in parts.items():
        _walk(name, part, lines, set(), met)
    used = {module.partition(".")[0] for module in met} if roots else {"optax", "scipy"}
    found = versions()
    lines |= {name: text for name, text in found.items() if name in _COMPUTING or name in used - {"ctflow"}}
    lines |= {_TOLD + name: text for name, text in found.items() if name not in lines}
    lines |= {"device": jax.devices()[0].device_kind}
    lines |= {name: str(getattr(jax.config, name, None)) for name in _CONFIG}
    own = {module for module in met if module.partition(".")[0] == "ctflow"}
    code = _digest(frozenset({*roots, *own} if roots else _modules()))
    return lines | {"ctflow's code": code, _TOLD + "ctflow's sources": sources()}


def differences(there: dict[str, str], now: dict[str, str]) -> str:
    """Differences that can change the numbers, as text; empty if there are none."""
    return _compared(there, now, told=False)


def remarks(there: dict[str, str], now: dict[str, str]) -> str:
    """Differences that cannot change the numbers, as text; empty if there are none."""
    return _compared(there, now, told=True)


def _compared(there: dict[str, str], now: dict[str, str], *, told: bool) -> str:
    names = [
        name
        for name in {**there, **now}
        if there.get(name) != now.get(name) and name.startswith(_TOLD) == told
    ]
    listed = [
        f"{name.removeprefix(_TOLD)} was {there.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in names[:_LISTED]
    ]
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return "; ".join(listed + more)


@functools.cache
def _modules() -> dict[str, Path]:
    """The files of the modules of this package that can change numbers, by module name."""
    found = {}
    for path in _PACKAGE.rglob("*.py"):
        words = path.relative_to(_PACKAGE.parent).with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return {name: path for name, path in sorted(found.items()) if not _apart(name)}


def _apart(name: str) -> bool:
    """Whether a module cannot change a number; this includes `ctflow` itself, which only lists names."""
    return name == "ctflow" or any(name == other or name.startswith(f"{other}.") for other in _APART)


@functools.cache
def _digest(roots: frozenset[str]) -> str:
    """A digest of the code of these modules and of all modules of the package that they import."""
    waiting, done = sorted(roots), {}
    while waiting:
        name = waiting.pop()
        if name not in done and name in _modules():
            done[name], imported = _parsed(_modules()[name].read_bytes())
            waiting += imported
    return hashlib.sha256(repr(sorted(done.items())).encode()).hexdigest()[:16]


@functools.cache
def _parsed(content: bytes) -> tuple[str, tuple[str, ...]]:
    """A digest of a module's code, and possible names of the modules that it imports anywhere."""
    tree, imported = ast.parse(content), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(repr(_bare(tree)).encode()).hexdigest(), tuple(imported)


def _bare(node: Any) -> Any:
    """The code without comments, docstrings, layout and error messages, none of which changes a number.

    Empty fields are left out, since their names depend on the version of Python.
    """
    if isinstance(node, list):
        return [_bare(item) for item in node if not _is_text(item)]
    if isinstance(node, ast.Raise):
        return "raise"
    if isinstance(node, ast.AST):
        fields = [(key, _bare(value)) for key, value in ast.iter_fields(node) if value not in (None, [])]
        return type(node).__name__, fields
    return repr(node)


def _is_text(node: Any) -> bool:
    """Whether a statement consists of a string only, like a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _walk(name: str, value: Any, lines: dict[str, str], seen: set[int], met: set[str]) -> None:
    """Add lines for a value and for all values in it to `lines`, and their modules to `met`."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        lines[name] = _array(value)
        return
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Enum | Path):
        lines[name] = repr(value)
        return
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | np.ufunc | np.dtype):
        lines[name] = getattr(value, "__qualname__", None) or getattr(value, "__name__", str(value))
        if isinstance(value, type):
            met.add(value.__module__)
        return
    if id(value) in seen:  # a function that closes over itself
        return
    seen.add(id(value))
    of = value if isinstance(value, types.FunctionType) else type(value)
    met.add(of.__module__ or "")
    lines[name] = of.__qualname__
    if isinstance(value, types.FunctionType):
        lines[name] += f", code {_code(value.__code__)}"
    elif methods := _methods(type(value)):
        codes = [f"{key} {_code(function.__code__)}" for key, function in methods]
        lines[name] += f", code {hashlib.sha256(repr(codes).encode()).hexdigest()[:12]}"
        for key, function in methods:
            for label, held in _globals(function):
                _walk(f"{name}.{key}{label}", held, lines, seen, met)
    for label, held in _held(value):
        _walk(f"{name}{label}", held, lines, seen, met)


def _methods(cls: type) -> list[tuple[str, types.FunctionType]]:
    """The methods of a class that the caller's own code defines; packages are identified by version."""
    own = [base for base in cls.__mro__ if not _is_installed(base.__module__)]
    methods = []
    for key, member in (pair for base in own for pair in sorted(vars(base).items())):
        function = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
        function = inspect.unwrap(function) if callable(function) else None
        if isinstance(function, types.FunctionType):
            methods.append((key, function))
    return methods


def _is_installed(module: str) -> bool:
    """Whether a module belongs to Python, to this package, or to an installed one."""
    top = module.partition(".")[0]
    if top == "ctflow" or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _held(value: Any) -> list[tuple[str, Any]]:
    """The values inside a value, each with a label for its place."""
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        inside = [(f".{name}", cell.cell_contents) for name, cell in cells if _is_filled(cell)]
        inside += _globals(value)
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


def _globals(function: types.FunctionType) -> list[tuple[str, Any]]:
    """The globals that a function of the caller's own code names, also through the caller's own modules."""
    if _is_installed(function.__module__ or ""):
        return []
    names, found = _names(function.__code__), []
    for name in names:
        held = function.__globals__.get(name)
        if isinstance(held, types.ModuleType):
            if not _is_installed(held.__name__):
                found += [(f" {name}.{of}", vars(held)[of]) for of in names if of in vars(held)]
        elif name in function.__globals__ and not (isinstance(held, list | set) or _is_known(held)):
            found.append((f" {name}", held))
    return found


def _is_known(held: Any) -> bool:
    """Whether this is a function or class that the version of its package identifies."""
    return callable(held) and _is_installed(getattr(held, "__module__", None) or "")


def _names(code: types.CodeType) -> list[str]:
    """Names of globals and attributes in compiled code, nested functions included."""
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _names(c)]
    return sorted({*code.co_names, *inner})


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
    """A digest of compiled code, with nested functions and without file names and line numbers."""
    held = code.co_consts[_has_docstring(code) :]
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in held]
    told = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _has_docstring(code: types.CodeType) -> bool:
    """Whether the first constant is a docstring, or the None that Python before 3.14 puts in its place."""
    if code.co_name.startswith("<") or not code.co_flags & inspect.CO_NEWLOCALS or not code.co_consts:
        return False
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)  # pyright: ignore[reportAttributeAccessIssue]
    return code.co_consts[0] is None or isinstance(code.co_consts[0], str)
