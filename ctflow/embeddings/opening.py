"""Opening of files, folders and arrays of embeddings, and of pairs of them."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings import readers as files
from ctflow.embeddings.array_likes import as_array
from ctflow.embeddings.readers import Part
from ctflow.embeddings.rows import Embeddings
from ctflow.storage.reading import check_file, existing_path, readable

_READERS: dict[str, Any] = {
    ".npy": lambda path, column: files.npy(path),
    ".npz": files.Zipped,
    ".safetensors": files.safetensors,
    ".parquet": files.Parquet,
    ".h5": files.Hdf5,
    ".hdf5": files.Hdf5,
}


def open_embeddings(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    normalize: bool = False,
    name: str | None = None,
) -> Embeddings:
    """Open a file of embeddings, or a folder of shards, ordered by the numbers in their names.

    The formats are .npy, .npz, .safetensors, .parquet (needs ctflow[parquet]), .h5 and .hdf5 (need
    ctflow[hdf5]). Only headers are read here; rows are read and checked by `Embeddings.rows`.

    Args:
        path: a file, or a folder of files that share one of these endings; shards without rows are skipped.
        column: the array, dataset or column to read, if a file holds several.
        normalize: accept rows of any norm > 0 and bring them to unit norm.
        name: name used in messages; the path by default.

    Raises:
        ValueError: the path holds no floating-point numbers [n, d] with n >= 2 and d >= 2; the shards differ
            in width or dtype; or the extra that reads this format is not installed.
    """
    path = existing_path(path)
    parts = [_open_part(file, column) for file in (_shards(path) if path.is_dir() else [path])]
    filled = [part for part in parts if part.shape[0] > 0]
    label = name or (path.name if path.is_dir() else path.stem)
    return Embeddings(name or str(path), filled or parts[:1], normalize=normalize, label=label)


def _shards(folder: Path) -> list[Path]:
    """The embedding files of a folder in the order of their numbers, so that `_10` follows `_9`."""
    with readable(str(folder), "folder"):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    shards = [entry for entry in inside if entry.suffix.lower() in _READERS]
    kinds = sorted({entry.suffix.lower() for entry in shards})
    if len(kinds) != 1:
        folders = sorted(f"{entry.name}/" for entry in inside if entry.is_dir())
        got = ", ".join(kinds or folders) or "none"
        raise ValueError(
            f"{folder} must hold files with one of the endings {', '.join(_READERS)}, got {got}; give the "
            "path of such a file or folder"
        )
    return sorted(shards, key=lambda entry: (_natural(entry.name), entry.name))


def _natural(name: str) -> list[str | int]:
    """A name split into alternating text and numbers, as a sort key."""
    return [int(word) if i % 2 else word for i, word in enumerate(re.split("([0-9]+)", name))]


def _open_part(path: Path, column: str | None) -> Part:
    """Open one file with the reader for its ending."""
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise ValueError(f"{path} must end in one of {', '.join(_READERS)}; save it with np.save")
    check_file(path)
    if ending == ".npy" and column is not None:
        raise ValueError(f"{path} holds one array without a name, got column {column!r}; leave column out")
    part = _READERS[ending](path, column)
    files.check_table(part.name, part.shape, part.dtype.name)
    files.check_promise(part.name, part, path.stat().st_size)
    return part


def as_embeddings(array_or_embeddings: Any, *, name: str, normalize: bool = False) -> Embeddings:
    """Turn an array [n, d] of NumPy, JAX or another library into embeddings; pass embeddings through.

    Args:
        array_or_embeddings: an array, which is not copied if NumPy can view its memory, or embeddings.
        name: name of an array in messages; embeddings keep their own name.
        normalize: accept rows of any norm > 0 and bring them to unit norm.

    Raises:
        ValueError: this is no floating-point array [n, d] with n >= 2 and d >= 2. For a list, a path, None
            or another library's object, the message gives the line of code that converts it.
    """
    given = array_or_embeddings
    if isinstance(given, Embeddings):
        return given.normalized() if normalize else given
    array = as_array(name, given)
    files.check_table(name, array.shape, array.dtype.name)
    return Embeddings(name, [files.Memory(name, array)], normalize=normalize)


def open_pair(folder: str | os.PathLike[str], *, normalize: bool = False) -> tuple[Embeddings, Embeddings]:
    """Open the images and texts of a clip-retrieval folder, `img_emb/` and `text_emb/`; rows i are partners.

    Raises:
        ValueError: a folder is missing or cannot be opened; or their shards differ in number, rows or width,
            so that rows i would not be partners.
    """
    root = existing_path(folder)
    names = ("img_emb", "text_emb")
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise ValueError(
            f"{root} must hold the folders img_emb and text_emb, but has no {' and no '.join(missing)}"
        )
    x, y = (open_embeddings(root / name, normalize=normalize) for name in names)
    if x.shape != y.shape:
        raise ValueError(f"{x.name} and {y.name} must pair row by row, got shapes {x.shape} and {y.shape}")
    layouts = [[(_natural(Path(file).stem)[1::2], n) for file, n in side.shards()] for side in (x, y)]
    if layouts[0] != layouts[1]:
        raise ValueError(
            f"{x.name} and {y.name} must have shards with equal numbers in their names and equal row counts, "
            "or row i is no partner of row i; add what is missing, or open each with open_embeddings"
        )
    return x, y
