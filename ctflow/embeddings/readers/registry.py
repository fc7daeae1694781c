"""Which reader opens which kind of file, and what to do with files that none opens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctflow.embeddings.readers.arrow import Arrow
from ctflow.embeddings.readers.flat import npy
from ctflow.embeddings.readers.hdf5 import Hdf5
from ctflow.embeddings.readers.json_lines import json_lines
from ctflow.embeddings.readers.parquet import Parquet
from ctflow.embeddings.readers.parts import Part, check_held, check_promise, check_table
from ctflow.embeddings.readers.safetensors_files import safetensors
from ctflow.embeddings.readers.separated import separated
from ctflow.embeddings.readers.tensors import tensors
from ctflow.embeddings.readers.text import SAVE
from ctflow.embeddings.readers.zipped import Zipped
from ctflow.storage.reading import check_file

READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".npy": lambda path, column: npy(path),
    ".npz": Zipped,
    ".safetensors": safetensors,
    ".pt": tensors,
    ".pth": tensors,
    ".parquet": Parquet,
    ".arrow": Arrow,
    ".feather": Arrow,
    ".csv": separated,
    ".tsv": separated,
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_lines,
    ".h5": Hdf5,
    ".hdf5": Hdf5,
    ".hdf": Hdf5,
    ".he5": Hdf5,
}
"""The reader of each ending."""
ARRAYS = (".npy", ".npz", ".safetensors", ".parquet", ".h5", ".hdf5", ".hdf", ".he5")
"""Endings of files that are taken for the shards of a folder, whatever other files lie beside them."""
_NAMELESS = (".npy",)
_FAISS = "np.save('rows.npy', faiss.read_index({path!r}).reconstruct_n())"
RECIPES = {
    ".index": ("an index of FAISS", _FAISS),
    ".faiss": ("an index of FAISS", _FAISS),
    ".lance": (
        "a Lance data set",
        "pyarrow.parquet.write_table(lance.dataset({path!r}).to_table(), 'rows.parquet')",
    ),
    ".pkl": ("a pickle, which could run code and is never loaded", "np.save('rows.npy', array)"),
    ".pickle": ("a pickle, which could run code and is never loaded", "np.save('rows.npy', array)"),
}
"""What files with other endings are, and the line of Python that converts them."""


def ending_of(path: Path) -> str:
    """The ending of a file's name, in lower case."""
    return path.suffix.lower()


def open_raw(path: Path, column: str | None) -> Any:
    """Open one file with the reader for its ending; the shape may be other than [n, d].

    Raises:
        ValueError: no reader opens this ending, or the file is damaged, empty or holds no numbers.
    """
    ending = ending_of(path)
    if ending not in READERS:
        raise ValueError(_refusal(path))
    check_file(path)
    if ending in _NAMELESS and column is not None:
        raise ValueError(f"{path} holds one array without a name, got column {column!r}; leave column out")
    return READERS[ending](path, column)


def check_together(name: str, found: list[Any]) -> None:
    """Raise ValueError if files that are decoded as a whole, text and tensors, take too much together."""
    check_held(name, "the files together", sum(getattr(part, "held", 0) for part in found), SAVE)


def check_part(path: Path, part: Any) -> Part:
    """The part, if it is a table [n, d] of numbers that the file can hold; else raise ValueError."""
    check_table(part.name, part.shape, part.dtype.name)
    check_promise(part.name, part, path.stat().st_size)
    return part


def _refusal(path: Path) -> str:
    what, code = RECIPES.get(ending_of(path), ("", ""))
    if what:
        return f"{path} is {what}; write its rows with {code.format(path=str(path))}"
    return f"{path} must end in one of {', '.join(READERS)}; save it with np.save"
