"""Reader of a column of lists, or of many columns of numbers, in a Parquet file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.lists import choose_columns, leaves, refusal, rows_of
from ctflow.embeddings.readers.parquet_pages import Page, pages
from ctflow.embeddings.readers.parts import check_piece, check_whole, extra, spans
from ctflow.storage.reading import readable

_BATCH_BYTES = 1 << 22
_BUFFER_BYTES, _LEAST_BUFFER = 1 << 20, 1 << 13
# Each value is decoded with two levels of two bytes, which mark the starts of lists and nulls.
_LEVEL_BYTES = 4
_ID_BYTES = 64
"""Bytes of an id as a Python object."""
_PLAIN = tuple(
    f"{start}{kind}"
    for start in ("", "dictionary<values=")
    for kind in ("int", "uint", "string", "large_string")
)
_REMEDY = "write it in smaller row groups and pages (row_group_size=, data_page_size=)"


class Parquet:
    """Rows in a Parquet file, decoded in batches, forward within a row group.

    A row group is decoded at most once per call, and only once in total if rows increase from call to call.
    The sizes of its pages are checked before it is decoded.
    """

    def __init__(self, path: Path, column: str | None):
        self.name, self._path, self._file = str(path), path, None
        self._arrow = extra("pyarrow", "parquet", self.name)
        self._parquet = extra("pyarrow.parquet", "parquet", self.name)
        with self._readable(), self._open() as file:
            types = {field.name: field.type for field in file.schema_arrow}
            places = np.cumsum([0, *map(leaves, types.values())]).tolist()
            counts = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        n = sum(counts)
        self._chosen = choose_columns(self.name, types, n, column)
        order = list(types)
        self._leaves = [places[order.index(key)] for key in self._chosen.columns]
        self._starts = np.cumsum([0, *counts])[:-1]
        self._sound: set[int] = set()
        self.dtype = self._chosen.dtype
        self._at = 0
        if n:
            self._check_group(int(np.flatnonzero(counts)[0]))
        self.shape = (n, self._first_length() if n else 0)
        self.close()

    def _readable(self) -> Any:
        # Arrow raises exceptions of its own, and also KeyError and NotImplementedError, which `readable`
        # does not catch unless they are given.
        return readable(self.name, ".parquet file", self._arrow.ArrowException, KeyError, NotImplementedError)

    def _open(self, columns: int = 1) -> Any:
        # Without pre-buffering, a column is read in pieces and not as a whole row group.
        # The buffers of all columns together have about this size.
        size = max(_LEAST_BUFFER, _BUFFER_BYTES // columns)
        return self._parquet.ParquetFile(self._path, pre_buffer=False, buffer_size=size)

    def _first_length(self) -> int:
        with self._readable(), self._open(len(self._chosen.columns)) as file:
            batch = self._next(file.iter_batches(1, columns=[*self._chosen.columns]))
        return rows_of(self._chosen, batch, None, self._refusal).shape[1]

    def _next(self, batches: Any) -> Any:
        """The next batch."""
        batch = next(batches, None)
        if batch is None or not len(batch):
            raise EOFError("it holds fewer rows than its footer says")
        return batch

    def _refusal(self, row: int, fault: str) -> ValueError:
        """The exception for a row of the current batch."""
        return refusal(self.name, self._chosen.name, self._at + row, fault)

    def _check_group(self, group: int) -> None:
        """Raise ValueError if a row group's column is in another file or would need too much memory."""
        if group in self._sound:
            return
        with self._readable(), open(self._path, "rb") as raw, self._open() as file:
            metadata = file.metadata.row_group(group)
            outside = any(metadata.column(leaf).file_path for leaf in self._leaves)
            columns = [] if outside else [metadata.column(leaf) for leaf in self._leaves]
            found = [list(_pages(self._path, raw, column)) for column in columns]
        if outside:
            raise ValueError(
                f"{self.name} must hold its numbers itself, got column {self._chosen.name!r} in another "
                "file; no other file is read: copy the numbers into one file"
            )
        _check_pages(self._path, f"row group {group}", found, self.dtype.itemsize)
        self._sound.add(group)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        done = 0
        for first, stop in spans(rows):
            while first < stop:
                self._decode(first)
                piece = self._block[first - self._at : stop - self._at]
                out[done : done + len(piece)] = piece
                first, done = first + len(piece), done + len(piece)

    def _decode(self, row: int) -> None:
        """Decode forward until the block holds the row; an earlier row or another group needs a new start."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        self._check_group(group)
        with self._readable():
            if self._group != group or row < self._at:
                self._file = self._file or self._open(len(self._chosen.columns))
                size = max(1, _BATCH_BYTES // (self.shape[1] * self.dtype.itemsize))
                columns = [*self._chosen.columns]
                self._batches = self._file.iter_batches(size, row_groups=[group], columns=columns)
                self._group, self._at, self._block = group, int(self._starts[group]), self._block[:0]
        while row >= self._at + len(self._block):
            self._at += len(self._block)
            with self._readable():
                batch = self._next(self._batches)
            self._block = rows_of(self._chosen, batch, self.shape[1], self._refusal)

    def close(self) -> None:
        """Close the file and drop the decoded block."""
        if self._file is not None:
            self._file.close()
        self._file, self._batches, self._group, self._at = None, iter(()), -1, 0
        self._block = np.empty((0, self.shape[1]), self.dtype)


def _pages(path: Path, raw: Any, column: Any) -> Iterator[Page]:
    """The pages of one column of a row group."""
    first, size = column.data_page_offset, column.total_compressed_size
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < first:
        first = column.dictionary_page_offset
    stored = min(size, path.stat().st_size - first)
    return pages(raw, first, stored, column.num_values)


def _check_pages(path: Path, what: str, columns: list[list[Page]], width: int) -> None:
    """Raise ValueError if pages with values of this width in bytes would take too much memory.

    One page of each column is unpacked at once.
    """
    whole = path.stat().st_size
    largest = sum(
        max((max(page.unpacked, page.entries * width) for page in pages), default=0) for pages in columns
    )
    check_piece(str(path), f"a page of {what}", largest, whole, _REMEDY)
    # Before decoding, a single row could be as long as the whole row group.
    decoded = sum(page.values for pages in columns for page in pages) * (width + _LEVEL_BYTES)
    check_whole(str(path), what, decoded, whole, _REMEDY)


def names(path: Path) -> list[str]:
    """The names of the columns of a Parquet file."""
    arrow, parquet = extra("pyarrow", "parquet", str(path)), extra("pyarrow.parquet", "parquet", str(path))
    with readable(str(path), ".parquet file", arrow.ArrowException), parquet.ParquetFile(path) as file:
        return file.schema_arrow.names


def values(path: Path, name: str) -> list[Any]:
    """The values of one column of numbers or text in a Parquet file.

    Raises:
        ValueError: there is no such column, or it is damaged or too large.
    """
    arrow, parquet = extra("pyarrow", "parquet", str(path)), extra("pyarrow.parquet", "parquet", str(path))
    found: list[Any] = []
    with readable(str(path), ".parquet file", arrow.ArrowException, KeyError, NotImplementedError):
        with parquet.ParquetFile(path) as file:
            kinds = {field.name: str(field.type) for field in file.schema_arrow}
        if name not in kinds:
            raise ValueError(f"it has no column {name!r} but {', '.join(list(kinds)[:8])}")
        if not kinds[name].startswith(_PLAIN):
            raise ValueError(f"its column {name!r} holds {kinds[name]}, must hold text or integers")
        # Dictionaries are kept, so that a repeated value takes no memory for each row.
        options = {"pre_buffer": False, "read_dictionary": [name]}
        with open(path, "rb") as raw, parquet.ParquetFile(path, **options) as file:
            leaf = sum(leaves(field.type) for field in list(file.schema_arrow)[: list(kinds).index(name)])
            for group in range(file.metadata.num_row_groups):
                column = file.metadata.row_group(group).column(leaf)
                if column.file_path:
                    raise ValueError(f"column {name!r} is in another file")
                _check_pages(path, f"row group {group}", [list(_pages(path, raw, column))], _ID_BYTES)
            for batch in file.iter_batches(columns=[name]):
                found += _listed(batch.column(0))
    return found


def _listed(column: Any) -> list[Any]:
    """The values of a column; rows with one entry of a dictionary share one object, however long it is."""
    if not hasattr(column, "dictionary"):
        return column.to_pylist()
    entries = column.dictionary.to_pylist()
    return [None if i is None else entries[i] for i in column.indices.to_pylist()]
