"""Reader of one column of lists in a Parquet file."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.parquet_pages import pages
from ctflow.embeddings.readers.parts import NUMBERS, check_piece, check_whole, choose, extra, spans
from ctflow.storage.reading import readable

_BATCH_BYTES = 1 << 22
# Each value is decoded with two levels of two bytes, which mark the starts of lists and nulls.
_LEVEL_BYTES = 4
_REMEDY = "write it in smaller row groups and pages (row_group_size=, data_page_size=)"


class Parquet:
    """One column of lists in a Parquet file, decoded in batches, forward within a row group.

    A row group is decoded at most once per call, and only once in total if rows increase from call to call.
    The sizes of its pages are checked before it is decoded.
    """

    def __init__(self, path: Path, column: str | None):
        self.name, self._path, self._file = str(path), path, None
        self._arrow = extra("pyarrow", "parquet", self.name)
        self._parquet = extra("pyarrow.parquet", "parquet", self.name)
        with self._readable(), self._open() as file:
            types = {field.name: field.type for field in file.schema_arrow}
            leaves = np.cumsum([0, *map(_leaves, types.values())]).tolist()
            counts = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        n = sum(counts)
        found = {key: ((n, *_width(kind)), _numbers_of(kind)) for key, kind in types.items()}
        self._column = choose(self.name, found, column)
        shape, dtype = found[self._column]
        if len(shape) != 2 or dtype not in NUMBERS:
            raise ValueError(
                f"{self.name} must hold lists of floating-point numbers in column {self._column!r}, got "
                f"{types[self._column]}; name another column with column=... (--column)"
            )
        self._leaf = leaves[list(types).index(self._column)]
        self._starts = np.cumsum([0, *counts])[:-1]
        self._sound: set[int] = set()
        self.dtype = np.dtype(dtype)
        if n:
            self._check_group(int(np.flatnonzero(counts)[0]))
        self.shape = (n, self._first_length() if n else 0)
        self.close()

    def _readable(self) -> Any:
        # Arrow raises exceptions of its own, and also KeyError and NotImplementedError, which `readable`
        # does not catch unless they are given.
        return readable(self.name, ".parquet file", self._arrow.ArrowException, KeyError, NotImplementedError)

    def _open(self) -> Any:
        # Without pre-buffering, a column is read in pieces and not as a whole row group.
        return self._parquet.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20)

    def _first_length(self) -> int:
        with self._readable(), self._open() as file:
            first = self._next(file.iter_batches(1, columns=[self._column]))[0].as_py()
        if first is None:
            raise ValueError(f"{self.name}: row 0 of column {self._column!r} is null; drop such rows")
        return len(first)

    def _next(self, batches: Any) -> Any:
        """The lists of the next batch."""
        batch = next(batches, None)
        if batch is None or not len(batch):
            raise EOFError("it holds fewer rows than its footer says")
        return batch.column(self._column)

    def _check_group(self, group: int) -> None:
        """Raise ValueError if a row group's column is in another file or would need too much memory."""
        if group in self._sound:
            return
        with self._readable(), open(self._path, "rb") as raw, self._open() as file:
            column = file.metadata.row_group(group).column(self._leaf)
            first, size = column.data_page_offset, column.total_compressed_size
            if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < first:
                first = column.dictionary_page_offset
            stored = min(size, self._path.stat().st_size - first)
            found = [] if column.file_path else list(pages(raw, first, stored, column.num_values))
        if column.file_path:
            raise ValueError(
                f"{self.name} must hold its numbers itself, got column {self._column!r} in another file; no "
                "other file is read: copy the numbers into one file"
            )
        whole, width = self._path.stat().st_size, self.dtype.itemsize
        largest = max((max(page.unpacked, page.entries * width) for page in found), default=0)
        check_piece(self.name, f"a page of row group {group}", largest, whole, _REMEDY)
        # Before decoding, a single row could be as long as the whole row group.
        decoded = sum(page.values for page in found) * (width + _LEVEL_BYTES)
        check_whole(self.name, f"row group {group}", decoded, whole, _REMEDY)
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
                self._file = self._file or self._open()
                size = max(1, _BATCH_BYTES // (self.shape[1] * self.dtype.itemsize))
                self._batches = self._file.iter_batches(size, row_groups=[group], columns=[self._column])
                self._group, self._at, self._block = group, int(self._starts[group]), self._block[:0]
        while row >= self._at + len(self._block):
            self._at += len(self._block)
            with self._readable():
                lists = self._next(self._batches)
            self._block = self._numbers(lists)

    def _numbers(self, lists: Any) -> np.ndarray:
        """A batch of lists as an array [k, d]."""
        d = self.shape[1]
        lengths = import_module("pyarrow.compute").list_value_length(lists).fill_null(-1).to_numpy()
        values = lists.flatten()
        if (wrong := np.flatnonzero(lengths != d)).size:
            at, length = wrong[0], lengths[wrong[0]]
            fault = "is null" if length < 0 else f"has length {length}, but the first row has {d}"
        elif values.null_count:
            at, fault = np.flatnonzero(values.is_null())[0] // d, "holds a null"
        else:
            return values.to_numpy(zero_copy_only=False).reshape(len(lists), d)
        raise ValueError(
            f"{self.name} must hold lists of one length without nulls in column {self._column!r}: "
            f"row {self._at + at} {fault}; drop such rows"
        )

    def close(self) -> None:
        """Close the file and drop the decoded block."""
        if self._file is not None:
            self._file.close()
        self._file, self._batches, self._group, self._at = None, iter(()), -1, 0
        self._block = np.empty((0, self.shape[1]), self.dtype)


def _width(kind: Any) -> tuple[Any, ...]:
    """The shape of an Arrow column after [n]: the lists' length if it holds lists, else empty."""
    lists = str(kind).startswith(("list<", "large_list<", "fixed_size_list<"))
    return (getattr(kind, "list_size", "?"),) if lists else ()


def _numbers_of(kind: Any) -> str:
    """NumPy's name of the numbers in an Arrow type."""
    name = str(getattr(kind, "value_type", kind))
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(name, name)


def _leaves(kind: Any) -> int:
    """Number of Parquet columns in which an Arrow type is stored."""
    kind = getattr(kind, "storage_type", kind)
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields)) if kind.num_fields else 1
