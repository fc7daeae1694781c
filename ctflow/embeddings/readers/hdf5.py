"""Reader of one dataset of an HDF5 file, whose numbers must be in that file."""

import re
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.flat import Flat, Layout, promised_bytes
from ctflow.embeddings.readers.hdf5_chunks import Chunked
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

_MOST_HOPS = 16


class _Contents(NamedTuple):
    """The contents of a file, by name."""

    found: dict[str, tuple[tuple[int, ...], str]]
    """Shape and dtype of each dataset."""
    outside: dict[str, str]
    """For datasets or groups in other files: how the file refers to them, in words."""


class Hdf5:
    """One dataset of an HDF5 file."""

    def __init__(self, path: Path, column: str | None):
        self.name, self._path = str(path), path
        self._h5py = extra("h5py", "hdf5", self.name)
        self._file: Any = None
        self._reader: Any = None
        with self._readable(), self._open() as file:
            contents = self._contents(file)
            if column is not None and column not in contents.found:
                column = self._follow(file, column, contents) or column
        self._key = choose(self.name, contents.found, column)
        if self._key in contents.outside:
            raise ValueError(
                f"{self.name} must hold its numbers itself, got {self._key!r}, "
                f"{contents.outside[self._key]}; no other file is read: copy the numbers into one file"
            )
        self._half: int | None = None
        shape, dtype = contents.found[self._key]
        (check_numbers(self.name, dtype) if is_both(shape) else check_table(self.name, shape, dtype))
        with self._readable(), self._open() as file:
            dataset = file[self._key]
            self.shape, self.dtype = dataset.shape, dataset.dtype
            chunk = _unpacked_at_once(dataset)
        check_piece(
            self.name,
            f"a chunk {list(chunk)} of {self._key!r}",
            int(np.prod(chunk, dtype=object)) * self.dtype.itemsize,
            path.stat().st_size,
            "write it in smaller chunks",
        )

    def side(self, i: int) -> "Hdf5":
        """The rows [n, d] of one half of a dataset [2, n, d].

        Raises:
            ValueError: the dataset is not contiguous.
        """
        with self._readable(), self._open() as file:
            reader = self._choose_reader(file[self._key])
        if not isinstance(reader, Flat):
            raise ValueError(
                f"{self.name} must store [2, n, d] in one piece without chunks, got {self._key!r} stored "
                "otherwise; write each modality as a dataset of its own"
            )
        found = copy(self)
        found._half, found.shape = i, self.shape[1:]
        return found

    def _readable(self) -> Any:
        return readable(self.name, "HDF5 file", RuntimeError, KeyError)

    def _open(self) -> Any:
        # HDF5's own chunk cache is off, because `Chunked` keeps decoded chunks.
        return self._h5py.File(self._path, "r", rdcc_nbytes=0)

    def _contents(self, file: Any) -> _Contents:
        """All datasets, and all links to other files, which are not followed."""
        contents = _Contents({}, {})

        def note(key: str, node: Any) -> None:
            if isinstance(node, self._h5py.Dataset):
                self._note(contents, key, node)

        def note_link(key: bytes, link: Any) -> None:
            if link.type not in (self._h5py.h5l.TYPE_HARD, self._h5py.h5l.TYPE_SOFT):
                self._note_outside(contents, key.decode(), self._target(file, key, link))

        file.visititems(note)
        file.id.links.visit(note_link, info=True)
        return contents

    def _note(self, contents: _Contents, key: str, dataset: Any) -> None:
        contents.found[key] = (dataset.shape or (), _dtype_name(dataset))
        if reason := _other_files(dataset):
            contents.outside[key] = reason

    def _note_outside(self, contents: _Contents, key: str, reason: str) -> None:
        contents.found[key] = ((), reason)
        contents.outside[key] = reason

    def _target(self, file: Any, key: bytes, link: Any) -> str:
        """Describe a link that leads out of the file."""
        if link.type != self._h5py.h5l.TYPE_EXTERNAL:
            return "a link of an unknown kind"
        other = file.id.links.get_val(key)[0].decode(errors="replace")
        return f"an external link to {re.sub('[^ -~]', '?', other)}"

    def _follow(self, file: Any, path: str, contents: _Contents) -> str | None:
        """Resolve the soft links in a path and return the dataset's own path; None if there is no dataset.

        A path through an external link is recorded in `contents.outside` under the requested name.
        """
        kinds, links, hops = self._h5py.h5l, file.id.links, 0
        done, words = "", _words(path)
        while words:
            here = f"{done}/{words.pop(0)}".lstrip("/")
            key = here.encode()
            if not isinstance(file[done or "/"], self._h5py.Group) or not links.exists(key):
                return None
            link = links.get_info(key)
            if link.type == kinds.TYPE_HARD:
                done = here
            elif link.type == kinds.TYPE_SOFT:
                target = links.get_val(key).decode()
                done, words = "" if target.startswith("/") else done, _words(target) + words
                if (hops := hops + 1) > _MOST_HOPS:
                    raise ValueError(f"{path!r} goes through more than {_MOST_HOPS} soft links")
            else:
                self._note_outside(contents, path, self._target(file, key, link))
                return path
        if done not in contents.found and isinstance(node := file[done or "/"], self._h5py.Dataset):
            self._note(contents, done, node)
        return done if done in contents.found else None

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        if self._reader is None:
            with self._readable():
                self._file = self._open()
                self._reader = self._choose_reader(self._file[self._key])
        if isinstance(self._reader, Flat):
            flat = self._reader if self._half is None else self._reader.side(self._half)
            flat.read(rows, out)
            return
        with self._readable():
            self._reader.read(rows, out)

    def _choose_reader(self, dataset: Any) -> Any:
        """Choose the fastest reader for the way in which the dataset is stored."""
        plain = dataset.id.get_type().equal(self._h5py.h5t.py_create(dataset.dtype))
        if dataset.chunks is not None:
            unpacked = int(np.prod(_unpacked_at_once(dataset))) * dataset.dtype.itemsize
            return Chunked(dataset, plain, self._path.stat().st_size) if unpacked else _Sliced(dataset)
        layout = Layout(dataset.shape, dataset.dtype, dataset.id.get_offset() or 0, by_columns=False)
        together = dataset.id.get_create_plist().get_layout() == self._h5py.h5d.CONTIGUOUS
        # A dataset that was never written may have an offset as well, but has no numbers there.
        written = dataset.id.get_storage_size() == promised_bytes(layout)
        return Flat(self._path, layout) if plain and together and written else _Sliced(dataset)

    def close(self) -> None:
        """Close the file and drop decoded chunks."""
        if self._file is not None:
            self._file.close()
        self._file = self._reader = None


