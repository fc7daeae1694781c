"""A `ct.Solution` as a run: which of the saved arrays are the clouds, which are series or fields."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ctflow._base.pytree import named_leaves
from ctflow.clouds import WeightedCloud, points
from ctflow.running.solution import Solution
from ctflow.viewing.runs import Run, as_run, cloud_names

_FEW = 8  # entries of a vector that are shown as series of their own
_REMEDY = (
    "pass save=ct.saving.frames(energy) to ct.solve, or a function of your own that returns "
    '{"clouds": clouds, ...}'
)


def any_run(given: Any, names: Sequence[str] | None = None) -> Run:
    """A run from a solution, from arrays, or from a run.

    Raises:
        ValueError: the solution holds no clouds of the saved steps, or the arrays are no clouds.
    """
    if isinstance(given, str | os.PathLike):
        raise ValueError(
            f"runs must be solutions or arrays, got the path {os.fspath(given)!r}; use "
            "ct.view(ct.viewing.open_runs(path))"
        )
    if isinstance(given, Solution):
        return run_of(given, names=names, label="")
    if isinstance(given, Run):
        return given if names is None else replace(given, names=cloud_names(names, len(given.clouds)))
    return as_run(given, names=names)


def run_of(solution: Solution, *, names: Sequence[str] | None, label: str) -> Run:
    """The run that a solution holds.

    Raises:
        ValueError: it holds no clouds of the saved steps.
    """
    found = _find_clouds(solution)
    if found is None:
        raise ValueError(
            f"the solution must hold the clouds of its saved steps, but they were not saved; {_REMEDY}"
        )
    key, clouds = found
    rest = {} if key is None else {name: value for name, value in solution.saved.items() if name != key}
    shapes = [np.shape(z) for z in jax.tree.leaves(points(clouds))]
    series, fields, notes = sorted_out(
        {k: np.asarray(v) for k, v in named_leaves(rest)}, shapes, _pairs(rest, shapes)
    )
    clock = {"steps": solution.steps} if solution.times is None else {"times": solution.times}
    run = as_run(clouds, **clock, series=series, fields=fields, names=names, label=label)
    return replace(run, notes=tuple(notes))


def _find_clouds(solution: Solution) -> tuple[Any, Any] | None:
    """The key in `saved` (None: all of it) and the clouds of every frame."""
    saved, frames = solution.saved, len(solution.steps)
    for ours in (solution.clouds, points(solution.clouds)):
        wanted = jax.tree.structure(ours), [(frames, *np.shape(leaf)) for leaf in jax.tree.leaves(ours)]
        candidates = [(None, saved), *(saved.items() if isinstance(saved, dict) else ())]
        for key, value in candidates:
            if (jax.tree.structure(value), [np.shape(leaf) for leaf in jax.tree.leaves(value)]) == wanted:
                return key, value
    # Part of the particles, say, or another of the run's clouds: the name says that they are clouds.
    return ("clouds", saved["clouds"]) if isinstance(saved, dict) and "clouds" in saved else None


def _pairs(saved: dict[str, Any], shapes: list[tuple[int, ...]]) -> dict[str, tuple]:
    """Entries that are tuples of one array [frames, n] per cloud."""
    wanted = [shape[:2] for shape in shapes]
    return {
        name: tuple(map(np.asarray, value))
        for name, value in saved.items()
        if isinstance(value, tuple)
        and not isinstance(value, WeightedCloud)
        and len(shapes) > 1
        and [np.shape(part) for part in value] == wanted
    }


def sorted_out(
    arrays: dict[str, np.ndarray], shapes: list[tuple[int, ...]], tuples: dict[str, tuple]
) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
    """Series, fields, and remarks on what is neither.

    Args:
        arrays: arrays by name.
        shapes: the shapes [frames, n, d] of the clouds.
        tuples: fields of several clouds by name; their parts among the arrays are left out.
    """
    frames, several = shapes[0][0], len(shapes) > 1
    series: dict[str, np.ndarray] = {}
    fields: dict[str, Any] = dict(tuples)
    notes = []
    for name, array in arrays.items():
        if name.partition(".")[0] in tuples:
            continue
        if name != "energy" and np.array_equal(array, arrays.get("energy", ())):
            continue  # the only term of the energy
        owners = [i for i, shape in enumerate(shapes) if array.shape == shape[:2]]
        numbers = array.dtype.kind in "fiub"
        if numbers and array.shape == (frames,):
            series[name] = array
        elif numbers and len(owners) == 1:
            parts = tuple(array if i in owners else None for i in range(len(shapes)))
            fields[name] = parts if several else array
        elif numbers and array.ndim == 2 and not owners and len(array) == frames and array.shape[1] <= _FEW:
            series |= {f"{name} {i + 1}": column for i, column in enumerate(array.T)}
        elif owners and numbers:
            notes.append(
                f"`{name}` has one number per particle, but may belong to any of {len(owners)} clouds: save "
                "a ct.Pair of such arrays to colour by it."
            )
        else:
            notes.append(f"`{name}` of shape {list(array.shape)} is saved, but not shown.")
    return series, fields, notes
