"""Checks of rows as in `diagnose`, for functions that also accept a single vector."""

import os
from typing import Any

import numpy as np

from ctflow.embeddings import Embeddings, as_embeddings
from ctflow.embeddings.array_likes import as_array
from ctflow.embeddings.names import LETTERS


def both(
    x: Any, y: Any, *, normalize: bool = False, names: tuple[str, str] = LETTERS
) -> tuple[Embeddings, Embeddings]:
    """Unit rows [n, d] and [m, d] of equal width, checked; arrays get these names in messages.

    Raises:
        ValueError: `ctflow.embeddings.as_embeddings` refuses the rows, or the widths differ.
    """
    first, second = (
        as_embeddings(z, name=name, normalize=normalize) for name, z in zip(names, (x, y), strict=True)
    )
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{first.name} and {second.name} must have rows of one width, got {first.shape[1]} and "
            f"{second.shape[1]}"
        )
    return first, second


def any_number(
    name: str, given: Any, width: int | None, normalize: bool
) -> tuple[Embeddings, tuple[int, ...]]:
    """Rows [n, d] for any n >= 0, or one vector [d], as embeddings, with the shape of the argument.

    Embeddings need at least two rows, so fewer rows are padded with unit vectors; the caller ignores these.

    Raises:
        ValueError: another width, or no floating-point numbers; norms are checked later, when rows are read.
    """
    if isinstance(given, Embeddings | str | os.PathLike):
        found = as_embeddings(given, name=name, normalize=normalize)
        shape = found.shape
    else:
        array = as_array(name, given)
        shape = array.shape
        array = array[None] if array.ndim == 1 else array
        if array.ndim == 2 and len(array) < 2 and array.shape[1] > 1:
            array = np.concatenate([array, np.eye(2, array.shape[1], dtype=array.dtype)])
        found = as_embeddings(array, name=name, normalize=normalize)
    if width is not None and found.shape[1] != width:
        raise ValueError(
            f"{name} must be rows [n, {width}], as the correction was fitted on, got {list(shape)}"
        )
    return found, shape