class _Sliced:
    """A dataset whose rows are read by HDF5 itself."""

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        size = self._dataset.shape[1] * self._dataset.dtype.itemsize
        step, done = max(1, parts.BLOCK_BYTES // size), 0
        for first, stop in spans(rows):
            for start in range(first, stop, step):
                piece = self._dataset[start : min(start + step, stop)]
                out[done : done + len(piece)] = piece
                done += len(piece)


def _words(path: str) -> list[str]:
    """The names in a path."""
    return [word for word in path.split("/") if word not in ("", ".")]


def _unpacked_at_once(dataset: Any) -> tuple[int, ...]:
    """Shape of what is unpacked at once: a chunk, or (0,) for large chunks without filters."""
    chunk = dataset.chunks or (0,)
    size = int(np.prod(chunk, dtype=object)) * dataset.dtype.itemsize
    whole = size <= parts.BLOCK_BYTES or dataset.id.get_create_plist().get_nfilters()
    return chunk if whole else (0,)


def _dtype_name(dataset: Any) -> str:
    """NumPy's name of the dtype, or a description of a type that NumPy lacks."""
    try:
        return dataset.dtype.name
    except TypeError as error:  # h5py raises it for a type that NumPy lacks
        return f"numbers of another kind ({error})"


def _other_files(dataset: Any) -> str | None:
    """If a dataset's numbers are in other files: how it refers to them, in words; else None."""
    if dataset.is_virtual:
        return "a virtual dataset, made of parts of other files"
    if dataset.external is not None:
        return "a dataset with external storage in other files"
    return None
