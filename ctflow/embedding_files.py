"""Files of rows [n, d], opened by their header and read a few rows at a time; nothing is ever unpickled.

Nothing is memory-mapped either: pages that were read would stay in the resident memory, and a file that is
cut while mapped ends the process.
"""

import json
import math
import zipfile
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ctflow.reading import readable

FLOATS = ("float16", "bfloat16", "float32", "float64")
_BATCH_BYTES = 1 << 22
_LISTED = 8
_HEADER_BYTES = 1 << 24
_NPY_HEADER_BYTES = 10_000


class Part(Protocol):
    """One file, or one array, of rows."""

    name: str
    shape: Any
    dtype: np.dtype

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [k, d] as stored, for strictly increasing numbers [k], k >= 1."""
        ...

    def close(self) -> None:
        """Let go of open files and of what was decoded; a later `read` takes them up again."""
        ...


class Memory:
    """An array in memory."""

    def __init__(self, name: str, array: np.ndarray):
        self.name, self.shape, self.dtype = name, array.shape, array.dtype
        self._array = array

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [k, d] as stored."""
        return self._array[rows]

    def close(self) -> None:
        """Nothing to let go of."""


class Flat:
    """Numbers that lie uncompressed in a file, row by row or column by column."""

    def __init__(self, path: Path, shape: Any, dtype: np.dtype, offset: int, *, by_columns: bool = False):
        self.name, self.shape, self.dtype = str(path), shape, dtype
        self._path, self._offset, self._by_columns = path, offset, by_columns

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [k, d] as stored."""
        n, d = self.shape
        lanes, width = (d, self.dtype.itemsize) if self._by_columns else (1, d * self.dtype.itemsize)
        buffer = np.empty((lanes, len(rows) * width), np.uint8)
        runs = spans(rows)
        with readable(self.name, "file"), open(self._path, "rb", buffering=0) as file:
            for lane in range(lanes):
                target = memoryview(buffer[lane])
                for first, stop in runs:
                    file.seek(self._offset + (lane * n + first) * width)
                    size = (stop - first) * width
                    _fill(file, target[:size])
                    target = target[size:]
        numbers = buffer.view(self.dtype)
        return numbers.T if self._by_columns else numbers.reshape(len(rows), d)

    def close(self) -> None:
        """Nothing is open between two reads."""


def _fill(file: Any, target: memoryview) -> None:
    while target:
        got = file.readinto(target)
        if not got:
            raise ValueError("it ends early, cut since it was opened")
        target = target[got:]


def npy(path: Path) -> Flat:
    """An .npy of any numbers, by its header.

    Raises:
        ValueError: no .npy, Python objects, cut short, more than one array.
    """
    with readable(str(path), ".npy file"), open(path, "rb") as file:
        shape, by_columns, dtype = _npy_header(file)
        offset = file.tell()
        there = path.stat().st_size - offset
    if dtype.hasobject:
        raise ValueError(f"{path} must hold plain numbers, got pickled objects, never loaded; save floats")
    promised = math.prod(shape) * dtype.itemsize
    what = f"{dtype} {list(shape)} takes {promised} bytes"
    if promised > there:
        raise ValueError(f"{path} is cut short: {what}, it has {there}; write it again")
    if promised < there:
        raise ValueError(f"{path} must hold one array: {what}, it has {there}; save one array a file")
    return Flat(path, shape, dtype, offset, by_columns=by_columns)


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether column by column, and dtype."""
    version = np.lib.format.read_magic(file)
    # Format 3 differs in the names of a table's fields, which are no embeddings.
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format is {version}, must be (1, 0) or (2, 0)")
    # The length is looked at before so much is read.
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _NPY_HEADER_BYTES:
        raise ValueError(f"its header takes {length} bytes, at most {_NPY_HEADER_BYTES} are read")
    text = length.to_bytes(width, "little") + file.read(length)
    try:
        shape, by_columns, dtype = readers[version](BytesIO(text))
    except (MemoryError, RecursionError):  # Python's parser, of a text nested too deep
        raise ValueError("its header is no dictionary of shape and dtype") from None
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return shape, by_columns, dtype


def safetensors(path: Path, column: str | None) -> Flat:
    """One tensor of a .safetensors file, by its header.

    Raises:
        ValueError: no such file or tensor, no floating-point numbers, cut short.
    """
    with readable(str(path), ".safetensors file"), open(path, "rb") as file:
        size = path.stat().st_size
        start = 8 + int.from_bytes(file.read(8), "little")
        if start > size:
            raise ValueError(f"its header takes {start} bytes, it has {size}")
        if start > _HEADER_BYTES:
            raise ValueError(f"its header takes {start} bytes, at most {_HEADER_BYTES} are read")
        header = json.loads(file.read(start - 8))
        if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
            raise ValueError("its header names no tensors")
        found = {key: _tensor(entry) for key, entry in header.items() if key != "__metadata__"}
    key = choose(str(path), {key: (shape, code) for key, (shape, code, *_) in found.items()}, column)
    shape, code, first, stop = found[key]
    check_table(str(path), shape, code)
    dtype = np.dtype(import_module("ml_dtypes").bfloat16 if code == "bfloat16" else code)
    promised, there = math.prod(shape) * dtype.itemsize, min(stop, size - start) - first
    if promised != there:
        what = f"{key!r}, {dtype} {list(shape)}, takes {promised} bytes"
        raise ValueError(f"{path} is cut short: {what}, it has {max(there, 0)}; write it again")
    return Flat(path, shape, dtype, start + first)


