"""The sentences of a page: what is drawn, along which axes, and what is left out."""

from collections.abc import Iterable, Sequence

from ctflow.viewing.axes import Axes
from ctflow.viewing.runs import Run


def title_of(runs: Sequence[Run]) -> str:
    """A title that says what is there."""
    what = "A cloud" if len(runs[0].clouds) == 1 else f"{_counted(len(runs[0].clouds))} clouds"
    many = f", {_counted(len(runs)).lower()} runs side by side" if len(runs) > 1 else ""
    return f"{what} on {sphere(runs[0].d)}{many}"


def sphere(d: int) -> str:
    """The sphere in R^d in words."""
    superscript = str(d - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return {2: "the circle S¹", 3: "the sphere S²"}.get(d, f"the sphere S{superscript} in {d} dimensions")


def lead_of(runs: Sequence[Run], axes: Axes, surface: str) -> list[str]:
    """What a reader needs to read the picture."""
    return [
        _drawn(runs),
        _axes(runs[0].d, len(runs[0].clouds), axes),
        *([_surface(surface)] if surface else []),
    ]


def notes_of(runs: Sequence[Run]) -> list[str]:
    """What is left out, run by run."""
    return list(
        dict.fromkeys(
            f"{run.label}: {note}" if len(runs) > 1 and run.label else note
            for run in runs
            for note in run.notes
        )
    )


def _counted(number: int) -> str:
    """A number that begins a sentence."""
    return {1: "One", 2: "Two", 3: "Three", 4: "Four"}.get(number, str(number))


def _drawn(runs: Sequence[Run]) -> str:
    counts = sorted({z.shape[1] for run in runs for z in run.clouds})
    particles = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    clouds = len(runs[0].clouds)
    what = (
        f"One cloud of {particles} particles"
        if clouds == 1
        else f"{_counted(clouds)} clouds of {particles} particles each"
    )
    where = f"{what} on {sphere(runs[0].d)}"
    frames = sorted({run.frames for run in runs})
    if frames == [1]:
        return f"{where}, at one saved step."
    steps = f"{frames[0]}" if len(frames) == 1 else f"{frames[0]} to {frames[-1]}"
    unit = runs[0].unit
    first, last = min(run.clock[0] for run in runs), max(run.clock[-1] for run in runs)
    return (
        f"{where}, at {steps} saved steps from {unit} {first:.6g} to {unit} {last:.6g}. The picture shows "
        "saved steps only: nothing is filled in between them."
    )


def _axes(d: int, clouds: int, axes: Axes) -> str:
    if d == 2:
        if clouds == 1:
            return "Drag to turn the circle."
        return (
            "Each further cloud is drawn on a slightly larger circle, so that all can be seen. Drag to turn."
        )
    if d == 3:
        return "Drag to turn the sphere. Points on the far side are paler. 1, 2 and 3 mark its axes."
    first, last = (f"{share:.0%}" for share in axes.shares)
    shown = f"They show {last} of the variance of the last step and {first} of the first."
    if axes.kind == "gap":
        which = (
            "Three axes are drawn: the difference of the first two clouds' means at the last step, and the "
            "two directions of largest variance across it."
        )
    else:
        which = f"The three axes are the directions of largest variance at the {axes.kind} step."
    return f"{which} {shown} Points lie inside the ball; points farther away are paler. Drag to turn."


def _surface(name: str) -> str:
    return f"The surface is coloured by {name}."


def in_order(series: Iterable[str]) -> list[str]:
    """Names of series with the energy, gaps and distances first: what most readers look for."""
    wanted = ("gap", "distance")

    def rank(name: str) -> int:
        if name == "energy":
            return -1
        return next((i for i, word in enumerate(wanted) if word in name), len(wanted))

    return sorted(series, key=rank)
