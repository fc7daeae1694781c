"""The work of `ctflow diagnose` and `ctflow correct`, after the command line is parsed."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ctflow import corrections, io
from ctflow._base.blas import in_one_blas_thread
from ctflow._base.checks import check_count
from ctflow.cli.inputs import check_ids, check_rows, command_on, open_both, pairs_of, temperature_of
from ctflow.cli.outputs import check_output, names_of_files, written
from ctflow.comparison.compare import Comparison, compare
from ctflow.comparison.section import corrections_section
from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis.diagnose import diagnose
from ctflow.embeddings.diagnosis.loss_section import loss_section
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.pairing import UNPAIRED
from ctflow.storage.folders import all_or_none

_FOR_FIT = 20_000


@in_one_blas_thread
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
    check_ids(ids, pairs)
    listed = UNPAIRED if unpaired else None if pairs is None else pairs_of(pairs, first, second, x, y, ids)
    check_rows(first, second, listed, "give --pairs FILE, or --unpaired")
    files = names_of_files("report", (".json", ".md", ".png", ".html"))
    check_output(out, files, overwrite)
    report = diagnose(first, second, pairs=listed, temperature=tau, progress=True, **options)
    if warning is not None:
        report = dataclasses.replace(report, notes=(*report.notes, warning))
    inputs = {"pairs": pairs, "column": column, "columns": columns, "ids": ids, "normalize": normalize}
    inputs |= {"names": options["names"]}
    scale = {"temperature": tau}
    repeat = {
        "command": command,
        "correct": command_on("correct", x, y, inputs),
        "why": command_on("why", x, y, inputs | scale),
    }
    report = dataclasses.replace(report, settings={**report.settings, **repeat})
    if out is None:
        return report, ""
    with all_or_none(out) as folder:
        for name in files:
            if name == "report.html":
                extra = (
                    *loss_section(report, first, second, listed),
                    *corrections_section(report, first, second, listed),
                )
                (folder / name).write_text(report.to_html(extra), encoding="utf-8")
            else:
                report.save(folder / name)
    return report, written(files, out)


@in_one_blas_thread
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
    check_ids(ids, pairs)
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
