"""Files of index pairs: which row of one modality belongs to which row of the other."""

import os
import re
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers import npy
from ctflow.storage.reading import check_file, existing_path, readable

_PAIR = re.compile(r"\s*(-?[0-9]{1,18})[\s,;]+(-?[0-9]{1,18})\s*", re.ASCII)
# A first line that holds a number is not a heading.
_NUMERIC = re.compile(r"(?:^|[\s,;])[-+.]?[0-9]")


def read_pairs(path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Read index pairs [p, 2], int64: row of x and row of y, counted from 0.

    Args:
        path: .npy of integers [p, 2]; or .csv or .txt with two integers per line, separated by a comma,
            semicolon or spaces, with or without a heading in the first line.
        shape: numbers of rows of x and of y; the indices must be smaller.

    Raises:
        ValueError: the file does not exist, holds no pairs of integers, or an index is out of range.
    """
    path = existing_path(path)
    ending = path.suffix.lower()
    if ending not in (".npy", ".csv", ".txt"):
        raise ValueError(f"{path} must end in .npy, .csv or .txt, got {ending!r}; convert the file")
    check_file(path)
    pairs, places = _array_pairs(path) if ending == ".npy" else _text_pairs(path)
    for side, n in enumerate(shape):
        bad = np.flatnonzero((pairs[:, side] < 0) | (pairs[:, side] >= n))
        if bad.size:
            raise ValueError(
                f"{path} must hold rows of {'xy'[side]} in [0, {n}), violated by {bad.size} of {len(pairs)} "
                f"pairs: {places[0]} {places[1][bad[0]]} holds {pairs[bad[0], side]}; correct them"
            )
    return pairs.astype(np.int64)


def _array_pairs(path: Path) -> tuple[np.ndarray, tuple[str, Any]]:
    """Pairs [p, 2] of an .npy file, and the name and numbers of their places for messages."""
    table = npy(path)
    if len(table.shape) != 2 or table.shape[1] != 2 or table.shape[0] < 1 or table.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold integers [p, 2], p >= 1, got {table.dtype} {list(table.shape)}")
    numbers = np.arange(table.shape[0])
    pairs = np.empty(table.shape, table.dtype)
    table.read(numbers, pairs)
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
