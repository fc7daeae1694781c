"""Rows in Arrow columns: one list or tensor per row, or one number per row in each of many columns."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ctflow.embeddings.readers.parts import FLOATS, NUMBERS, QUANTISED, choose
from ctflow.embeddings.readers.tables import groups

_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64"}
_LISTS = ("list<", "large_list<", "fixed_size_list<")


class Chosen(NamedTuple):
    """The columns that hold the rows."""

    name: str
    columns: tuple[str, ...]
    dtype: np.dtype
    wide: bool
    """Whether each column holds one number per row, and not a list."""


def choose_columns(name: str, types: dict[str, Any], n: int, column: str | None) -> Chosen:
    """Choose the column of lists, or the columns of numbers, that hold the rows.

    Args:
        name: name of the file, used in messages.
        types: Arrow type of each column.
        n: number of rows.
        column: the column that is asked for; for many columns `emb_0`, `emb_1`, …, their stem `emb`.

    Raises:
        ValueError: the choice is not unique, or the columns hold no numbers.
    """
    found = {key: ((n, *_width(kind)), _numbers_of(kind)) for key, kind in types.items()}
    scalars = {key: _numbers_of(kind) for key, kind in types.items() if not _width(kind)}
    wide = {} if column in types else {g.name: g.columns for g in groups(scalars, (*FLOATS, *QUANTISED))}
    if wide and (column in wide or not any(len(shape) == 2 for shape, _ in found.values())):
        for key, members in wide.items():
            first = found[members[0]]
            found = {other: entry for other, entry in found.items() if other not in members}
            found[key] = ((n, len(members)), first[1])
    key = choose(name, found, column)
    shape, dtype = found[key]
    if len(shape) != 2 or dtype not in NUMBERS:
        raise ValueError(
            f"{name} must hold lists of floating-point numbers in column {key!r}, got {types[key]}; name "
            "another column with column=... (--column)"
        )
    members = (key,) if key in types and key not in wide else wide[key]
    return Chosen(key, members, np.dtype(dtype), key in wide)


def refusal(name: str, column: str, row: int, fault: str) -> ValueError:
    """The exception for a row that is null, of another length, or holds nulls."""
    return ValueError(
        f"{name} must hold lists of one length without nulls in column {column!r}: row {row} {fault}; drop "
        "such rows"
    )


def rows_of(chosen: Chosen, batch: Any, d: int | None, refuse: Callable[[int, str], Exception]) -> np.ndarray:
    """The rows [k, d] in a record batch.

    Args:
        chosen: which columns hold them.
        batch: an Arrow record batch with at least these columns.
        d: the expected length of a row; None takes that of the first row.
        refuse: makes the exception for row i of the batch, told what is wrong with it.
    """
    if not chosen.wide:
        return _of_lists(batch.column(chosen.columns[0]), d, refuse)
    out = np.empty((len(batch), len(chosen.columns)), chosen.dtype)
    for place, name in enumerate(chosen.columns):
        column = batch.column(name)
        if column.null_count:
            row = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]
            raise refuse(int(row), f"holds a null in column {name!r}")
        out[:, place] = column.to_numpy(zero_copy_only=False)
    return out


def _of_lists(lists: Any, d: int | None, refuse: Callable[[int, str], Exception]) -> np.ndarray:
    """The rows in a column of lists, of tensors with one long dimension, or of lists of one list each."""
    lists = getattr(lists, "storage", lists)
    if str(lists.type.value_type).startswith(_LISTS):
        lengths = _lengths(lists)
        if (wrong := np.flatnonzero(lengths != 1)).size:
            at = int(wrong[0])
            raise refuse(at, "is null" if lengths[at] < 0 else f"is a table of {lengths[at]} lists")
        lists = lists.flatten()
    lengths = _lengths(lists)
    if d is None:
        d = int(lengths[0]) if len(lengths) and lengths[0] >= 0 else 0
    if (wrong := np.flatnonzero((lengths != d) | (lengths < 0))).size:
        at = int(wrong[0])
        known = f"has length {lengths[at]}, but the first row has {d}"
        raise refuse(at, "is null" if lengths[at] < 0 else known)
    values = lists.flatten()
    if values.null_count:
        at = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise refuse(at // d, "holds a null")
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), d)


def _lengths(lists: Any) -> np.ndarray:
    """The length of each list, -1 for nulls."""
    return import_module("pyarrow.compute").list_value_length(lists).fill_null(-1).to_numpy()


def storage(kind: Any) -> Any:
    """The type in which an extension type is stored; any other type itself."""
    return getattr(kind, "storage_type", kind)


def _width(kind: Any) -> tuple[Any, ...]:
    """The shape of an Arrow column after [n]: the lists' length if it holds lists, else empty."""
    tensor = tuple(size for size in getattr(kind, "shape", ()) if size != 1)
    if len(tensor) > 1:
        return tensor
    kind = storage(kind)
    return (getattr(kind, "list_size", "?"),) if str(kind).startswith(_LISTS) else ()


def _numbers_of(kind: Any) -> str:
    """NumPy's name of the numbers in an Arrow type, also in lists of lists."""
    kind = storage(kind)
    for _ in range(2):
        kind = kind.value_type if str(kind).startswith(_LISTS) else kind
    return _NAMES.get(str(kind), str(kind))


def leaves(kind: Any) -> int:
    """Number of Parquet columns in which an Arrow type is stored."""
    kind = storage(kind)
    return sum(leaves(kind.field(i).type) for i in range(kind.num_fields)) if kind.num_fields else 1
