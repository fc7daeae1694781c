"""Reader of one tensor of a .safetensors file, by its header."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctflow.embeddings.readers.flat import Flat, Layout, promised_bytes
from ctflow.embeddings.readers.id_arrays import check_ids, listed
from ctflow.embeddings.readers.parts import check_numbers, choose
from ctflow.storage.reading import readable

_HEADER_BYTES = 1 << 24
_NAMES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    **{
        f"{letter}{bits}": f"{kind}{bits}"
        for letter, kind in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
"""NumPy's names of the dtypes."""


class _Tensor(NamedTuple):
    """An entry of the header."""

    shape: tuple[int, ...]
    dtype: str
    """NumPy's name of the dtype."""
    first: int
    """Position of the first byte in the file."""
    there: int
    """Bytes of the tensor that are in the file."""


def safetensors(path: Path, column: str | None) -> Flat:
    """Open one tensor of a .safetensors file by its header.

    Raises:
        ValueError: the file or tensor is missing, cut short, or has no floating-point numbers.
    """
    found = _tensors(path)
    key = choose(str(path), {key: (tensor.shape, tensor.dtype) for key, tensor in found.items()}, column)
    check_numbers(str(path), found[key].dtype)
    return Flat(path, _layout(path, key, found[key]))


def values(path: Path, name: str) -> list[Any]:
    """The integers of one tensor [n].

    Raises:
        ValueError: there is no such tensor, it holds no integers [n], or it is cut short.
    """
    found = _tensors(path)
    key = choose(str(path), {key: (tensor.shape, tensor.dtype) for key, tensor in found.items()}, name)
    check_ids(path, key, *found[key][:2])
    layout = _layout(path, key, found[key])
    with readable(str(path), ".safetensors file"):
        return listed(np.fromfile(path, layout.dtype, layout.shape[0], offset=layout.offset))


def _tensors(path: Path) -> dict[str, _Tensor]:
    """The entries of the header, by name."""
    with readable(str(path), ".safetensors file"), open(path, "rb") as file:
        size = path.stat().st_size
        start = 8 + int.from_bytes(file.read(8), "little")
        if start > size:
            raise ValueError(f"its header needs {start} bytes, got {size}")
        if start > _HEADER_BYTES:
            raise ValueError(f"its header has {start} bytes, at most {_HEADER_BYTES} are allowed")
        header = json.loads(file.read(start - 8))
        if not isinstance(header, dict):
            raise ValueError("its header names no tensors")
        return {key: _tensor(entry, start, size) for key, entry in header.items() if key != "__metadata__"}


def _tensor(entry: Any, start: int, size: int) -> _Tensor:
    """An entry of the header of a file of `size` bytes, whose numbers begin at byte `start`."""
    match entry:
        case {"shape": list(shape), "data_offsets": [first, stop], "dtype": str(code)}:
            pass
        case _:
            raise ValueError("its header names no tensors")
    if any(type(number) is not int or number < 0 for number in (*shape, first, stop)):
        raise ValueError(f"its header must give integers >= 0, got shape {shape}, offsets {first} and {stop}")
    return _Tensor(tuple(shape), _NAMES.get(code, code), start + first, min(stop, size - start) - first)


def _layout(path: Path, key: str, tensor: _Tensor) -> Layout:
    """Where the numbers of a tensor are; ValueError if they are not all in the file."""
    dtype = np.dtype(import_module("ml_dtypes").bfloat16 if tensor.dtype == "bfloat16" else tensor.dtype)
    layout = Layout(tensor.shape, dtype, tensor.first, by_columns=False)
    promised = promised_bytes(layout)
    if promised != tensor.there:
        what = f"{key!r}, {dtype} {list(tensor.shape)}, needs {promised} bytes"
        raise ValueError(f"{path} is cut short: {what}, got {max(tensor.there, 0)}; write it again")
    return layout
