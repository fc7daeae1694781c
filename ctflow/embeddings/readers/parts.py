"""What all readers share: their interface, the checks of a table, and the bounds on memory."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ctflow._base.host_memory import host_bytes, in_words

FLOATS = ("float16", "bfloat16", "float32", "float64")
QUANTISED = ("int8", "uint8")
NUMBERS = (*FLOATS, *QUANTISED)
"""Names of the dtypes that rows may have."""
BLOCK_BYTES = 1 << 23
"""Approximate size of the blocks in which rows are copied and unpacked."""
_SMALL_BYTES = 1 << 26
_ALWAYS_BYTES = 1 << 27
_SHARE = 8
_RATIO = 16
_KEPT_RATIO = 4
# Bytes per row that a diagnosis keeps besides the row itself: its number, group, weight and so on.
_BYTES_PER_ROW = 64
_LISTED = 8


@runtime_checkable
class Part(Protocol):
    """One file or one array of rows."""

    name: str
    shape: Any
    dtype: np.dtype

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows with strictly increasing numbers [k], k >= 1, into out [k, d], cast to its dtype."""
        ...

    def close(self) -> None:
        """Close open files and drop decoded rows; a later `read` opens the file again."""
        ...


class Memory:
    """An array in memory."""

    def __init__(self, name: str, array: np.ndarray):
        self.name, self.shape, self.dtype = name, array.shape, array.dtype
        self._array = array

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        gather(self._array, rows, out)

    def side(self, i: int) -> "Memory":
        """The rows [n, d] of one half of an array [2, n, d]."""
        return Memory(self.name, self._array[i])

    def close(self) -> None:
        """Do nothing: an array in memory has no open files."""


def gather(source: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Write rows of an array into out, block by block, without an intermediate copy of all rows."""
    for block in blocks(len(rows), source.shape[1] * source.dtype.itemsize):
        out[block] = source[rows[block]]


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices that cover `count` items of `size` bytes each; a slice has `BLOCK_BYTES`, or one item."""
    step = max(1, BLOCK_BYTES // max(size, 1))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def spans(rows: np.ndarray) -> list[tuple[int, int]]:
    """Strictly increasing numbers [k], k >= 1, as runs (first, stop) with stop one past the last."""
    last = np.flatnonzero(np.diff(rows) != 1)
    firsts, stops = rows[np.append(0, last + 1)], rows[np.append(last, len(rows) - 1)] + 1
    return list(zip(firsts.tolist(), stops.tolist(), strict=True))


def share_of_memory() -> int:
    """An eighth of the machine's memory, in bytes."""
    return host_bytes() // _SHARE


def check_piece(name: str, what: str, size: int, stored: int, remedy: str) -> None:
    """Raise ValueError if a piece that is unpacked at once would take too much memory.

    The limit is an eighth of the memory. A piece above 128 MiB must also be at most 16 times the size of the
    file, because real embeddings hardly compress.

    Args:
        name: name of the file, used in the message.
        what: description of the piece, used in the message.
        size: bytes of the piece when unpacked.
        stored: bytes of the file.
        remedy: what to do about it, used in the message.
    """
    _check_size(name, what, size, min(share_of_memory(), max(_ALWAYS_BYTES, _RATIO * stored)), stored, remedy)


def check_whole(name: str, what: str, size: int, stored: int, remedy: str) -> None:
    """Raise ValueError if something that is unpacked piece by piece would in total take too much.

    The limit is an eighth of the memory, or 16 times the size of the file if that is more. The arguments are
    those of `check_piece`.
    """
    _check_size(name, what, size, max(share_of_memory(), _RATIO * stored), stored, remedy)


def _check_size(name: str, what: str, size: int, limit: int, stored: int, remedy: str) -> None:
    if size > limit:
        raise ValueError(
            f"{name}: {what} unpacks to {in_words(size)}, at most {in_words(limit)} may be unpacked at once "
            f"from a file of {in_words(stored)}; {remedy}"
        )


def check_promise(name: str, part: Part, stored: int) -> None:
    """Raise ValueError if the header of a file promises more rows, or longer rows, than it can hold.

    Such a header could fill the memory with row numbers, or with a single row.
    """
    n, d = part.shape
    if n * _BYTES_PER_ROW > max(share_of_memory(), _RATIO * stored):
        raise ValueError(
            f"{name} must hold the rows in its header, got {in_words(stored)} for {n} rows; write it again"
        )
    check_piece(name, "one row", d * part.dtype.itemsize, stored, "write it again")


def worth_keeping(size: int, stored: int) -> bool:
    """Whether unpacked rows are kept for the next call: up to 64 MiB always, more for a large file.

    Above 64 MiB they may take four times the size of the file and an eighth of the memory at most.
    """
    return size <= max(_SMALL_BYTES, min(_KEPT_RATIO * stored, share_of_memory()))


def check_table(name: str, shape: Any, dtype: str) -> None:
    """Raise ValueError unless the shape is [n, d] with d >= 2 and the dtype is one of `NUMBERS`."""
    if len(shape) != 2:
        raise ValueError(f"{name} must be 2-D, [n, d], got shape {tuple(shape)}")
    check_numbers(name, dtype)
    if shape[0] > 0 and shape[1] < 2:
        raise ValueError(f"{name} must have rows of d >= 2 numbers, got shape {tuple(shape)}")


def is_both(shape: Any) -> bool:
    """Whether an array may hold both modalities, [2, n, d]."""
    return len(shape) == 3 and shape[0] == 2


def check_numbers(name: str, dtype: str) -> None:
    """Raise ValueError unless the dtype is one of `NUMBERS`."""
    if dtype not in NUMBERS:
        raise ValueError(f"{name} must hold {' or '.join(NUMBERS)}, got {dtype}; save it as float32")


class AmbiguousError(ValueError):
    """A file holds several arrays, and none is named."""

    def __init__(self, message: str, tables: dict[str, tuple[Any, ...]]):
        super().__init__(message)
        self.tables = tables
        """Shapes of those that could be meant, by name, in file order."""


def choose(name: str, found: dict[str, tuple[tuple[Any, ...], str]], column: str | None) -> str:
    """The name of the array to read: `column` if given, else the only array or the only 2-D float array.

    Arrays of int8 or uint8 count if there is no 2-D float array.

    Raises:
        ValueError: there is no such array, or the choice is not unique; the message lists the arrays.
    """
    tables = _tables(found, FLOATS) or _tables(found, QUANTISED)
    listed = [f"{key} [{', '.join(map(str, shape))}] {dtype}" for key, (shape, dtype) in found.items()]
    held = ", ".join(listed[:_LISTED]) or "none"
    if len(listed) > _LISTED:
        held += f" and {len(listed) - _LISTED} more"
    if column is not None:
        if column not in found:
            raise ValueError(f"{name} has no array {column!r}; it holds {held}")
        return column
    if len(found) != 1 and len(tables) != 1:
        message = f"{name} must hold one array [n, d], got {held}; name one with column (--column)"
        raise AmbiguousError(message, {key: found[key][0] for key in tables})
    return next(iter(tables or found))


def _tables(found: dict[str, tuple[tuple[Any, ...], str]], dtypes: tuple[str, ...]) -> list[str]:
    """Names of the arrays [n, d] of one of the dtypes."""
    return [key for key, (shape, dtype) in found.items() if len(shape) == 2 and dtype in dtypes]


def extra(module: str, extra: str, name: str) -> Any:
    """Import a module that one of the package's extras installs; ValueError if it is missing."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ValueError(f"{name} needs {package} to be read: pip install 'ctflow[{extra}]'") from None
