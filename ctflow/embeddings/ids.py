"""Ids of rows: text or integers beside the embeddings, by which a file of pairs names rows."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.folders import files_of
from ctflow.embeddings.readers import ending_of
from ctflow.embeddings.readers.arrow_ids import values as arrow_values
from ctflow.embeddings.readers.hdf5_ids import values as hdf5_values
from ctflow.embeddings.readers.id_arrays import LONGEST
from ctflow.embeddings.readers.json_lines import records, whole_object
from ctflow.embeddings.readers.parquet import values as parquet_values
from ctflow.embeddings.readers.safetensors_files import values as safetensors_values
from ctflow.embeddings.readers.separated import column_of
from ctflow.embeddings.readers.zipped import values as npz_values
from ctflow.storage.reading import existing_path


def _of_json(path: Path, name: str) -> list[Any]:
    if (whole := whole_object(path)) is not None:
        return whole.ids(name)
    found = list(records(path))
    if not all(isinstance(record, dict) and name in record for record in found):
        raise ValueError(f"{path} must have {name!r} in every record; name another with ids (--ids)")
    return [record[name] for record in found if isinstance(record, dict)]


READERS: dict[str, Callable[[Path, str], list[Any]]] = {
    ".parquet": parquet_values,
    ".arrow": arrow_values,
    ".feather": arrow_values,
    ".csv": column_of,
    ".tsv": column_of,
    ".jsonl": _of_json,
    ".ndjson": _of_json,
    ".json": _of_json,
    ".npz": npz_values,
    ".safetensors": safetensors_values,
    ".h5": hdf5_values,
    ".hdf5": hdf5_values,
    ".hdf": hdf5_values,
    ".he5": hdf5_values,
}


def read_ids(path: str | os.PathLike[str], name: str) -> list[str]:
    """Read the ids of the rows of a file or folder of embeddings, in the order of its rows, as text.

    Args:
        path: a table with a column of ids: .parquet, .arrow, .feather, .csv, .tsv, .jsonl, .ndjson or .json;
            a file with an array [n] of ids: .npz, .h5 or .hdf5, or .safetensors with integers; or a folder of
            such files that `open_embeddings` reads as shards.
        name: name of the column or array. Integers and text with the same digits are the same id.

    Raises:
        ValueError: the format has no ids; the column or array is missing; or two rows have one id.
    """
    found: list[str] = []
    for file in files_of(existing_path(path)):
        ending = ending_of(file)
        if ending not in READERS:
            raise ValueError(f"{file} has no column of ids; ids are read from {', '.join(READERS)}")
        found += as_ids(READERS[ending](file, name), f"{file}, column {name!r}")
    if len(set(found)) < len(found):
        first: dict[str, int] = {}
        for row, each in enumerate(found):
            if first.setdefault(each, row) != row:
                raise ValueError(
                    f"{path} must have one row per id in column {name!r}, got {each!r} in rows "
                    f"{first[each]} and {row}; drop one"
                )
    return found


def as_ids(values: Sequence[Any], what: str) -> list[str]:
    """Values as ids; ValueError for anything but short text and integers."""
    for row, value in enumerate(values):
        is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not is_integer and not (isinstance(value, str) and 0 < len(value) <= LONGEST):
            shown = repr(value)[:40]
            raise ValueError(f"{what} must hold integers or short text, got {shown} in row {row}")
    return [str(value) for value in values]
