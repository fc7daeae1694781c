"""Signatures as a reader wants them: `x: Float[Array, 'n d']`, `clouds: Clouds`, `temperature: Scalar`.

The annotations of ctflow are made for jaxtyping and pyright. At run time they are long unions, such as
`float | numpy.number | jax.Array | numpy.ndarray`; this module writes the names of these unions instead.
`Any` says nothing to a reader and is left out. docs/api/index.md explains the names.
"""

import collections.abc
import enum
import inspect
import os
import re
import sys
import types
import typing
from functools import cache
from importlib import import_module
from typing import Any

import jax
import numpy as np

import ctflow
from ctflow._base.annotations import AnyArray, Real
from ctflow.clouds import Cloud, Clouds

# Larger unions stand before those that they contain. "~" makes Sphinx show only the last part of a path.
_NAMES = {
    Clouds: "~ctflow.clouds.Clouds",
    Cloud: "~ctflow.clouds.Cloud",
    Real: "Scalar",
    AnyArray: "Array",
    str | os.PathLike[str]: "Path",
}
# Parameters that the code annotates with `Any`, since the functions refuse other values in their own words.
_USUAL = {
    "clouds": "~ctflow.clouds.Clouds",
    "cloud": "~ctflow.clouds.Cloud",
    "energy": "~ctflow.energies.Energy",
    "control": "~ctflow.energies.Energy",
    "key": "Array",
}
_LONGEST_DEFAULT = 40
_COLON = "\uf03a"  # of the private use area: no docstring has it


class _Text:
    """An object whose repr is a given text, which `inspect.Signature` then prints."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


@cache
def public_paths() -> dict[type, str]:
    """The path under which the reference documents each public class, such as `ctflow.Solution`."""
    modules = [name for name in ctflow.__all__ if inspect.ismodule(getattr(ctflow, name))]
    found = {}
    for path in ["ctflow", *(f"ctflow.{name}" for name in modules)]:
        module = import_module(path)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and value.__name__ == name:
                found[value] = f"{path}.{name}"
    return found


def annotation_text(annotation: Any) -> str:
    """An annotation as source text; "" for `Any` and for no annotation."""
    if annotation in (Any, inspect.Parameter.empty):
        return ""
    if annotation in (None, type(None)):
        return "None"
    if isinstance(annotation, str):
        return annotation
    if hasattr(annotation, "dim_str"):  # of jaxtyping
        return f"{annotation.dtype.__name__}[Array, {annotation.dim_str!r}]"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union(args)
    if origin is collections.abc.Callable:
        return "Callable"
    if origin is not None:
        parts = ["..." if arg is ... else annotation_text(arg) for arg in args]
        return f"{origin.__name__}[{', '.join(parts)}]" if all(parts) else origin.__name__
    if annotation in (jax.Array, np.ndarray):
        return "Array"
    if isinstance(annotation, type) and annotation.__module__.startswith("ctflow"):
        return "~" + public_paths().get(annotation, f"{annotation.__module__}.{annotation.__qualname__}")
    return getattr(annotation, "__name__", str(annotation)).lstrip("_")


def _union(args: tuple[Any, ...]) -> str:
    left, parts = list(args), []
    for union, name in _NAMES.items():
        members = typing.get_args(union)
        if all(member in left for member in members):
            left = [arg for arg in left if arg not in members]
            parts.append(name)
    parts += [annotation_text(arg) for arg in left]
    # JAX's and NumPy's arrays of one shape have the same text here.
    return " | ".join(dict.fromkeys(parts)) if all(parts) else ""


def _usual(parameter: inspect.Parameter) -> str:
    text = _USUAL.get(parameter.name, "")
    return f"{text} | None" if text and parameter.default is None else text


def _default(value: Any, owner: Any) -> Any:
    """A default as in the source: types and functions by name, a long one by that of its constant."""
    if value is inspect.Parameter.empty:
        return value
    if inspect.isfunction(value):
        return _Text("..." if value.__name__ == "<lambda>" else value.__name__)
    if isinstance(value, type):
        return _Text(value.__name__)
    if repr(value).startswith("<"):  # a default that is made anew for each object
        return _Text("...")
    if len(repr(value)) > _LONGEST_DEFAULT:
        constants = vars(sys.modules[owner.__module__])
        return next((_Text(name) for name, there in constants.items() if there is value), _Text("..."))
    return value


def signature_texts(value: Any, *, bound: bool) -> tuple[str, str]:
    """A signature and the type that is returned, as texts; `bound` leaves out the first parameter, self."""
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        return "", ""
    signature = inspect.signature(value)
    parameters = []
    for parameter in list(signature.parameters.values())[bound:]:
        text = annotation_text(parameter.annotation) or _usual(parameter)
        default = _default(parameter.default, value)
        parameters.append(
            parameter.replace(annotation=_Text(text) if text else parameter.empty, default=default)
        )
    returns = "" if inspect.isclass(value) else annotation_text(signature.return_annotation)
    shown = signature.replace(parameters=parameters, return_annotation=signature.empty)
    return str(shown), "" if returns == "None" else returns


def process_signature(app, what, name, value, options, signature, returns):
    """Sphinx's event `autodoc-process-signature`."""
    builtin = inspect.isclass(value) and issubclass(value, Warning)  # has no signature
    if what in ("function", "method", "class", "exception") and callable(value) and not builtin:
        return signature_texts(value, bound=what == "method")
    return None


def hide_colons(app, what, name, value, options, lines):
    """Before napoleon, which takes "Names: two of them" of an attribute for a value of type `Names`."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", _COLON)


def process_docstring(app, what, name, value, options, lines):
    """After napoleon: colons return, and |z| is a formula here, not a substitution of reST."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            pieces = re.split(r"(`[^`]*`)", line.replace(_COLON, ":"))
            lines[i] = "".join(p if p.startswith("`") else p.replace("|", r"\|") for p in pieces)


def skip_member(app, what, name, value, skip, options):
    """Sphinx's event `autodoc-skip-member`: fields of a NamedTuple are under "Attributes" already."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app):
    """Connect the events; docs/conf.py calls this."""
    app.connect("autodoc-process-docstring", hide_colons, priority=400)  # napoleon has 500
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-process-docstring", process_docstring, priority=600)
    app.connect("autodoc-skip-member", skip_member)
