"""The work of `ctflow diagnose` and `ctflow correct`, after the command line is parsed."""

import dataclasses
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctflow import corrections, io
from ctflow._base.checks import check_count, check_positive
from ctflow.comparison.compare import Comparison, compare
from ctflow.comparison.section import corrections_section
from ctflow.embeddings import Embeddings, open_embeddings, open_pair, read_ids, read_pairs
from ctflow.embeddings.diagnosis.diagnose import diagnose
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.pairing import UNPAIRED
from ctflow.embeddings.sides import labels
from ctflow.pages.bundle import HOW_TO_GET, can_be_made
from ctflow.storage.folders import all_or_none

REPORTS = ("report.json", "report.md", "report.png", "report.html")
_FOR_FIT = 20_000
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
    if len(ids) > 2:
        raise ValueError(f"--ids takes one name, or one for each modality, got {len(ids)}")
    found = tuple(read_ids(path, name) for path, name in zip((x, y or x), (ids[0], ids[-1]), strict=True))
    return read_pairs(pairs, shape, ids=(found[0], found[1]))


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


def _check_ids(ids: tuple[str, ...] | None, pairs: Path | None) -> None:
    if ids is not None and pairs is None:
        raise ValueError("--ids names the columns of ids to which --pairs refers: give --pairs FILE")


def check_output(out: Path | None, names: Sequence[str], overwrite: bool) -> None:
    """Raise ValueError unless `out` is or could become a writable folder without files of these names.

    With `overwrite` the files may exist. Nothing is created here: a bad row found later leaves no folder.
    """
    if out is None:
        return
    nearest = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(f"--out must be a folder that can be written to, got {str(out)!r}; choose another")
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise ValueError(f"{out} already holds {', '.join(there)}; give --overwrite to replace")


def run_diagnose(
    x: Path,
    y: Path | None,
    *,
    pairs: Path | None,
    unpaired: bool,
    out: Path | None,
    overwrite: bool,
    column: str | None,
    columns: tuple[str, str] | None,
    ids: tuple[str, ...] | None,
    normalize: bool,
    temperature: float | None,
    logit_scale: float | None,
    command: str,
    **options: Any,
) -> tuple[Report, str]:
    """Read the embeddings, diagnose them, and write the report if `out` is given.

    Returns:
        The report, and a sentence about what was written.
    """
    check_count("--seed", options["seed"], minimum=0)
    if unpaired and pairs is not None:
        raise ValueError("give --pairs or --unpaired, not both")
    tau, warning = temperature_of(temperature, logit_scale, options["logit_bias"])
    first, second = open_both(x, y, column, columns, normalize)
    _check_ids(ids, pairs)
    listed = UNPAIRED if unpaired else None if pairs is None else pairs_of(pairs, first, second, x, y, ids)
    if listed is None and len(first) != len(second):
        raise ValueError(
            f"{first.name} has {len(first)} rows and {second.name} has {len(second)}; give --pairs FILE, or "
            "--unpaired"
        )
    files = [name for name in REPORTS if name != "report.html" or can_be_made()]
    check_output(out, files, overwrite)
    report = diagnose(first, second, pairs=listed, temperature=tau, progress=True, **options)
    if warning is not None:
        report = dataclasses.replace(report, notes=(*report.notes, warning))
    inputs = {"pairs": pairs, "column": column, "columns": columns, "ids": ids, "normalize": normalize}
    inputs |= {"names": options["names"]}
    repeat = {"command": command, "correct": correct_command(x, y, inputs)}
    report = dataclasses.replace(report, settings={**report.settings, **repeat})
    if out is None:
        return report, ""
    with all_or_none(out) as folder:
        for name in files:
            if name == "report.html":
                extra = corrections_section(report, first, second, listed)
                (folder / name).write_text(report.to_html(extra), encoding="utf-8")
            else:
                report.save(folder / name)
    said = f"wrote {', '.join(files[:-1])} and {files[-1]} into {out}"
    return report, said if "report.html" in files else f"{said}; for the page report.html {HOW_TO_GET}"


def correct_command(x: Path, y: Path | None, inputs: dict[str, Any]) -> str:
    """The `ctflow correct` command for the same input, quoted for a shell."""
    words = ["ctflow", "correct", str(x), *([] if y is None else [str(y)])]
    for name, value in inputs.items():
        if value is True:
            words.append(f"--{name}")
        elif value:
            words += [f"--{name}", *(value if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


def run_correct(
    x: Path,
    y: Path | None,
    *,
    pairs: Path | None,
    method: str | None,
    out: Path | None,
    overwrite: bool,
    column: str | None,
    columns: tuple[str, str] | None,
    ids: tuple[str, ...] | None,
    normalize: bool,
    **options: Any,
) -> Comparison:
    """Fit corrections, measure them on held-out rows, and write the results if `out` is given."""
    check_count("--seed", options["seed"], minimum=0)
    if method in corrections.SCORINGS:
        raise ValueError(
            f"--method {method} has no rows to write: {method} changes scores and moves no rows; leave out "
            f"--method to see its gain, and use ct.corrections.{method} to compute scores"
        )
    if method is not None and out is None:
        raise ValueError("--method writes corrected rows: give --out FOLDER")
    first, second = open_both(x, y, column, columns, normalize)
    _check_ids(ids, pairs)
    listed = None if pairs is None else pairs_of(pairs, first, second, x, y, ids)
    names = ["corrections.csv", "corrections.png"]
    names += [] if method is None else ["correction.safetensors", "x.npy", "y.npy"]
    check_output(out, names, overwrite)
    found = compare(first, second, pairs=listed, max_groups=_FOR_FIT, **options)
    chosen = None if method is None else _usable(found, method)
    if out is not None:
        with all_or_none(out) as folder:
            io.write_csv(folder / "corrections.csv", found.table)
            from ctflow.comparison.trade import trade

            trade(found).save(folder / "corrections.png")
            if chosen is not None:
                chosen.save(folder / "correction.safetensors")
                for name, source in (("x", first), ("y", second)):
                    _write_rows(folder / f"{name}.npy", source, chosen, name)
    return found


def _usable(found: Comparison, method: str) -> corrections.Correction:
    """The fitted correction of a method.

    Raises:
        ValueError: the method failed on these rows.
    """
    fitted = found.fitted.get(method)
    if not isinstance(fitted, corrections.Correction):
        (place,) = np.flatnonzero(found.table["method"] == method)
        raise ValueError(f"--method {method} failed and nothing was written: {found.table['failed'][place]}")
    return fitted


def _write_rows(path: Path, source: Embeddings, correction: corrections.Correction, name: str) -> None:
    """Write the corrected rows in the dtype of the source, one block at a time."""
    dtype = source.dtype.newbyteorder("<")
    with io.atomic(path) as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": source.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in correction.stream(name, source):
            file.write(np.ascontiguousarray(block, dtype).tobytes())
