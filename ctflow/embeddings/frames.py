"""Frames of pandas whose numbers may be missing: nullable dtypes, such as Float32, and those of Arrow."""

from typing import Any

import numpy as np


def nullable(given: Any) -> np.dtype | None:
    """The dtype of all numbers in a pandas frame with columns of nullable numbers; None for anything else."""
    if not all(hasattr(given, name) for name in ("isna", "to_numpy", "columns", "dtypes")):
        return None
    dtypes = list(given.dtypes)
    plain = [getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes]
    if all(isinstance(dtype, np.dtype) for dtype in dtypes):
        return None
    numbers = all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in plain)
    return np.result_type(*plain) if numbers else None


def missing(name: str, given: Any) -> tuple[str, str] | None:
    """If such a frame has missing values: a description of them, and code that drops them.

    Args:
        name: the frame, used in the code.
        given: the frame.
    """
    absent = np.asarray(given.isna())
    rows, columns = np.flatnonzero(absent.any(axis=1)), np.flatnonzero(absent.any(axis=0))
    if not rows.size:
        return None
    (n, d), kind = absent.shape, "a pandas DataFrame with missing values in"
    if n - len(rows) >= 2:
        return f"{kind} {len(rows)} of {n} rows, the first in row {rows[0]}", f"{name}.dropna()"
    if d - len(columns) >= 2:
        return f"{kind} {len(columns)} of {d} columns", f"{name}.dropna(axis='columns')"
    return f"{kind} {len(rows)} of {n} rows", "rows without missing values"
