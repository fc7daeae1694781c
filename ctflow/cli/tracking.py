"""The work of `ctflow track`, after the command line is parsed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctflow._base.blas import in_one_blas_thread
from ctflow.cli.inputs import temperature_of
from ctflow.cli.outputs import check_output, names_of_files, write
from ctflow.embeddings import read_pairs
from ctflow.tracking.series import places
from ctflow.tracking.trace import Trace
from ctflow.tracking.track import track


@in_one_blas_thread
def run_track(
    checkpoints: Sequence[Path],
    *,
    temperature: float | None,
    logit_scale: float | None,
    pairs: Path | None,
    columns: tuple[str, str] | None,
    normalize: bool,
    out: Path | None,
    overwrite: bool,
    command: str,
    **options: Any,
) -> tuple[Trace, str]:
    """Diagnose the checkpoints, and write the results if `out` is given.

    Returns:
        The trace, and a sentence about what was written.
    """
    tau, _ = temperature_of(temperature, logit_scale)
    listed = None
    if pairs is not None:
        first, second = places(checkpoints)[0].open(columns, normalize)
        listed = read_pairs(pairs, (len(first), len(second)))
    files = names_of_files("track", (".csv", ".json", ".png", ".html"))
    check_output(out, files, overwrite)
    options |= {"columns": columns, "normalize": normalize}
    found = track(checkpoints, temperature=tau, pairs=listed, progress=True, **options)
    found = dataclasses.replace(found, settings=found.settings | {"command": command})
    return found, write(found, out, files)
