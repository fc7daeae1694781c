"""Reader of one array of an .npz file, which is unpacked only as far as needed."""

import zipfile
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.flat import Flat, Layout, half, npy_layout, promised_bytes, read_rows
from ctflow.embeddings.readers.id_arrays import check_ids, listed
from ctflow.embeddings.readers.parts import choose, gather, worth_keeping
from ctflow.storage.reading import readable

_LOCAL_HEADER_BYTES = 30


class _Member(NamedTuple):
    """An array in the archive."""

    info: zipfile.ZipInfo
    layout: Layout
    """Layout of the array; its offset counts from the start of the member."""


class Zipped:
    """One array of an .npz file.

    A compressed member is unpacked forward: each call continues where the last one stopped, and an earlier
    row restarts it. If its numbers are stored column by column, each call needs the whole member, so its
    array is kept if it is `worth_keeping`. The checksum is tested at the first read.
    """

    def __init__(self, path: Path, column: str | None):
        self.name, self._path = str(path), path
        members = _members(path)
        key = choose(self.name, _kinds(members), column)
        self._info, self._layout = members[key]
        if not self._layout.dtype.hasobject and promised_bytes(self._layout) < self._bytes_of_array():
            raise ValueError(
                f"{self.name} must hold one array per member, got more in {key!r}; write it with np.savez"
            )
        self.shape, self.dtype = self._layout.shape, self._layout.dtype
        self._checked = False
        self._archive: Any = None
        self._stream: Any = None
        self._kept: np.ndarray | None = None

    def _readable(self) -> Any:
        return _readable(self._path)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]; if this fails, close the archive."""
        try:
            self._read(rows, out)
        except BaseException:
            self.close()
            raise

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        if self._info.compress_type == zipfile.ZIP_STORED:
            with self._readable():
                self._check()
                flat = self._flat()
            flat.read(rows, out)
            return
        with self._readable():
            if self._layout.by_columns and self._kept is None and self._is_small():
                self._kept = self._whole()
            if self._kept is not None:
                gather(self._kept, rows, out)
            else:
                read_rows(self._open(), self._layout, rows, out)
                self._check()

    def side(self, i: int) -> "Zipped":
        """The rows [n, d] of one half of an array [2, n, d]."""
        found = copy(self)
        found._layout = half(self.name, self._layout, i)
        found.shape = found._layout.shape
        return found

    def _bytes_of_array(self) -> int:
        return self._info.file_size - self._layout.offset

    def _is_small(self) -> bool:
        return worth_keeping(promised_bytes(self._layout), self._path.stat().st_size)

    def _open(self) -> Any:
        """The member as an open file, at the position where the last read stopped."""
        if self._stream is None:
            self._archive = zipfile.ZipFile(self._path)
            self._stream = self._archive.open(self._info)
        return self._stream

    def _check(self) -> None:
        """Read to the end once, because only there zipfile compares the checksum."""
        while not self._checked:
            self._checked = not self._open().read(parts.BLOCK_BYTES)

    def _whole(self) -> np.ndarray:
        """The whole array of a member whose numbers are stored column by column."""
        n, d = self._layout.shape
        stream, columns = self._open(), np.empty((d, n), self.dtype)
        raw: Any = columns.view(np.uint8).reshape(-1)
        stream.seek(self._layout.offset)
        target = memoryview(raw)
        while target:
            piece = stream.read(min(len(target), parts.BLOCK_BYTES))
            if not piece:
                raise EOFError("it ends early")
            target[: len(piece)] = piece
            target = target[len(piece) :]
        self._check()
        return columns.T

    def _flat(self) -> Flat:
        """A reader of an uncompressed member, by the position of its numbers in the archive."""
        start = self._info.header_offset
        with open(self._path, "rb") as file:
            file.seek(start)
            local = file.read(_LOCAL_HEADER_BYTES)
        # The lengths of the name and the extra field may differ from those in the archive's directory.
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        offset = start + _LOCAL_HEADER_BYTES + lengths + self._layout.offset
        return Flat(self._path, self._layout._replace(offset=offset))

    def close(self) -> None:
        """Close the archive and drop the kept array."""
        for file in (self._stream, self._archive):
            if file is not None:
                with suppress(OSError):
                    file.close()
        self._archive = self._stream = self._kept = None


def values(path: Path, name: str) -> list[Any]:
    """The ids in one array [n] of an .npz file.

    Raises:
        ValueError: there is no such array, it is damaged or too large, or holds no ids.
    """
    members = _members(path)
    key = choose(str(path), _kinds(members), name)
    info, layout = members[key]
    check_ids(path, key, layout.shape, layout.dtype.name)
    with _readable(path), zipfile.ZipFile(path) as archive, archive.open(info) as file:
        found = listed(np.lib.format.read_array(file, allow_pickle=False))
        file.read(1)  # at the end, zipfile compares the checksum
    return found


def _readable(path: Path) -> Any:
    # zipfile raises RuntimeError if a member is encrypted or its compression is unknown.
    return readable(str(path), ".npz file", RuntimeError, KeyError)


def _members(path: Path) -> dict[str, _Member]:
    """The arrays in the archive, by name."""
    with _readable(path), zipfile.ZipFile(path) as archive:
        return {
            info.filename.removesuffix(".npy"): _member(archive, info)
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }


def _kinds(members: dict[str, _Member]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each array."""
    return {key: (member.layout.shape, member.layout.dtype.name) for key, member in members.items()}


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    """Read the header of a member, and check it against the length in the archive's directory."""
    _check_compression(info)
    with archive.open(info) as file:
        layout = npy_layout(file)
    there = info.file_size - layout.offset
    promised = 0 if layout.dtype.hasobject else promised_bytes(layout)
    if promised > there:
        raise ValueError(f"{info.filename} needs {promised} bytes, got {there}")
    return _Member(info, layout)


def _check_compression(info: zipfile.ZipInfo) -> None:
    """Raise ValueError for compression methods that Python unpacks without a bound on memory."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is not compressed as by np.savez_compressed; write it with that")
