"""Reader of .csv and .tsv: a column with a list per record, or many columns with a number per record."""

import csv
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from ctflow.embeddings.readers.parts import check_whole
from ctflow.embeddings.readers.text import Decoded, choose_columns, is_number, lines, numbers
from ctflow.storage.reading import readable

_PEEKED = 64
_OPEN, _CLOSE = "[({", "])}"
_EVERY, _CELL_BYTES = 10_000, 64
_KIND = "file of separated values"


class _Layout(NamedTuple):
    """Where the rows are in the records."""

    heading: bool
    name: str
    places: tuple[int, ...]
    """Fields that hold the numbers of a row, or the one field that holds a list."""
    lists: bool


def separated(path: Path, column: str | None) -> Decoded:
    """Decode the rows of a .csv or .tsv file, with or without a heading.

    Raises:
        ValueError: no columns, or several, may be the rows; or a record is damaged.
    """
    with readable(str(path), _KIND, csv.Error), open(path, encoding="utf-8-sig", newline="") as file:
        first = list(islice(_records(path, file), _PEEKED))
    layout = _layout(path, first, column)
    return Decoded(path, layout.name, _rows(path, layout))


def column_of(path: Path, name: str) -> list[str]:
    """The cells of one column of a .csv or .tsv file with a heading.

    Raises:
        ValueError: there is no such column.
    """
    names, cells = table(path, name)
    return cells[names.index(name)]


def table(path: Path, name: str | None = None) -> tuple[list[str], list[list[str]]]:
    """The names in the heading of a .csv or .tsv file, and the cells of each column, or of the named one.

    Raises:
        ValueError: there is no such column, a record is damaged, or the cells would take too much memory.
    """
    with readable(str(path), _KIND, csv.Error), open(path, encoding="utf-8-sig", newline="") as file:
        found = _records(path, file)
        names = next(found, [])
        if name is not None and name not in names:
            raise ValueError(f"it has no column {name!r} but {', '.join(names[:8])}")
        kept = [i for i, each in enumerate(names) if name in (None, each)]
        cells: list[list[str]] = [[] for _ in names]
        stored = path.stat().st_size
        for number, record in enumerate(found):
            if number % _EVERY == 0:
                check_whole(str(path), "its cells", number * len(kept) * _CELL_BYTES, stored, "split it")
            for i in kept:
                cells[i].append(record[i])
    return names, cells


def _records(path: Path, file: TextIO) -> Iterator[list[str]]:
    """The records of the file, without empty lines; all must have as many fields as the first."""
    text = lines(file)
    first = next(text, "")
    sign = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    width = None
    for number, record in enumerate(csv.reader(chain([first], text), delimiter=sign, strict=True), start=1):
        if not record:
            continue
        width = len(record) if width is None else width
        if len(record) != width:
            raise ValueError(f"record {number} has {len(record)} fields, but the first has {width}")
        yield record


def _rows(path: Path, layout: _Layout) -> Iterator[np.ndarray]:
    with readable(str(path), _KIND, csv.Error), open(path, encoding="utf-8-sig", newline="") as file:
        for row, record in enumerate(islice(_records(path, file), int(layout.heading), None)):
            cells = [record[place] for place in layout.places]
            yield numbers(_listed(cells[0], row) if layout.lists else cells, row)


def _listed(cell: str, row: int) -> list[str]:
    """The numbers in the text of a list, as JSON, Python, NumPy or PostgreSQL write it."""
    text = cell.strip()
    if "..." in text:
        raise ValueError(f"row {row} is abbreviated with '...', as NumPy prints arrays; write .tolist()")
    if len(text) < 2 or text[0] not in _OPEN or text[-1] not in _CLOSE:
        raise ValueError(f"row {row} is no list but {text[:40]!r}; drop such rows")
    return text[1:-1].replace(",", " ").split()


def _is_heading(first: list[list[str]]) -> bool:
    """Whether the first record is a heading: it holds other things than numbers and lists, or it counts."""
    names = first[0]
    if all(name.strip().isdecimal() for name in names) and len(names) > 1:
        counted = [int(name[:18]) for name in names]
        return counted == list(range(counted[0], counted[0] + len(names))) and counted[0] in (0, 1)
    return not all(is_number(name) or _is_list(name) for name in names)


def _is_list(cell: str) -> bool:
    text = cell.strip()
    return len(text) > 1 and text[0] in _OPEN and text[-1] in _CLOSE


def _layout(path: Path, first: list[list[str]], column: str | None) -> _Layout:
    """Find the rows in the first records."""
    heading = bool(first) and _is_heading(first)
    records = first[1:] if heading else first
    if not records:
        raise ValueError(f"{path} must have n >= 2 rows, got none")
    names = first[0] if heading else [f"column_{i}" for i in range(len(first[0]))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path} must have columns with different names, got {twice!r} twice; rename one")
    kinds = {name: _kind([record[i] for record in records]) for i, name in enumerate(names)}
    chosen = choose_columns(path, kinds, dict.fromkeys(names, "?"), column)
    return _Layout(heading, chosen.name, tuple(map(names.index, chosen.columns)), chosen.lists)


def _kind(cells: list[str]) -> str:
    """What the first cells of a column hold: `list`, `number`, `integer` or `text`."""
    filled = [cell for cell in cells if cell.strip()]
    if filled and all(map(_is_list, filled)):
        return "list"
    if not filled or not all(map(is_number, filled)):
        return "text"
    return "integer" if all(cell.strip().lstrip("+-").isdecimal() for cell in filled) else "number"
