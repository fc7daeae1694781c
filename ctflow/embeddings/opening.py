"""Opening of files, folders and arrays of embeddings."""

import os
from pathlib import Path
from typing import Any

from ctflow.embeddings import readers as files
from ctflow.embeddings.array_likes import as_array
from ctflow.embeddings.folders import files_of
from ctflow.embeddings.readers import Part, check_part, check_together, open_raw
from ctflow.embeddings.rows import Embeddings
from ctflow.storage.reading import existing_path


def open_embeddings(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    normalize: bool = False,
    name: str | None = None,
) -> Embeddings:
    """Open a file of embeddings, or a folder of shards, ordered by the numbers in their names.

    The formats are .npy, .npz, .safetensors; .pt and .pth (need ctflow[torch]); .parquet, .arrow and .feather
    (need ctflow[parquet]); .csv, .tsv, .jsonl, .ndjson and .json; .h5, .hdf5, .hdf and .he5 (need
    ctflow[hdf5]). Only headers are read here, except of text and tensors, which are decoded once; rows are
    read and checked by `Embeddings.rows`.

    Args:
        path: a file; a folder of files that share one of these endings, or of folders `key=value` with such
            files; or a folder of `datasets.save_to_disk`. Shards without rows are skipped.
        column: the array, dataset or column to read, if a file holds several. For many columns of numbers
            `emb_0`, `emb_1`, … it is `emb`.
        normalize: accept rows of any norm > 0 and bring them to unit norm.
        name: name used in messages; the path by default.

    Raises:
        ValueError: the path holds no numbers [n, d] with n >= 2 and d >= 2; the shards differ in width or
            dtype; or the extra that reads this format is not installed.
    """
    path = existing_path(path)
    parts: list[Part] = []
    for file in files_of(path):
        parts.append(open_part(file, column))
        check_together(str(path), parts)
    filled = [part for part in parts if part.shape[0] > 0]
    label = name or (path.name if path.is_dir() else path.stem)
    return Embeddings(name or str(path), filled or parts[:1], normalize=normalize, label=label)


def open_part(path: Path, column: str | None) -> Part:
    """Open one file as a table [n, d] of numbers."""
    return check_part(path, open_raw(path, column))


def as_embeddings(array_or_embeddings: Any, *, name: str, normalize: bool = False) -> Embeddings:
    """Turn an array [n, d] of NumPy or another library, or a path, into embeddings; pass embeddings through.

    Args:
        array_or_embeddings: an array, which is not copied if NumPy can view its memory; a tensor, a list of
            arrays, a column of lists of pandas, polars or Arrow; a path, as for `open_embeddings`; or
            embeddings.
        name: name of an array in messages; embeddings and files keep their own name.
        normalize: accept rows of any norm > 0 and bring them to unit norm.

    Raises:
        ValueError: this is no array of numbers [n, d] with n >= 2 and d >= 2. For None, several columns of
            lists, or another library's object, the message gives the line of code that converts it.
    """
    given = array_or_embeddings
    if isinstance(given, Embeddings):
        return given.normalized() if normalize else given
    if isinstance(given, str | os.PathLike):
        return open_embeddings(given, normalize=normalize)
    array = as_array(name, given)
    files.check_table(name, array.shape, array.dtype.name)
    return Embeddings(name, [files.Memory(name, array)], normalize=normalize)
