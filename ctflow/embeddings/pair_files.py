"""Files of index pairs: which row of one modality belongs to which row of the other."""

import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.ids import as_ids
from ctflow.embeddings.readers import ending_of, npy
from ctflow.embeddings.readers.parquet import names as parquet_names
from ctflow.embeddings.readers.parquet import values as parquet_values
from ctflow.embeddings.readers.separated import table
from ctflow.storage.reading import check_file, existing_path, readable

_PAIR = re.compile(r"\s*(-?[0-9]{1,18})[\s,;]+(-?[0-9]{1,18})\s*", re.ASCII)
# A first line that holds a number is not a heading.
_NUMERIC = re.compile(r"(?:^|[\s,;])[-+.]?[0-9]")
# What pandas calls an index that it wrote as a column.
_INDEX = re.compile(r"|Unnamed: 0|__index_level_0__")
ENDINGS = (".npy", ".csv", ".tsv", ".txt", ".parquet")


def read_pairs(
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    *,
    ids: tuple[Sequence[str], Sequence[str]] | None = None,
) -> np.ndarray:
    """Read index pairs [p, 2], int64: row of x and row of y, counted from 0.

    Args:
        path: .npy of integers [p, 2]; .csv, .tsv or .txt with two integers per line, separated by a comma,
            semicolon or spaces, with or without a heading in the first line; or .csv, .tsv or .parquet with
            two columns, besides an index that pandas wrote.
        shape: numbers of rows of x and of y; the indices must be smaller.
        ids: the ids of the rows of x and of y, from `read_ids`. The columns of the file then hold ids.

    Raises:
        ValueError: the file does not exist, holds no pairs of integers, or an index is out of range; or an id
            is unknown, or the rows have another number than their ids.
    """
    path = existing_path(path)
    ending = ending_of(path)
    if ending not in ENDINGS:
        raise ValueError(
            f"{path} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, got {ending!r}; convert the file"
        )
    check_file(path)
    if ids is not None:
        for side, (n, known) in enumerate(zip(shape, ids, strict=True)):
            if len(known) != n:
                raise ValueError(
                    f"ids must name all {n} rows of {'xy'[side]}, got {len(known)} ids; save one per row"
                )
        return _by_ids(path, ids)
    pairs, places = _index_pairs(path, ending)
    for side, n in enumerate(shape):
        bad = np.flatnonzero((pairs[:, side] < 0) | (pairs[:, side] >= n))
        if bad.size:
            raise ValueError(
                f"{path} must hold rows of {'xy'[side]} in [0, {n}), violated by {bad.size} of {len(pairs)} "
                f"pairs: {places[0]} {places[1][bad[0]]} holds {pairs[bad[0], side]}; correct them"
            )
    return pairs.astype(np.int64)


def _index_pairs(path: Path, ending: str) -> tuple[np.ndarray, tuple[str, Any]]:
    """Pairs [p, 2] of integers, and the name and numbers of their places for messages."""
    if ending == ".npy":
        return _array_pairs(path)
    if ending == ".parquet" or (ending in (".csv", ".tsv") and _has_index(path)):
        columns = _columns(path)
        try:
            pairs = np.array([[int(value) for value in column] for column in columns], np.int64).T
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"{path} must hold two columns of integers, got other values; if these are ids, name the "
                "column of ids in the files of embeddings with --ids"
            ) from None
        if not len(pairs):
            raise ValueError(f"{path} must hold integers [p, 2], p >= 1, got {len(pairs)} pairs")
        return pairs, ("row", np.arange(len(pairs)))
    return _text_pairs(path)


def _by_ids(path: Path, ids: tuple[Sequence[str], Sequence[str]]) -> np.ndarray:
    """Pairs [p, 2] of a file with two columns of ids."""
    columns = [as_ids(column, str(path)) for column in _columns(path, ids)]
    if not columns[0]:
        raise ValueError(f"{path} must hold pairs of ids, got none")
    found = []
    for side, (column, known) in enumerate(zip(columns, ids, strict=True)):
        place = {each: row for row, each in enumerate(known)}
        missing = [each for each in column if each not in place]
        if missing:
            raise ValueError(
                f"{path} must hold ids of {'xy'[side]}, violated by {len(missing)} of {len(column)} pairs: "
                f"the first is {missing[0]!r}; correct them"
            )
        found.append([place[each] for each in column])
    return np.array(found, np.int64).T


def _columns(path: Path, ids: tuple[Sequence[str], Sequence[str]] | None = None) -> list[list[Any]]:
    """The two columns of a table, besides an index. A first line of known ids is no heading.

    Raises:
        ValueError: there are fewer or more columns, or the file is damaged.
    """
    ending = ending_of(path)
    if ending not in (".csv", ".tsv", ".parquet"):
        raise ValueError(f"{path} must end in .csv, .tsv or .parquet to hold ids; convert the file")
    names, cells = (parquet_names(path), None) if ending == ".parquet" else table(path)
    kept = [name for name in names if not _INDEX.fullmatch(name)]
    if len(kept) != 2:
        raise ValueError(
            f"{path} must hold two columns, of x and of y, got {', '.join(kept[:8]) or 'none'}; drop the "
            "others"
        )
    if cells is None:
        return [parquet_values(path, name) for name in kept]
    bare = ids is not None and all(name in known for name, known in zip(kept, ids, strict=True))
    return [[name] * bare + cells[names.index(name)] for name in kept]


def _has_index(path: Path) -> bool:
    """Whether the heading begins with an index that pandas wrote."""
    with readable(str(path), "file of pairs"), open(path, encoding="utf-8-sig") as file:
        return file.readline(1000).startswith((",", ";", "\t", "Unnamed: 0"))


def _array_pairs(path: Path) -> tuple[np.ndarray, tuple[str, Any]]:
    """Pairs [p, 2] of an .npy file, and the name and numbers of their places for messages."""
    found = npy(path)
    if len(found.shape) != 2 or found.shape[1] != 2 or found.shape[0] < 1 or found.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold integers [p, 2], p >= 1, got {found.dtype} {list(found.shape)}")
    numbers = np.arange(found.shape[0])
    pairs = np.empty(found.shape, found.dtype)
    found.read(numbers, pairs)
    return pairs, ("row", numbers)


def _text_pairs(path: Path) -> tuple[np.ndarray, tuple[str, Any]]:
    """Pairs [p, 2] of a text file, and the name and numbers of their places for messages."""
    found, lines = array("q"), array("q")
    with readable(str(path), "file of two integers per line"), open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if pair := _PAIR.fullmatch(line):
                found.extend(map(int, pair.groups()))
                lines.append(number)
            elif line.strip() and (number > 1 or _NUMERIC.search(line)):
                raise ValueError(f"line {number} is {line.strip()[:40]!r}")
        if not lines:
            raise ValueError("it holds no pairs")
    return np.asarray(found).reshape(-1, 2), ("line", lines)
