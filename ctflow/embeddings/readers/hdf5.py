"""Reader of one dataset of an HDF5 file, whose numbers must be in that file."""

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.flat import Flat, Layout, promised_bytes
from ctflow.embeddings.readers.hdf5_chunks import Chunked
from ctflow.embeddings.readers.hdf5_names import find
from ctflow.embeddings.readers.parts import (
    check_numbers,
    check_piece,
    check_table,
    choose,
    extra,
    is_both,
    spans,
)
from ctflow.storage.reading import readable


class Hdf5:
    """One dataset of an HDF5 file."""

    def __init__(self, path: Path, column: str | None):
        self.name, self._path = str(path), path
        self._h5py = extra("h5py", "hdf5", self.name)
        self._file: Any = None
        self._reader: Any = None
        with self._readable(), self._open() as file:
            listing, column = find(self._h5py, file, column)
        self._key = choose(self.name, listing.found, column)
        listing.check_inside(self.name, self._key)
        self._half: int | None = None
        shape, dtype = listing.found[self._key]
        (check_numbers(self.name, dtype) if is_both(shape) else check_table(self.name, shape, dtype))
        with self._readable(), self._open() as file:
            dataset = file[self._key]
            self.shape, self.dtype = dataset.shape, dataset.dtype
            chunk = _unpacked_at_once(dataset)
        check_chunk(path, self._key, chunk, self.dtype.itemsize)

    def side(self, i: int) -> "Hdf5":
        """The rows [n, d] of one half of a dataset [2, n, d]."""
        found = copy(self)
        found._half, found.shape = i, self.shape[1:]
        found._file = found._reader = None
        return found

    def _readable(self) -> Any:
        return readable(self.name, "HDF5 file", RuntimeError, KeyError)

    def _open(self) -> Any:
        # HDF5's own chunk cache is off, because `Chunked` keeps decoded chunks.
        return self._h5py.File(self._path, "r", rdcc_nbytes=0)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        if self._reader is None:
            with self._readable():
                self._file = self._open()
                self._reader = self._choose_reader(self._file[self._key])
        if isinstance(self._reader, Flat):
            self._reader.read(rows, out)
            return
        with self._readable():
            self._reader.read(rows, out)

    def _choose_reader(self, dataset: Any) -> Any:
        """Choose the fastest reader for the way in which the dataset is stored."""
        plain = dataset.id.get_type().equal(self._h5py.h5t.py_create(dataset.dtype))
        if dataset.chunks is not None:
            unpacked = int(np.prod(_unpacked_at_once(dataset))) * dataset.dtype.itemsize
            if not unpacked:
                return _Sliced(dataset, self._half)
            return Chunked(dataset, plain, self._path.stat().st_size, self._half)
        layout = Layout(dataset.shape, dataset.dtype, dataset.id.get_offset() or 0, by_columns=False)
        together = dataset.id.get_create_plist().get_layout() == self._h5py.h5d.CONTIGUOUS
        # A dataset that was never written may have an offset as well, but has no numbers there.
        written = dataset.id.get_storage_size() == promised_bytes(layout)
        if not (plain and together and written):
            return _Sliced(dataset, self._half)
        flat = Flat(self._path, layout)
        return flat if self._half is None else flat.side(self._half)

    def close(self) -> None:
        """Close the file and drop decoded chunks."""
        if self._file is not None:
            self._file.close()
        self._file = self._reader = None


class _Sliced:
    """A dataset [n, d], or one half of [2, n, d], whose rows are read by HDF5 itself."""

    def __init__(self, dataset: Any, half: int | None):
        self._dataset, self._half = dataset, () if half is None else (half,)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        size = self._dataset.shape[-1] * self._dataset.dtype.itemsize
        step, done = max(1, parts.BLOCK_BYTES // size), 0
        for first, stop in spans(rows):
            for start in range(first, stop, step):
                piece = self._dataset[(*self._half, slice(start, min(start + step, stop)))]
                out[done : done + len(piece)] = piece
                done += len(piece)


def _unpacked_at_once(dataset: Any) -> tuple[int, ...]:
    """Shape of what is unpacked at once: a chunk, or (0,) for large chunks without filters."""
    chunk = dataset.chunks or (0,)
    size = int(np.prod(chunk, dtype=object)) * dataset.dtype.itemsize
    whole = size <= parts.BLOCK_BYTES or dataset.id.get_create_plist().get_nfilters()
    return chunk if whole else (0,)


def check_chunk(path: Path, key: str, chunk: tuple[int, ...], size: int) -> None:
    """Raise ValueError if a chunk with elements of this size in bytes unpacks to too much."""
    check_piece(
        str(path),
        f"a chunk {list(chunk)} of {key!r}",
        int(np.prod(chunk, dtype=object)) * size,
        path.stat().st_size,
        "write it in smaller chunks",
    )
