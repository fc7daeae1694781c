"""What the commands on embeddings share: opening files, pairs, the temperature, and the output folder."""

import math
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from ctflow._base.checks import check_positive
from ctflow.embeddings import Embeddings, open_embeddings, open_pair, read_ids, read_pairs
from ctflow.embeddings.sides import labels

_GREATEST_TEMPERATURE = 5.0  # a larger one may be a factor; no known model has a temperature above 1
_LEAST_SCALE = 7.0  # a smaller value may be a logarithm; no known model has a scale above e^7


def open_both(
    x: Path, y: Path | None, column: str | None, columns: tuple[str, str] | None, normalize: bool
) -> tuple[Embeddings, Embeddings]:
    """Open two files, or one path that holds both modalities.

    Raises:
        ValueError: both paths name one file, only one modality is given, or a file cannot be opened.
    """
    if column is not None and columns is not None:
        raise ValueError("give --column or --columns, not both")
    if y is None and column is not None:
        raise ValueError(
            f"--column {column} names one modality of {x}; give both with --columns {column} OTHER, or the "
            "other modality's file too"
        )
    if y is None:
        return open_pair(x, columns=columns, normalize=normalize)
    names = (column, column) if columns is None else columns
    first, second = (
        open_embeddings(path, column=name, normalize=normalize)
        for path, name in zip((x, y), names, strict=True)
    )
    if os.path.samefile(x, y) and names[0] == names[1]:
        raise ValueError(
            f"{x} and {y} are one file{'' if names[0] is None else f', read with one column {names[0]!r}'}: "
            "a modality compared with itself has no gap; give two files, or --columns A B"
        )
    if columns is not None and first.label == second.label:
        first.label, second.label = labels(*columns)
    return first, second


def pairs_of(
    pairs: Path, first: Embeddings, second: Embeddings, x: Path, y: Path | None, ids: tuple[str, ...] | None
) -> np.ndarray:
    """Read the pairs, by the ids in the files of embeddings if the columns of ids are named.

    Raises:
        ValueError: an id or index is unknown, or a file cannot be read.
    """
    shape = len(first), len(second)
    if ids is None:
        return read_pairs(pairs, shape)
    if not 1 <= len(ids) <= 2:
        raise ValueError(f"--ids takes one name, or one for each modality, got {len(ids)}")
    known = read_ids(x, ids[0]), read_ids(x if y is None else y, ids[-1])
    return read_pairs(pairs, shape, ids=known)


def check_rows(first: Embeddings, second: Embeddings, pairs: Any, remedy: str) -> None:
    """Raise ValueError if rows are paired one by one and their numbers differ."""
    if pairs is None and len(first) != len(second):
        raise ValueError(f"{first.name} has {len(first)} rows and {second.name} has {len(second)}; {remedy}")


def temperature_of(
    temperature: float | None, logit_scale: float | None, logit_bias: float | None = None
) -> tuple[float | None, str | None]:
    """The temperature τ from either option, with a warning if the given scale may be its logarithm.

    Args:
        temperature: τ.
        logit_scale: the factor 1/τ that multiplies cosines. Checkpoints store its logarithm.
        logit_bias: SigLIP's bias, if given.

    Raises:
        ValueError: both options are given, one is not > 0, or the scale is the logarithm that CLIP stores.
    """
    if logit_scale is None:
        if temperature is not None:
            check_positive("--temperature", temperature)
            if temperature >= _GREATEST_TEMPERATURE:
                return temperature, (
                    f"--temperature {temperature:g} makes all cosines count alike; if it is the factor that "
                    f"multiplies cosines, give --logit-scale {temperature:g}"
                )
        return temperature, None
    if temperature is not None:
        raise ValueError("give --temperature or --logit-scale, not both")
    check_positive("--logit-scale", logit_scale)
    if abs(logit_scale - math.log(100)) < 0.02:
        raise ValueError(
            f"--logit-scale {logit_scale:g} looks like the parameter that CLIP stores, log(100) = 4.605: "
            "give its exponential, --logit-scale 100"
        )
    if logit_scale >= _LEAST_SCALE and logit_bias is None:
        return 1 / logit_scale, None
    meant = ""
    if logit_scale < math.log(np.finfo(float).max):
        meant = (
            "; if it is the logarithm that a checkpoint stores, give its exponential, --logit-scale "
            f"{math.exp(logit_scale):.5g}"
        )
    return 1 / logit_scale, (
        f"--logit-scale {logit_scale:g} is taken as the factor that multiplies cosines: temperature "
        f"{1 / logit_scale:.3g}{meant}"
    )


def check_ids(ids: tuple[str, ...] | None, pairs: Path | None) -> None:
    """Raise ValueError if columns of ids are named without a file of pairs."""
    if ids is not None and pairs is None:
        raise ValueError("--ids names the columns of ids to which --pairs refers: give --pairs FILE")


def command_on(name: str, x: Path, y: Path | None, inputs: dict[str, Any]) -> str:
    """Another command for the same input, quoted for a shell."""
    words = ["ctflow", name, str(x), *([] if y is None else [str(y)])]
    for option, value in inputs.items():
        if value is True:
            words.append(f"--{option}")
        elif value:
            words += [f"--{option}", *(value if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)
