"""What rounding a row's numbers show, and how far from 1 it may have moved the row's norm.

Embeddings are often computed or stored in a coarser precision than that of the file: float16 features saved
as float32, float32 rows written by `.tolist()`, numbers printed with six decimals. The numbers themselves
tell: those of a row that was once float16 are all float16 numbers. A row whose numbers use the full precision
of the file was never rounded, so a norm that is off then means that the row was not normalised.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

# Largest distance of a unit row's norm from 1. For float32 and float64 it is 64 rounding errors, as for any
# cloud, because norms are summed in that precision. Half precisions only store rows normalised in float32,
# whose error is 0.5 eps, or 1 eps if the norm was rounded too; 64 would accept norms of 0.94 or 0.5.
BASE = {"float16": 4 * 2**-10, "bfloat16": 4 * 2**-7, "float32": 64 * 2**-23, "float64": 64 * 2**-52}
_MOST = max(BASE.values())
# How numbers may be printed, from coarse to fine. Those of a float64 have 16 digits, so 12 show a rounding.
# In float32, more than 5 explain nothing further.
_PRINTED = {
    "float32": "4 decimals, 4 digits, 5 decimals, 5 digits",
    "float64": (
        "4 decimals, 4 digits, 5 decimals, 5 digits, 6 decimals, 6 digits, 9 digits, 7 decimals, 8 decimals, "
        "9 decimals, 10 decimals, 11 decimals, 12 decimals, 12 digits"
    ),
}
# Fewer float16 numbers may be bfloat16 numbers by chance: each of them is with probability 1/8.
_LEAST_WIDTH = 8
# A float16 is printed with up to 5 digits, and a float32 with up to 9, or as many as the writer likes.
_HALF_DIGITS = 5


def origins(rows: np.ndarray, norms: np.ndarray, stored: str) -> tuple[np.ndarray, dict[str, float]]:
    """Which rows have the norm of a unit row that was rounded, and in which coarser ways they were rounded.

    Args:
        rows: rows [k, d] as stored, in float32 or float64.
        norms: their norms [k].
        stored: name of the dtype of the file.

    Returns:
        Whether each norm [k] is explained; and the tolerances of the coarser ways that were needed, by names
        such as `float16`, `5 decimals` or `6 digits`, for each row the coarsest way that its numbers show.
    """
    if stored not in BASE:  # quantised rows have no norm to keep
        return np.ones(len(rows), bool), {}
    off, found = np.abs(norms - 1), {}
    good = off <= BASE[stored]
    open_rows = np.flatnonzero(~good & (off <= _MOST))
    for name, tolerance, fits in _ways(stored, rows.shape[1]):
        if not open_rows.size:
            break
        able = open_rows[off[open_rows] <= tolerance]
        mine = able[fits(rows[able])] if able.size else able
        if mine.size:
            found[name] = tolerance
            good[mine] = True
            open_rows = open_rows[~good[open_rows]]
    return good, found


def _ways(stored: str, d: int) -> Iterator[tuple[str, float, Any]]:
    """Name, tolerance and test of each coarser rounding, from the coarsest to the finest."""
    if stored == "bfloat16" or (stored == "float16" and d < _LEAST_WIDTH):
        return
    yield "bfloat16", BASE["bfloat16"], _holds("bfloat16")
    if stored == "float16":
        return
    yield "float16", BASE["float16"], _holds("float16")
    for name in _PRINTED[stored].split(", "):
        count = int(name.split()[0])
        # Rounding to k decimals moves a row by at most half of 10^-k in each of d directions. Rounding to m
        # digits changes a norm by at most this share. The numbers may be those of a coarser dtype, printed.
        if name.endswith("decimals"):
            yield name, max(BASE["float32"], 0.5 * 10**-count * d**0.5), _decimals(count, stored)
        else:
            dtype = "float16" if count <= _HALF_DIGITS else "float32"
            yield name, max(BASE[dtype], 0.5 * 10 ** (1 - count)), _digits(count, stored)
    if stored == "float64":
        yield "float32", BASE["float32"], _holds("float32")


def _holds(name: str) -> Any:
    """A test whether all numbers of each row [k, d] are numbers of a coarser dtype."""

    def fits(rows: np.ndarray) -> np.ndarray:
        if name == "bfloat16":
            # The upper half of a float32, so that the package ml_dtypes is not needed.
            single = rows.astype(np.float32)
            return ((single == rows) & (single.view(np.uint32) & 0xFFFF == 0)).all(axis=1)
        return (rows.astype(name).astype(rows.dtype) == rows).all(axis=1)

    return fits


def _decimals(count: int, stored: str) -> Any:
    """A test whether all numbers of each row [k, d] have at most `count` decimals."""

    def fits(rows: np.ndarray) -> np.ndarray:
        return _whole(rows.astype(np.float64) * 10.0**count, stored)

    return fits


def _digits(count: int, stored: str) -> Any:
    """A test whether all numbers of each row [k, d] have at most `count` significant digits."""

    def fits(rows: np.ndarray) -> np.ndarray:
        numbers = rows.astype(np.float64)
        size = np.abs(numbers)
        exponents = np.floor(np.log10(np.where(size > 0, size, 1)))
        return _whole(numbers * 10.0 ** (count - 1 - exponents), stored)

    return fits


def _whole(scaled: np.ndarray, stored: str) -> np.ndarray:
    """Whether all numbers of each row are integers, up to the rounding of the stored dtype and of scaling."""
    slack = (1.05 * 2**-24 if stored == "float32" else 2**-50) * np.abs(scaled)
    return (np.abs(scaled - np.rint(scaled)) <= slack).all(axis=1)


def in_words(norm: float, off: float) -> str:
    """A norm with as many decimals as are needed to see a distance `off` from 1."""
    if off > 0.05:
        return f"{norm:.4g}"
    decimals = max(4, int(np.ceil(-np.log10(off))))
    return f"{norm:.{decimals}f}".rstrip("0").rstrip(".")
