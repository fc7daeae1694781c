"""`ct.view`: a run, or several side by side, as one interactive page."""

import html
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctflow._base.checks import check_count
from ctflow.potentials import PotentialBase
from ctflow.storage.tables import save_as
from ctflow.viewing.axes import axes_of
from ctflow.viewing.page import page
from ctflow.viewing.runs import Run, thinned
from ctflow.viewing.scene import scene
from ctflow.viewing.solutions import any_run
from ctflow.viewing.surfaces import takes_clouds
from ctflow.viewing.words import lead_of, notes_of, title_of

_MOST_RUNS = 4


@dataclass(frozen=True, repr=False)
class View:
    """A page that shows moving clouds; it loads nothing, and a notebook shows it.

    Attributes:
        html: the page.
        title: its title.
    """

    html: str
    title: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page; the path ends in .html.

        Raises:
            ValueError: the path has another ending.
        """
        save_as(path, {".html": lambda: self.html})

    def __repr__(self) -> str:
        """The title and the page's size."""
        size = len(self.html.encode()) / 1e6
        return f"View: {self.title} ({size:.2g} MB); write it with .save('view.html')"

    def _repr_html_(self) -> str:
        """The page in a frame of its own: what a notebook shows."""
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="{html.escape(self.title)}" '
            'sandbox="allow-scripts" style="width:100%;height:820px;border:0"></iframe>'
        )


def view(
    runs: Any,
    *,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    surface: Callable[..., Any] | Sequence[Callable[..., Any] | None] | None = None,
    surface_name: str | None = None,
    axes: str = "auto",
    title: str | None = None,
    max_particles: int = 5000,
    max_frames: int = 200,
) -> View:
    """An interactive page of clouds on the sphere: turn, zoom, play, and charts of what was measured.

    The page colours particles by cloud, by weight, or by any number per particle that was saved. It shows
    every number per step that was saved in a chart with a marker for the current step.

    Args:
        runs: a `ct.Solution` whose clouds were saved (`save=ct.saving.frames(energy)`), an array
            [frames, n, d], a `ct.Pair` or tuple of such arrays, or a `Run` of `ct.viewing.as_run`; or a list
            of up to 4 of these, to be shown side by side and turned together.
        labels: a name for each run.
        names: a name for each cloud, such as ("image", "text").
        surface: what colours the sphere, for d = 2 or 3: a function of points [k, d] to values [k], such as a
            potential, or a function of points and the clouds of a frame; or a list with one per run.
        surface_name: what the surface shows, in words.
        axes: the three axes for d > 3. `gap`: the difference of the first two clouds' means in the last
            frame, then two principal axes; `first` or `last`: the principal axes in that frame; `auto`: `gap`
            if there are two clouds with different means, else `last`. The page says which and how much of the
            variance they show.
        title: title of the page.
        max_particles: particles drawn of each cloud; if there are more, evenly spaced rows are drawn.
        max_frames: frames drawn; if there are more, evenly spaced ones are drawn.

    Returns:
        A `View`: a notebook shows it, and `.save("view.html")` writes it.

    Raises:
        ValueError: no clouds were saved; runs, names, labels or the surface do not fit each other.
    """
    check_count("max_particles", max_particles)
    check_count("max_frames", max_frames, minimum=2)
    given = runs if isinstance(runs, list) else [runs]
    found = [thinned(run, max_particles, max_frames) for run in _together(given, labels, names)]
    surfaces = _surfaces(surface, len(found))
    chosen = axes_of(found, axes)
    shown = _name_of(surfaces, surface_name)
    headline = title_of(found) if title is None else str(title)
    content = scene(found, chosen, surfaces, shown)
    return View(page(headline, lead_of(found, chosen, shown), notes_of(found), content), headline)


def _together(given: list[Any], labels: Sequence[str] | None, names: Sequence[str] | None) -> list[Run]:
    if not 1 <= len(given) <= _MOST_RUNS:
        raise ValueError(f"runs must be 1 to {_MOST_RUNS} runs, got {len(given)}")
    if labels is not None and (isinstance(labels, str) or len(labels) != len(given)):
        raise ValueError(f"labels must have one name for each of the {len(given)} runs, got {labels!r}")
    found = [any_run(of, names) for of in given]
    first = found[0]
    for run in found[1:]:
        if (run.d, len(run.clouds)) != (first.d, len(first.clouds)):
            raise ValueError(
                "runs must have the same dimension and number of clouds to be shown side by side, got "
                f"d = {first.d} with {len(first.clouds)} and d = {run.d} with {len(run.clouds)}"
            )
        if run.unit != first.unit:
            raise ValueError(
                f"runs must all have times, or all have steps, got {first.unit} and {run.unit}; make them "
                "with ct.viewing.as_run(clouds, steps=...)"
            )
    if labels is not None:
        return [replace(run, label=str(label)) for run, label in zip(found, labels, strict=True)]
    if len(found) > 1:
        return [replace(run, label=run.label or f"run {i + 1}") for i, run in enumerate(found)]
    return found


def _surfaces(surface: Any, count: int) -> list[Any]:
    if surface is None:
        return [None] * count
    found = list(surface) if isinstance(surface, list | tuple) else [surface] * count
    if len(found) != count:
        raise ValueError(
            f"surface must be one function or one for each of the {count} runs, got {len(found)}"
        )
    for of in found:
        if of is not None:
            takes_clouds(of)
    return found


def _name_of(surfaces: Sequence[Any], given: str | None) -> str:
    """What the surface shows, in words; empty if there is none."""
    there = [of for of in surfaces if of is not None]
    if not there:
        return ""
    if given is not None:
        return str(given)
    if isinstance(there[0], PotentialBase):
        return "the potential U"
    name = getattr(there[0], "__name__", type(there[0]).__name__)
    return "the given function" if name == "<lambda>" else name.replace("_", " ").strip()
