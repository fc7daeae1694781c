"""Reader of ids in an HDF5 file: a dataset [n] of integers, or of text of one or of several lengths."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.hdf5 import check_chunk
from ctflow.embeddings.readers.hdf5_chunks import Chunks
from ctflow.embeddings.readers.hdf5_names import find
from ctflow.embeddings.readers.id_arrays import ID_BYTES, LONGEST, REMEDY, check_ids, listed
from ctflow.embeddings.readers.parts import check_held, choose, extra
from ctflow.storage.reading import readable

# Bytes of the longest id in UTF-8.
_MOST_BYTES = 4 * LONGEST


def values(path: Path, name: str) -> list[Any]:
    """The ids in one dataset of an HDF5 file.

    Raises:
        ValueError: there is no such dataset, it is in another file, damaged or too large, or holds no ids.
    """
    h5py = extra("h5py", "hdf5", str(path))
    with _readable(path), h5py.File(path, "r", rdcc_nbytes=0) as file:
        listing, column = find(h5py, file, name)
    key = choose(str(path), listing.found, column)
    listing.check_inside(str(path), key)
    with _readable(path), h5py.File(path, "r", rdcc_nbytes=0) as file:
        text = listing.found[key][1] == "object" and h5py.check_string_dtype(file[key].dtype) is not None
        # Text of several lengths is stored as references: a length, an address and a number.
        reference = 8 + file.id.get_create_plist().get_sizes()[0]
        chunks, size = file[key].chunks, reference if text else file[key].id.get_type().get_size()
    shape, dtype = listing.found[key]
    check_ids(path, key, shape, "str" if text else "objects" if dtype == "object" else dtype)
    if chunks is not None:
        check_chunk(path, key, chunks, size)
    if text:
        with _readable(path), h5py.File(path, "r", rdcc_nbytes=0) as file:
            lengths = np.concatenate([*_lengths(h5py, path, file[key], size), np.empty(0, np.int64)])
        _check_lengths(path, key, lengths)
    with _readable(path), h5py.File(path, "r", rdcc_nbytes=0) as file:
        return [value for piece in _pieces(file[key], size) for value in listed(piece)]


def _readable(path: Path) -> Any:
    return readable(str(path), "HDF5 file", RuntimeError, KeyError)


def _pieces(dataset: Any, size: int) -> Iterator[np.ndarray]:
    """The values of each chunk, or all; elements have `size` bytes in the file."""
    if dataset.chunks is None:
        yield dataset[:]
        return
    chunks = Chunks(dataset, size)
    for row in range(0, len(dataset), dataset.chunks[0]):
        chunks.unpacked((row,))  # raises if it unpacks to more than a chunk
        yield dataset[row : row + dataset.chunks[0]]


def _check_lengths(path: Path, key: str, lengths: np.ndarray) -> None:
    """Raise ValueError for long text, or if many references lead to one, so that all is more than may be."""
    if lengths.size and lengths.max() > _MOST_BYTES:
        row = int(lengths.argmax())
        raise ValueError(
            f"{path} must hold integers or short text in {key!r}, got {lengths[row]} bytes in row {row}; "
            "name another with ids (--ids)"
        )
    check_held(str(path), f"the ids {key!r}", int(lengths.sum()) + ID_BYTES * len(lengths), REMEDY)


def _lengths(h5py: Any, path: Path, dataset: Any, size: int) -> Iterator[np.ndarray]:
    """The bytes of each text, read from the references, each of `size` bytes, before any text is read."""
    for row, raw in _references(h5py, path, dataset, size):
        records = np.frombuffer(raw, np.uint8).reshape(-1, size)[: len(dataset) - row]
        yield np.ascontiguousarray(records[:, :4]).view("<u4")[:, 0].astype(np.int64)


def _references(h5py: Any, path: Path, dataset: Any, size: int) -> Iterator[tuple[int, Any]]:
    """The first row and the bytes of each chunk of references, or of all of them."""
    if dataset.chunks is not None:
        chunks = Chunks(dataset, size)
        if not chunks.decoded:
            raise ValueError("its ids are compressed by another filter than gzip; write them without")
        for row in range(0, len(dataset), dataset.chunks[0]):
            raw = chunks.unpacked((row,))
            yield row, bytes(dataset.chunks[0] * size) if raw is None else raw
        return
    if dataset.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        raise ValueError("its ids are stored in a header; write them as a contiguous dataset")
    raw, start = bytes(len(dataset) * size), dataset.id.get_offset()
    if start is not None and dataset.id.get_storage_size() == len(raw):
        with open(path, "rb") as file:
            file.seek(start)
            raw = file.read(len(raw))
    yield 0, raw
