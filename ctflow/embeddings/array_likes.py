"""Arrays of other libraries: converted where this is unambiguous, else refused with the code for it."""

import os
from typing import Any

import numpy as np

from ctflow.embeddings.frames import missing, nullable

_SHOWN = 4


def as_array(name: str, given: Any) -> np.ndarray:
    """Convert an argument to a NumPy array, without a copy if NumPy can view its memory.

    Tensors of PyTorch are detached and copied from their device, and bfloat16 becomes float32. Lists of
    arrays or tensors are stacked, as are columns of lists of pandas, polars and Arrow, and the only such
    column of a table. Frames of pandas may have nullable dtypes if no value is missing.

    Args:
        name: name of the argument, used in the message.
        given: an array, or anything that can be read as one: a JAX array, a tensor, a frame, a list.

    Raises:
        ValueError: this is not an array of numbers. The message names what was given, and code to convert it.
    """
    if given is None or isinstance(given, str | bytes | os.PathLike):
        what = "None" if given is None else f"the path {os.fsdecode(given)!r}"
        raise _refusal(name, what, f"ct.embeddings.open_embeddings({'path' if given is None else name})")
    dtype = nullable(given)
    if dtype is not None and (found := missing(name, given)):
        raise _refusal(name, *found)
    try:
        array = np.asarray(_without_library(given)) if dtype is None else given.to_numpy(dtype=dtype)
    except Exception as error:  # the object's library may raise any exception
        raise _refusal(name, *_unreadable(name, given, error)) from error
    stacked = _stacked(given, array) if array.dtype == object else array
    if stacked is None:
        raise _refusal(name, *_of_objects(name, given, array))
    return stacked


def _without_library(given: Any) -> Any:
    """Tensors as arrays, and lists of them as lists of arrays; anything else as it is."""
    if _is_tensor(given):
        return _of_tensor(given)
    if isinstance(given, list | tuple) and given and all(map(_is_tensor, given)):
        return [_of_tensor(tensor) for tensor in given]
    # np.asarray of a column of tensors of Arrow would give lists.
    storage = getattr(given, "to_numpy_ndarray", None)
    return given if storage is None else storage()


def _of_tensor(tensor: Any) -> Any:
    """A dense tensor of PyTorch as an array; a sparse one as it is."""
    if str(getattr(tensor, "layout", "")) not in ("", "torch.strided"):
        return tensor
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(getattr(tensor, "dtype", "")).endswith("bfloat16") else tensor).numpy()


def _stacked(given: Any, array: np.ndarray) -> np.ndarray | None:
    """The rows [n, d] in an array of lists, or in the only column of lists of a table; None if ambiguous."""
    columns = getattr(given, "column_names", getattr(given, "columns", None))
    if array.ndim == 2 and columns is not None:
        lists = [column for column in array.T if any(map(_is_row, column))]
        if len(lists) != 1:
            return None
        array = lists[0]
    if array.ndim != 1 or not len(array) or not all(map(_is_row, array)):
        return None
    try:
        rows = np.stack([np.asarray(_without_library(row)) for row in array])
    except Exception:  # rows of several lengths, or of things that are no numbers
        return None
    return rows if rows.dtype != object else None


def _refusal(name: str, what: str, code: str) -> ValueError:
    return ValueError(f"{name} must be an array [n, d] of unit rows, got {what}; use {code}")


