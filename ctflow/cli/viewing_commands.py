"""The command that shows runs. Heavy imports stay inside it."""

from pathlib import Path
from typing import Literal

import tyro

from ctflow._base.refusals import refusals
from ctflow.cli.app import app


@app.command
def view(
    folders: tyro.conf.Positional[tuple[Path, ...]],
    *,
    names: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    axes: Literal["auto", "gap", "first", "last"] = "auto",
    title: str | None = None,
    max_particles: int = 5000,
    max_frames: int = 200,
    out: Path = Path("."),
    overwrite: bool = False,
) -> None:
    """Make an interactive page, view.html, of the moving clouds that a run left in a folder.

    A folder is a checkpoint folder of ct.solve, holds an .npz file with `clouds`, or `x` and `y`, of shape
    [frames, n, d] (such as figures/gap_formation), or holds files of ct.io.save_clouds, one per frame.
    Several runs are shown side by side.

    Args:
        folders: folders or files, up to 4 runs in all.
        names: a name for each cloud.
        labels: a name for each run.
        axes: the three axes for more than three dimensions: gap (the difference of the means first), first
            or last (principal axes of that frame), or auto.
        title: title of the page.
        max_particles: particles drawn of each cloud.
        max_frames: frames drawn.
        out: folder for view.html.
        overwrite: replace an existing view.html.
    """
    with refusals("ctflow view"):
        from ctflow.cli.outputs import check_output
        from ctflow.storage.folders import all_or_none
        from ctflow.viewing import open_runs
        from ctflow.viewing import view as made

        if not folders:
            raise ValueError("give the folder of a run, such as the checkpoint folder of ct.solve")
        check_output(out, ["view.html"], overwrite)
        runs = [run for folder in folders for run in open_runs(folder)]
        page = made(
            runs,
            names=names or None,
            labels=labels or None,
            axes=axes,
            title=title,
            max_particles=max_particles,
            max_frames=max_frames,
        )
        with all_or_none(out) as folder:
            page.save(folder / "view.html")
    print(f"wrote {out / 'view.html'}")