def _tensor(entry: Any) -> tuple[tuple[int, ...], str, int, int]:
    """Shape, NumPy's name of the dtype, first byte and end, of an entry of a .safetensors header."""
    shape, (first, stop), code = tuple(entry["shape"]), entry["data_offsets"], entry["dtype"]
    if any(type(number) is not int or number < 0 for number in (*shape, first, stop)):
        raise ValueError(f"its header gives shape {shape}, offsets {first} and {stop}")
    names = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
    return shape, names.get(code, str(code)), first, stop


class Zipped:
    """One array of an .npz, loaded whole when first read."""

    def __init__(self, path: Path, column: str | None):
        self.name, self._path = str(path), path
        headers = {}
        with readable(self.name, ".npz file"), zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as file:
                        header = _npy_header(file)
                        there = archive.getinfo(member).file_size - file.tell()
                    promised = 0 if header[2].hasobject else math.prod(header[0]) * header[2].itemsize
                    if promised > there:
                        raise ValueError(f"{member} takes {promised} bytes, it has {there}")
                    headers[member.removesuffix(".npy")] = header
        found = {key: (shape, dtype.name) for key, (shape, _, dtype) in headers.items()}
        self._key = choose(self.name, found, column)
        self.shape, _, self.dtype = headers[self._key]
        self._array: Any = None

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [k, d] as stored."""
        if self._array is None:
            with (
                readable(self.name, ".npz file"),
                open(self._path, "rb") as file,
                np.load(file, allow_pickle=False) as archive,
            ):
                self._array = archive[self._key]
        return self._array[rows]

    def close(self) -> None:
        """Drop the loaded array."""
        self._array = None


class Hdf5:
    """One dataset of an HDF5 file."""

    def __init__(self, path: Path, column: str | None):
        self.name, self._path, self._file = str(path), path, None
        self._h5py = _extra("h5py", "hdf5", self.name)
        found: dict[str, Any] = {}

        def note(key: str, node: Any) -> None:
            if isinstance(node, self._h5py.Dataset):
                found[key] = (node.shape or (), node.dtype)

        with readable(self.name, "HDF5 file"), self._h5py.File(path, "r") as file:
            file.visititems(note)
        self._key = choose(self.name, {key: (s, dtype.name) for key, (s, dtype) in found.items()}, column)
        self.shape, self.dtype = found[self._key]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [k, d] as stored."""
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        done = 0
        with readable(self.name, "HDF5 file"):
            self._file = self._file or self._h5py.File(self._path, "r")
            dataset = self._file[self._key]
            for first, stop in spans(rows):
                out[done : done + stop - first] = dataset[first:stop]
                done += stop - first
        return out

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


