"""Files with tables, JSON and arrays, written completely or not at all; nothing is pickled."""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ctflow.storage.folders import atomic
from ctflow.storage.reading import readable

# Further errors that NumPy and zipfile raise for damaged archives: encrypted members, missing members, and
# headers that are not Python literals.
_NPZ_DAMAGE = (RuntimeError, KeyError, SyntaxError, TypeError)


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Turn the rows of a table, dicts with the same keys, into columns."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Any]) -> None:
    """Write columns of equal length as a CSV table; floats keep 10 significant digits."""
    values = [np.asarray(column) for column in columns.values()]
    lengths = {len(column) for column in values}
    if len(lengths) != 1:
        raise ValueError(f"columns must be equally long, got lengths {sorted(lengths)}")
    with atomic(path) as file:
        rows = [columns.keys(), *zip(*([_cell(v) for v in column] for column in values), strict=True)]
        text = "".join(",".join(row) + "\n" for row in rows)
        file.write(text.encode())


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    text = str(value)
    if any(mark in text for mark in ',"\n'):
        raise ValueError(f"text in a table must be free of commas, quotes and line ends, got {text!r}")
    return text


def read_csv(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a table that `write_csv` wrote: numeric columns as numbers, other columns as text.

    Raises:
        ValueError: the file is not a table, or its rows differ in length.
    """
    with open(path, newline="", encoding="utf-8") as file:
        try:
            header, *rows = csv.reader(file)
        except csv.Error as error:
            raise ValueError(f"{str(path)!r} must be a table ({error}); check it") from error
    bad = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if bad is not None:
        raise ValueError(
            f"{str(path)!r} must have rows of {len(header)} cells, row {bad} has {len(rows[bad])}; check it"
        )
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(header)}
    return {name: _numbers(column) for name, column in columns.items()}


def _numbers(column: np.ndarray) -> np.ndarray:
    for kind in (int, float):
        try:
            return column.astype(kind)
        except ValueError:
            continue
    return column


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON; keys keep their order."""
    with atomic(path) as file:
        file.write((json.dumps(content, indent=1, default=plain) + "\n").encode())


def plain(value: Any) -> Any:
    """Convert a value that JSON cannot represent: arrays to lists or numbers, all else to text."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def save_as(path: str | os.PathLike[str], writers: Mapping[str, Callable[[], Any]]) -> None:
    """Write a result in the form that the path's ending names; a failure leaves no partial file.

    Args:
        path: the file.
        writers: for each ending, a function that returns text, the columns of a CSV table, or an object with
            a method `save(path)`, such as a picture.

    Raises:
        ValueError: the path has another ending.
    """
    ending = os.path.splitext(os.fspath(path))[1]
    if ending not in writers:
        *first, last = writers
        known = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"path must end in {known}, got {os.fspath(path)!r}")
    content = writers[ending]()
    if isinstance(content, str):
        with atomic(path) as file:
            file.write(content.encode())
    elif isinstance(content, Mapping):
        write_csv(path, content)
    else:
        content.save(path)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: bool = False) -> list[str]:
    """The lines of a table of text, with columns aligned to the right, or to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    place = str.ljust if left else str.rjust
    return ["  ".join(map(place, row, widths)).rstrip() for row in (head, *rows)]


def plain_tree(content: Any) -> Any:
    """The same content in plain Python types, for JSON: tuples become lists, NaN and infinity None."""
    if isinstance(content, dict):
        return {key: plain_tree(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain_tree(value) for value in content]
    if isinstance(content, np.ndarray | np.generic):
        return plain_tree(content.tolist())
    if isinstance(content, float):
        return content if np.isfinite(content) else None
    return content if content is None or isinstance(content, str | int | bool) else str(content)


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write named arrays as a compressed .npz."""
    with atomic(path) as file:
        plain: dict[str, Any] = {name: np.asarray(a) for name, a in arrays.items()}
        np.savez_compressed(file, **plain)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read an .npz file of plain arrays; pickled content is refused."""
    # Opened here, since np.load does not close a damaged file.
    with (
        readable(str(path), ".npz file of plain arrays", *_NPZ_DAMAGE),
        open(path, "rb") as stream,
        np.load(stream, allow_pickle=False) as file,
    ):
        return {name: file[name] for name in file.files}
