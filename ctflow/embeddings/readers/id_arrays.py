"""Ids in an array [n] of text or integers that lies beside the rows, as in .npz, HDF5 and .safetensors."""

import re
from pathlib import Path
from typing import Any

from ctflow.embeddings.readers.parts import check_held

LONGEST = 1000
"""Largest number of characters of an id."""
ID_BYTES = 64
"""Bytes of an id as a Python object, besides its characters."""
REMEDY = "save the ids as integers"
_KINDS = re.compile("(u?int|str|bytes)[0-9]*")


def check_ids(path: Path, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Raise ValueError unless this is an array [n] of text or integers that fits into memory.

    Args:
        path: the file.
        name: name of the array.
        shape: its shape.
        dtype: NumPy's name of its dtype.
    """
    if dtype == "object":
        raise ValueError(
            f"{path} must hold plain ids in {name!r}, got pickled objects, never loaded; save "
            "np.array(ids, dtype=str)"
        )
    if len(shape) != 1 or not _KINDS.fullmatch(dtype):
        raise ValueError(
            f"{path} must hold ids as an array [n] of integers or text in {name!r}, got {dtype} "
            f"[{', '.join(map(str, shape))}]; name another with ids (--ids)"
        )
    bits = int(re.sub("[a-z]", "", dtype) or 8)
    check_held(str(path), f"the ids {name!r}", shape[0] * (bits // 8 + ID_BYTES), REMEDY)


def listed(array: Any) -> list[Any]:
    """The values of an array as Python integers and text; bytes must be UTF-8."""
    return [value.decode() if isinstance(value, bytes) else value for value in array.tolist()]
