"""The work of `ctflow why`, after the command line is parsed."""

import dataclasses
from pathlib import Path
from typing import Any

from ctflow._base.blas import in_one_blas_thread
from ctflow.causes.explanation import Explanation
from ctflow.causes.why import why
from ctflow.cli.inputs import check_ids, check_rows, open_both, pairs_of, temperature_of
from ctflow.cli.outputs import check_output, names_of_files, write
from ctflow.embeddings import Embeddings


@in_one_blas_thread
def run_why(
    x: Path,
    y: Path | None,
    *,
    temperature: float | None,
    logit_scale: float | None,
    pairs: Path | None,
    ids: tuple[str, ...] | None,
    start: tuple[Path, ...],
    column: str | None,
    columns: tuple[str, str] | None,
    normalize: bool,
    out: Path | None,
    overwrite: bool,
    command: str,
    **options: Any,
) -> tuple[Explanation, str]:
    """Read the embeddings, explain their gap, and write the results if `out` is given.

    Returns:
        The explanation, and a sentence about what was written.
    """
    tau, warning = temperature_of(temperature, logit_scale)
    if tau is None:
        raise ValueError(
            "give the temperature of the model's loss: --temperature, or --logit-scale 100 for CLIP"
        )
    first, second = open_both(x, y, column, columns, normalize)
    check_ids(ids, pairs)
    listed = None if pairs is None else pairs_of(pairs, first, second, x, y, ids)
    check_rows(first, second, listed, "give --pairs FILE")
    early = None if not start else _early(start, column, columns, normalize)
    files = names_of_files("why", (".json", ".md", ".png", ".html"))
    check_output(out, files, overwrite)
    found = why(first, second, temperature=tau, pairs=listed, start=early, progress=True, **options)
    notes = found.notes if warning is None else (*found.notes, warning)
    found = dataclasses.replace(found, notes=notes, settings=found.settings | {"command": command})
    return found, write(found, out, files)


def _early(
    start: tuple[Path, ...], column: str | None, columns: tuple[str, str] | None, normalize: bool
) -> tuple[Embeddings, Embeddings]:
    """Both modalities of an early checkpoint, from one path or two."""
    match start:
        case (one,):
            return open_both(one, None, column, columns, normalize)
        case (x, y):
            return open_both(x, y, column, columns, normalize)
        case _:
            raise ValueError(
                f"--start takes one path with both modalities, or one for each, got {len(start)}"
            )
