"""The output folder of a command: checked before the work, written completely or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctflow.pages.bundle import HOW_TO_GET, can_be_made
from ctflow.storage.folders import all_or_none


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


def names_of_files(stem: str, endings: Sequence[str]) -> list[str]:
    """Names of the files to write; a page needs Plotly."""
    return [stem + ending for ending in endings if ending != ".html" or can_be_made()]


def write(found: Any, out: Path | None, files: Sequence[str]) -> str:
    """Write the files into a folder, all or none, with `found.save`; returns a sentence about it."""
    if out is None:
        return ""
    with all_or_none(out) as folder:
        for name in files:
            found.save(folder / name)
    return written(files, out)


def written(files: Sequence[str], out: Path) -> str:
    """A sentence about the files that were written, and about a page that could not be."""
    said = f"wrote {', '.join(files[:-1])} and {files[-1]} into {out}"
    page = f"{files[0].partition('.')[0]}.html"
    return said if page in files else f"{said}; for the page {page} {HOW_TO_GET}"