class Parquet:
    """One column of lists in a Parquet file, decoded batch by batch, forward within a row group."""

    def __init__(self, path: Path, column: str | None):
        self.name, self._path, self._file = str(path), path, None
        self._parquet = _extra("pyarrow.parquet", "parquet", self.name)
        with readable(self.name, ".parquet file"), self._open() as file:
            types = {field.name: field.type for field in file.schema_arrow}
            counts = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        n = sum(counts)
        found = {key: ((n, *_width(kind)), _numbers_of(kind)) for key, kind in types.items()}
        self._column = choose(self.name, found, column)
        shape, dtype = found[self._column]
        if len(shape) != 2 or dtype not in FLOATS:
            raise ValueError(
                f"{self.name} must hold lists of floating-point numbers in column {self._column!r}, got "
                f"{types[self._column]}; name another with column=... (--column)"
            )
        self.shape, self.dtype = (n, self._first_length() if n else 0), np.dtype(dtype)
        self._starts = np.cumsum([0, *counts])[:-1]
        self.close()

    def _open(self) -> Any:
        # Without pre-buffering a column is read piece by piece, not a whole row group at once.
        return self._parquet.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20)

    def _first_length(self) -> int:
        with readable(self.name, ".parquet file"), self._open() as file:
            first = next(file.iter_batches(1, columns=[self._column])).column(self._column)[0].as_py()
        if first is None:
            raise ValueError(f"{self.name}: row 0 of column {self._column!r} is null; drop such rows")
        return len(first)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [k, d] as stored."""
        # Copied, since a view of one row would keep its whole batch alive.
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        done = 0
        for first, stop in spans(rows):
            while first < stop:
                self._decode(first)
                piece = self._block[first - self._at : stop - self._at]
                out[done : done + len(piece)] = piece
                first, done = first + len(piece), done + len(piece)
        return out

    def _decode(self, row: int) -> None:
        """Decode on until the block holds the row, from its row group's start unless on the way there."""
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with readable(self.name, ".parquet file"):
            if self._group != group or row < self._at:
                self._file = self._file or self._open()
                size = max(1, _BATCH_BYTES // (self.shape[1] * self.dtype.itemsize))
                self._batches = self._file.iter_batches(size, row_groups=[group], columns=[self._column])
                self._group, self._at, self._block = group, int(self._starts[group]), self._block[:0]
        while row >= self._at + len(self._block):
            self._at += len(self._block)
            with readable(self.name, ".parquet file"):
                lists = next(self._batches).column(self._column)
            self._block = self._numbers(lists)

    def _numbers(self, lists: Any) -> np.ndarray:
        """A batch of lists as an array [k, d]."""
        d = self.shape[1]
        lengths = import_module("pyarrow.compute").list_value_length(lists).fill_null(-1).to_numpy()
        values = lists.flatten()
        if (wrong := np.flatnonzero(lengths != d)).size:
            at, length = wrong[0], lengths[wrong[0]]
            fault = "is null" if length < 0 else f"has length {length}, the first has {d}"
        elif values.null_count:
            at, fault = np.flatnonzero(values.is_null())[0] // d, "holds a null"
        else:
            return values.to_numpy(zero_copy_only=False).reshape(len(lists), d)
        raise ValueError(
            f"{self.name} must hold lists of one length without nulls in column {self._column!r}: "
            f"row {self._at + at} {fault}; drop such rows"
        )

    def close(self) -> None:
        """Close the file and drop what was decoded."""
        if self._file is not None:
            self._file.close()
        self._file, self._batches, self._group, self._at = None, iter(()), -1, 0
        self._block = np.empty((0, self.shape[1]), self.dtype)


def _width(kind: Any) -> tuple[Any, ...]:
    """The second side of an Arrow column's shape: none where it holds no lists."""
    lists = str(kind).startswith(("list<", "large_list<", "fixed_size_list<"))
    return (getattr(kind, "list_size", "?"),) if lists else ()


def _numbers_of(kind: Any) -> str:
    """NumPy's name for the numbers in an Arrow type."""
    name = str(getattr(kind, "value_type", kind))
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(name, name)


def check_table(name: str, shape: Any, dtype: str) -> None:
    """Raise ValueError unless it is 2-D, d >= 2, and holds floating-point numbers that can be read."""
    if len(shape) != 2:
        raise ValueError(f"{name} must be 2-D, [n, d], got shape {tuple(shape)}")
    if dtype not in FLOATS:
        raise ValueError(f"{name} must hold {' or '.join(FLOATS)}, got {dtype}; save it as float32")
    if shape[0] > 0 and shape[1] < 2:
        raise ValueError(f"{name} must have rows of d >= 2 numbers, got shape {tuple(shape)}")


def choose(name: str, found: dict[str, tuple[tuple[Any, ...], str]], column: str | None) -> str:
    """The array asked for, or the only one, or the only one that `check_table` would pass.

    Raises:
        ValueError: no such array, or several; lists their names, shapes and dtypes.
    """
    tables = [key for key, (shape, dtype) in found.items() if len(shape) == 2 and dtype in FLOATS]
    listed = [f"{key} [{', '.join(map(str, shape))}] {dtype}" for key, (shape, dtype) in found.items()]
    held = ", ".join(listed[:_LISTED]) or "none"
    if len(listed) > _LISTED:
        held += f" and {len(listed) - _LISTED} more"
    if column is not None:
        if column not in found:
            raise ValueError(f"{name} has no array {column!r}; it holds {held}")
        return column
    if len(found) != 1 and len(tables) != 1:
        raise ValueError(f"{name} must hold one array [n, d], or column (--column) name it; it holds {held}")
    return next(iter(tables or found))


def spans(rows: np.ndarray) -> list[tuple[int, int]]:
    """Strictly increasing numbers [k], k >= 1, as runs: first, and one past the last."""
    last = np.flatnonzero(np.diff(rows) != 1)
    firsts, stops = rows[np.append(0, last + 1)], rows[np.append(last, len(rows) - 1)] + 1
    return list(zip(firsts.tolist(), stops.tolist(), strict=True))


def _extra(module: str, extra: str, name: str) -> Any:
    """A module that one of the package's extras brings."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ValueError(f"{name} takes {package} to read: pip install 'ctflow[{extra}]'") from None