def _unreadable(name: str, given: Any, error: Exception) -> tuple[str, str]:
    """A description of an object that NumPy could not read, and code that converts it."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if _is_tensor(given):
        return _tensor_in_words(given, said), f"{name}{_to_numpy(given)}"
    if hasattr(given, "__cuda_array_interface__"):
        return f"{_type_of(given)} on a GPU", f"cupy.asnumpy({name})"
    if isinstance(given, list | tuple):
        if given and all(map(_is_tensor, given)):
            what = f"a {type(given).__name__} of tensors, the first {_tensor_in_words(given[0], said)}"
            return what, f"torch.stack({name}){_to_numpy(given[0])}"
        if ragged := _ragged(name, given):
            return ragged
    return f"{_type_of(given)}, which NumPy cannot read ({said})", f"np.asarray({name}) of plain numbers"


def _is_tensor(given: Any) -> bool:
    return all(hasattr(given, method) for method in ("detach", "cpu", "numpy"))


def _tensor_in_words(tensor: Any, said: str) -> str:
    """Describe a PyTorch tensor and why NumPy cannot read it; for other reasons, quote its error."""
    device, dtype, layout = (str(getattr(tensor, field, "")) for field in ("device", "dtype", "layout"))
    words = ["that requires grad"] if getattr(tensor, "requires_grad", False) else []
    words += [f"on device {device}"] if device not in ("", "cpu") else []
    words += [f"of dtype {dtype}"] if dtype.endswith("bfloat16") else []
    words += [f"with layout {layout}"] if layout not in ("", "torch.strided") else []
    return f"a {type(tensor).__module__.partition('.')[0]} tensor {', '.join(words) or f'({said})'}"


def _to_numpy(tensor: Any) -> str:
    """The method calls that convert a PyTorch tensor to NumPy; float64 is not rounded to float32."""
    dense = "" if str(getattr(tensor, "layout", "")) in ("", "torch.strided") else ".to_dense()"
    single = "" if str(getattr(tensor, "dtype", "")).endswith("float64") else ".float()"
    return f"{dense}.detach().cpu(){single}.numpy()"


def _of_objects(name: str, given: Any, array: np.ndarray) -> tuple[str, str]:
    """A description of an object that NumPy read as Python objects, and code that converts it."""
    if array.ndim == 0:
        code = f"np.stack(list({name}))" if hasattr(given, "__next__") else "the array inside it"
        return _type_of(given), code
    columns = getattr(given, "column_names", getattr(given, "columns", None))
    if array.ndim == 2 and columns is not None:
        return _frame(name, given, array, list(columns))
    if array.ndim == 1 and any(map(_is_row, array)):
        return _ragged(name, array) or (f"{_type_of(given)} of one list per row", _stack(name, given, array))
    return f"{_type_of(given)} of Python objects", f"np.asarray({name}, np.float32)"


def _frame(name: str, given: Any, array: np.ndarray, columns: list[Any]) -> tuple[str, str]:
    """The same for a pandas, polars or Arrow table with a column of lists, or with columns of other types."""
    lists = [column for column, values in zip(columns, array.T, strict=True) if any(map(_is_row, values))]
    if len(lists) > 1:
        what = f"{_type_of(given)} whose columns {', '.join(map(repr, lists[:_SHOWN]))} hold lists"
        return what, f"{name}[{lists[0]!r}] or another of them"
    if lists:
        rows = array[:, columns.index(lists[0])]
        what = f"{_type_of(given)} whose column {lists[0]!r} holds a list per row"
        code = f"{name}[{lists[0]!r}]"
        return _ragged(code, rows) or (what, _stack(code, given, rows))
    what = f"{_type_of(given)} with columns that hold no numbers"
    if not hasattr(given, "select_dtypes"):
        return what, f"{name}.select(<names of numbers>)"
    code, numbers = f"{name}.select_dtypes('number')", given.select_dtypes("number")
    gaps = missing(code, numbers) if nullable(numbers) is not None else None
    return what, code if gaps is None else gaps[1]


def _stack(code: str, given: Any, rows: Any) -> str:
    """Code that stacks a column of lists. An Arrow column must become a NumPy array of lists first."""
    if any(isinstance(row, list | tuple) and None in row for row in rows):
        return f"np.stack([row for row in {code} if None not in row])"
    arrow = type(given).__module__.startswith("pyarrow")
    return f"np.stack(np.asarray({code}))" if arrow else f"np.stack({code})"


def _is_row(value: Any) -> bool:
    is_list = hasattr(value, "__len__") and (hasattr(value, "__iter__") or _is_tensor(value))
    return is_list and not isinstance(value, str | bytes)


def _ragged(name: str, rows: Any) -> tuple[str, str] | None:
    """If rows differ in length: a description of the first one that does, and code that drops such rows."""
    lengths = [len(row) if _is_row(row) else None for row in rows]
    known = [length for length in lengths if length is not None]
    if not known or len(set(lengths)) == 1:
        return None
    i = next(i for i, length in enumerate(lengths) if length != known[0])
    fault = "is no list" if lengths[i] is None else f"has length {lengths[i]}"
    return (
        f"rows of several lengths (row {i} {fault}, the first list has length {known[0]})",
        f"np.stack([row for row in {name} if np.size(row) == {known[0]}])",
    )


def _type_of(given: Any) -> str:
    """A type with its library, e.g. `a pandas Series`."""
    kind = type(given)
    library = kind.__module__.partition(".")[0]
    words = kind.__name__ if library == "builtins" else f"{library} {kind.__name__}"
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"
