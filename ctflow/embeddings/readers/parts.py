"""What the readers of all formats share: the interface, the checks of a table, and the bounds on memory."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from ctflow._base.host_memory import host_bytes, in_words

FLOATS = ("float16", "bfloat16", "float32", "float64")
BLOCK_BYTES = 1 << 23
"""Rows are copied and unpacked in blocks of about this size."""
_SMALL_BYTES = 1 << 26
_ALWAYS_BYTES = 1 << 27
_SHARE = 8
_RATIO = 16
_KEPT_RATIO = 4
# What a diagnosis keeps per row beside the row itself: its number, group, weight and the like.
_BYTES_PER_ROW = 64
_LISTED = 8


class Part(Protocol):
    """One file, or one array, of rows."""

    name: str
    shape: Any
    dtype: np.dtype

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write rows, for strictly increasing numbers [k], k >= 1, into out [k, d], cast to its dtype."""
        ...

    def close(self) -> None:
        """Let go of open files and of what was decoded; a later `read` opens and decodes again."""
        ...


class Memory:
    """An array in memory."""

    def __init__(self, name: str, array: np.ndarray):
        self.name, self.shape, self.dtype = name, array.shape, array.dtype
        self._array = array

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        gather(self._array, rows, out)

    def close(self) -> None:
        """Nothing to let go of."""


def gather(source: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Write rows of an array into out, without a copy of all of them in between."""
    for block in blocks(len(rows), source.shape[1] * source.dtype.itemsize):
        out[block] = source[rows[block]]


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of `count` things of `size` bytes each, `BLOCK_BYTES` or one thing at a time."""
    step = max(1, BLOCK_BYTES // max(size, 1))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def spans(rows: np.ndarray) -> list[tuple[int, int]]:
    """Strictly increasing numbers [k], k >= 1, as runs: first, and one past the last."""
    last = np.flatnonzero(np.diff(rows) != 1)
    firsts, stops = rows[np.append(0, last + 1)], rows[np.append(last, len(rows) - 1)] + 1
    return list(zip(firsts.tolist(), stops.tolist(), strict=True))


def share_of_memory() -> int:
    """An eighth of the machine's memory, in bytes."""
    return host_bytes() // _SHARE


def check_piece(name: str, what: str, size: int, stored: int, remedy: str) -> None:
    """Raise ValueError if a piece that must be unpacked at once would take too much, before it is unpacked.

    At most an eighth of the memory; and more than 128 MiB only if that is at most 16 times the size of the
    file, since the numbers of real embeddings hardly compress.

    Args:
        name: of the file, used in the message.
        what: the piece, used in the message.
        size: bytes that it takes unpacked.
        stored: bytes that the file takes.
        remedy: used in the message.
    """
    _check_size(name, what, size, min(share_of_memory(), max(_ALWAYS_BYTES, _RATIO * stored)), stored, remedy)


def check_whole(name: str, what: str, size: int, stored: int, remedy: str) -> None:
    """Raise ValueError if all of something that is unpacked bit by bit would take far more than its file.

    At most an eighth of the memory, or 16 times the size of the file if that is more. Arguments as for
    `check_piece`.
    """
    _check_size(name, what, size, max(share_of_memory(), _RATIO * stored), stored, remedy)


def _check_size(name: str, what: str, size: int, limit: int, stored: int, remedy: str) -> None:
    if size > limit:
        raise ValueError(
            f"{name}: {what} unpacks to {in_words(size)}, at most {in_words(limit)} may be unpacked at once "
            f"of a file of {in_words(stored)}; {remedy}"
        )


def check_promise(name: str, part: Part, stored: int) -> None:
    """Raise ValueError if a file promises so many or such long rows that it cannot hold them.

    The numbers of its rows would fill the memory alone, or a single row would.
    """
    n, d = part.shape
    if n * _BYTES_PER_ROW > max(share_of_memory(), _RATIO * stored):
        raise ValueError(
            f"{name} must hold the rows it promises, got {in_words(stored)} for {n} rows; write it again"
        )
    check_piece(name, "one row", d * part.dtype.itemsize, stored, "write it again")


def worth_keeping(size: int, stored: int) -> bool:
    """Whether unpacked rows are kept for the next call: 64 MiB always, more if the file is as large.

    What is kept takes at most four times the size of its file, so that a small file never fills the memory.
    """
    return size <= max(_SMALL_BYTES, min(_KEPT_RATIO * stored, share_of_memory()))


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


def extra(module: str, extra: str, name: str) -> Any:
    """A module that one of the package's extras brings."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ValueError(f"{name} takes {package} to read: pip install 'ctflow[{extra}]'") from None
