"""Readers for numbers stored contiguously, row by row or column by column, as in .npy."""

import math
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.parts import blocks, spans
from ctflow.storage.reading import readable

_NPY_HEADER_BYTES = 10_000
# Reading over a gap of this many bytes takes about as long as a seek and another read.
_GAP_BYTES = 1 << 13
_LANE_BYTES = 1 << 20
_CACHE_LINE = 64


class Layout(NamedTuple):
    """Where the numbers of an array are in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    """Bytes before the first number."""
    by_columns: bool


class Flat:
    """Numbers stored uncompressed in a file, row by row or column by column."""

    def __init__(self, path: Path, layout: Layout):
        self.name, self.shape, self.dtype = str(path), layout.shape, layout.dtype
        self._path, self._layout = path, layout

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        with readable(self.name, "file"), open(self._path, "rb", buffering=0) as file:
            read_rows(file, self._layout, rows, out)

    def side(self, i: int) -> "Flat":
        """The rows [n, d] of one half of an array [2, n, d]."""
        return Flat(self._path, half(self.name, self._layout, i))

    def close(self) -> None:
        """Do nothing: no file is open between two reads."""


def half(name: str, layout: Layout, i: int) -> Layout:
    """The layout of one half of an array [2, n, d].

    Raises:
        ValueError: the numbers are stored column by column, so that the halves are mixed.
    """
    if layout.by_columns:
        raise ValueError(
            f"{name} must store [2, n, d] row by row, got columns; write it with "
            "np.save(path, np.ascontiguousarray(array))"
        )
    _, n, d = layout.shape
    return layout._replace(shape=(n, d), offset=layout.offset + i * n * d * layout.dtype.itemsize)


def read_rows(file: Any, layout: Layout, rows: np.ndarray, out: np.ndarray) -> None:
    """Write rows with strictly increasing numbers into out [k, d], in one forward pass through the file.

    Args:
        file: a file with `seek` and `readinto`, at any position.
        layout: layout of the array [n, d] in the file.
        rows: row numbers [k].
        out: array of any dtype to which the numbers can be cast.
    """
    (_read_by_columns if layout.by_columns else _read_by_rows)(file, layout, rows, out)


def _read_by_rows(file: Any, layout: Layout, rows: np.ndarray, out: np.ndarray) -> None:
    width = layout.shape[1] * layout.dtype.itemsize
    for block in blocks(len(rows), width):
        wanted = rows[block]
        buffer: Any = np.empty(len(wanted) * width, np.uint8)
        target = memoryview(buffer)
        for first, stop in spans(wanted):
            file.seek(layout.offset + first * width)
            size = (stop - first) * width
            _fill(file, target[:size])
            target = target[size:]
        out[block] = buffer.view(layout.dtype).reshape(len(wanted), -1)


def _read_by_columns(file: Any, layout: Layout, rows: np.ndarray, out: np.ndarray) -> None:
    """Read the columns in order, several at a time, in one forward pass through the file."""
    (n, d), width = layout.shape, layout.dtype.itemsize
    pieces = _pieces(rows, width)
    scratch = np.empty(max(piece.stop - piece.first for piece in pieces), layout.dtype)
    count = min(d, max(_CACHE_LINE // width, parts.BLOCK_BYTES // (len(rows) * width)))
    band = np.empty((count, len(rows)), layout.dtype)
    for column in range(0, d, count):
        lanes = band[: d - column]
        for lane, numbers in enumerate(lanes, start=column):
            _read_lane(file, layout.offset + lane * n * width, pieces, scratch, numbers)
        out[:, column : column + len(lanes)] = lanes.T


class _Piece(NamedTuple):
    """A range of a column that is read at once."""

    first: int
    stop: int
    wanted: np.ndarray | None
    """Positions of the wanted numbers in the range; None if all are wanted."""


def _read_lane(file: Any, start: int, pieces: list[_Piece], scratch: Any, numbers: Any) -> None:
    """Read the wanted numbers [k] of one column, which begins at byte `start` of the file."""
    raw, width, at = memoryview(numbers.view(np.uint8)), numbers.dtype.itemsize, 0
    for first, stop, wanted in pieces:
        file.seek(start + first * width)
        if wanted is None:
            after = at + stop - first
            _fill(file, raw[at * width : after * width])
        else:
            after, span = at + len(wanted), scratch[: stop - first]
            _fill(file, memoryview(span.view(np.uint8)))
            np.take(span, wanted, out=numbers[at:after], mode="clip")
        at = after


def _pieces(rows: np.ndarray, width: int) -> list[_Piece]:
    """The ranges to read of each column: nearby rows are read together with the rows between them."""
    apart = np.diff(rows) * width > _GAP_BYTES
    apart |= np.diff(rows * width // _LANE_BYTES) > 0
    found = []
    for group in np.split(rows, np.flatnonzero(apart) + 1):
        first, stop = int(group[0]), int(group[-1]) + 1
        found.append(_Piece(first, stop, None if stop - first == len(group) else group - first))
    return found


def _fill(file: Any, target: memoryview) -> None:
    while target:
        got = file.readinto(target)
        if not got:
            raise ValueError("it ends early and was cut after it was opened")
        target = target[got:]


def npy(path: Path) -> Flat:
    """Open an .npy file of any numeric dtype by its header.

    Raises:
        ValueError: the file is no .npy, holds Python objects or several arrays, or is cut short.
    """
    with readable(str(path), ".npy file"), open(path, "rb") as file:
        layout = npy_layout(file)
        there = path.stat().st_size - layout.offset
    if layout.dtype.hasobject:
        raise ValueError(f"{path} must hold plain numbers, got pickled objects, never loaded; save floats")
    promised = promised_bytes(layout)
    what = f"{layout.dtype} {list(layout.shape)} needs {promised} bytes"
    if promised > there:
        raise ValueError(f"{path} is cut short: {what}, got {there}; write it again")
    if promised < there:
        raise ValueError(f"{path} must hold one array: {what}, got {there}; save one array per file")
    return Flat(path, layout)


def promised_bytes(layout: Layout) -> int:
    """Bytes that the numbers of an array need according to its header."""
    return math.prod(layout.shape) * layout.dtype.itemsize


def npy_layout(file: Any) -> Layout:
    """Read the header of an .npy, from the current position of the file.

    Raises:
        ValueError: there is no valid header, or it is too long.
    """
    version = np.lib.format.read_magic(file)
    # Format 3 is not needed: it differs only in the field names of structured arrays.
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format is {version}, must be (1, 0) or (2, 0)")
    # The length is checked before that many bytes are read.
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _NPY_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes, at most {_NPY_HEADER_BYTES} are allowed")
    text = length.to_bytes(width, "little") + file.read(length)
    try:
        shape, by_columns, dtype = readers[version](BytesIO(text))
    except ValueError:
        raise
    except Exception as error:  # NumPy does not catch what its parser of Python literals raises
        raise ValueError("its header is no dictionary of shape and dtype") from error
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape must not be negative, got {shape}")
    return Layout(shape, dtype, file.tell(), by_columns)
