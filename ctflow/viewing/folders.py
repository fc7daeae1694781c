"""Runs that a folder or file holds: checkpoints of `ct.solve`, arrays in .npz files, saved clouds."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.cloud_files import load_clouds
from ctflow.clouds import Pair, WeightedCloud, points
from ctflow.storage.checkpoints import newest
from ctflow.storage.reading import existing_path
from ctflow.storage.tables import read_arrays
from ctflow.viewing.runs import Run, as_run
from ctflow.viewing.solutions import sorted_out

_CAN = (
    "it can be a checkpoint folder of ct.solve, an .npz file (or a folder with one) with `clouds`, or `x` "
    "and `y`, of shape [frames, n, d], or files of ct.io.save_clouds"
)
_UNIT = 1e-3
_NAMED = 6  # arrays that an error names


def open_runs(path: str | os.PathLike[str]) -> list[Run]:
    """The runs that a folder or file holds, for `ct.view`.

    Args:
        path: one of:

            - a checkpoint folder of `ct.solve`. If `save` kept the clouds, all saved steps are there;
              otherwise only the clouds of the last step, and the numbers of all saved steps.
            - an .npz file, or a folder with one, such as an experiment's. It holds `clouds` [frames, n, d],
              or `x` and `y`; also `steps` or `times`, [frames], if known. Other arrays of one number per
              frame, or per frame and particle, are shown too. Names of several runs have endings: `x_some`,
              `y_some`.
            - a file of `ct.io.save_clouds`, or a folder of such files: one per frame, in order of names.

    Raises:
        ValueError: there is nothing of this kind; a file is damaged.
    """
    place = existing_path(path)
    if place.is_file():
        files = [place]
    elif (found := newest(place)) is not None:
        return [_of_checkpoint(place, found.count, found.arrays)]
    else:
        files = sorted(place.glob("*.npz")) or sorted(place.glob("*.safetensors"), key=_natural)
    kinds = {file.suffix for file in files}
    if kinds == {".npz"}:
        held = [read_arrays(file) for file in files]
        runs = [run for arrays in held for run in _of_arrays(arrays)]
        if runs:
            return runs
        there = [f"`{name}` {list(array.shape)}" for arrays in held for name, array in arrays.items()]
        why = f": there are {', '.join(there[:_NAMED])}{', …' if len(there) > _NAMED else ''}"
        raise ValueError(f"{str(place)!r} holds no clouds that can be shown{_remark(place) or why}; {_CAN}")
    elif kinds == {".safetensors"}:
        return [_of_cloud_files(files)]
    raise ValueError(f"{str(place)!r} holds no clouds that can be shown{_remark(place)}; {_CAN}")


def _remark(place: Path) -> str:
    """What a folder without clouds is, if that is known."""
    if (place / "view.html").is_file():
        return " again, but its page view.html is there: open that"
    return (
        " (it is the result of an experiment without clouds per frame)"
        if (place / "run.json").is_file()
        else ""
    )


def _natural(path: Path) -> list[Any]:
    """Sorts step-9 before step-10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]


def _of_checkpoint(place: Path, count: int, arrays: dict[str, np.ndarray]) -> Run:
    if "steps" not in arrays:
        raise ValueError(
            f"{str(place)!r} must hold the saves of one run, got parts of a sweep or experiment; {_CAN}"
        )
    names = json.loads(bytes(arrays["names"])) if "names" in arrays else {}
    saved = [arrays[f"saved.{i}"] for i in range(_count(arrays, "saved"))]
    called = names.get("saved") or [f"saved {i + 1}" for i in range(len(saved))]
    state = _cloud_leaves(arrays)
    at = _where_clouds(saved, state)
    if at is None:
        clouds, numbers, note = (
            state,
            [],
            f"Only step {count} is drawn: the clouds of other steps were not saved. "
            + ("Pass `save=ct.saving.frames(energy)` to `ct.solve` to save them."),
        )
        run = as_run(_assembled(clouds), steps=[count])
        numbers = {
            name: row for name, row in zip(called, saved, strict=True) if row.shape == arrays["steps"].shape
        }
        return replace(run, series=numbers, series_clock=arrays["steps"], label=place.name, notes=(note,))
    clouds = _assembled([saved[at + i] for i in range(len(state))])
    rest = {
        name: row
        for i, (name, row) in enumerate(zip(called, saved, strict=True))
        if not at <= i < at + len(state)
    }
    shapes = [np.shape(z) for z in _each(points(clouds))]
    series, fields, notes = sorted_out(rest, shapes, {})
    run = as_run(clouds, steps=arrays["steps"], series=series, fields=fields)
    return replace(run, label=place.name, notes=tuple(notes))


def _count(arrays: dict[str, np.ndarray], kind: str) -> int:
    return sum(re.fullmatch(rf"{kind}\.\d+", name) is not None for name in arrays)


def _cloud_leaves(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays of the clouds in a state: all before the number of steps."""
    leaves = []
    while arrays[f"state.{len(leaves)}"].ndim:
        leaves.append(arrays[f"state.{len(leaves)}"])
    return leaves


def _where_clouds(saved: list[np.ndarray], state: list[np.ndarray]) -> int | None:
    """The first of the consecutive saved arrays that are the state's clouds, one frame after the other."""
    for at in range(len(saved) - len(state) + 1):
        found = saved[at : at + len(state)]
        if all(
            a.shape[1:] == b.shape and (a.ndim < 3 or _on_sphere(a))
            for a, b in zip(found, state, strict=True)
        ):
            return at
    return None


def _on_sphere(z: np.ndarray) -> bool:
    return bool((np.abs(np.linalg.norm(z, axis=-1) - 1) < _UNIT).all())


def _assembled(leaves: list[np.ndarray]) -> Any:
    """A cloud, a Pair or a tuple from its arrays: weights follow their points and have one axis fewer."""
    clouds: list[np.ndarray | WeightedCloud] = []
    for leaf in leaves:
        before = clouds[-1] if clouds else None
        if isinstance(before, np.ndarray) and leaf.ndim == before.ndim - 1:
            clouds[-1] = WeightedCloud(before, leaf)
        else:
            clouds.append(leaf)
    return clouds[0] if len(clouds) == 1 else Pair(*clouds) if len(clouds) == 2 else tuple(clouds)


def _each(clouds: Any) -> tuple[Any, ...]:
    return clouds if isinstance(clouds, tuple) else (clouds,)


def _of_arrays(arrays: dict[str, np.ndarray]) -> list[Run]:
    """A run for each ending of the names of clouds."""
    runs = []
    for ending in dict.fromkeys(m[2] for m in map(_CLOUDS.fullmatch, arrays) if m):
        both = [arrays.get(f"{name}{ending}") for name in "xy"]
        single = arrays.get(f"clouds{ending}")
        clouds = single if single is not None else None if any(z is None for z in both) else Pair(*both)
        if clouds is None or any(z.ndim != 3 for z in _each(clouds)):
            continue
        if not all(_on_sphere(z) for z in _each(clouds)):
            if ending or single is None:  # `x` and `y` may be anything
                continue
            raise ValueError(
                "`clouds` must have rows of unit norm in all frames; divide each row by its norm "
                "(ct.sphere.normalize)"
            )
        frames = len(_each(clouds)[0])
        clock = {
            unit: arrays[name]
            for unit in ("steps", "times")
            for name in (f"{unit}{ending}", f"frame_{unit}{ending}")
            if name in arrays and arrays[name].shape == (frames,)
        }
        used = {
            f"{name}{ending}" for name in ("clouds", "x", "y", "steps", "times", "frame_steps", "frame_times")
        }
        own = {
            name.removesuffix(ending): a
            for name, a in arrays.items()
            if name.endswith(ending) and name not in used
        }
        series, fields, _ = sorted_out(own, [z.shape for z in _each(clouds)], {})
        label = ending.removeprefix("_")
        run = as_run(clouds, steps=clock.get("steps"), times=clock.get("times"), series=series, fields=fields)
        runs.append(replace(run, label=label))
    return runs


_CLOUDS = re.compile(r"(clouds|x)(|_.*)")


def _of_cloud_files(files: list[Path]) -> Run:
    frames = [load_clouds(file) for file in files]
    kinds = {str([np.shape(z) for z in _each(points(of))]) for of in frames}
    if len(kinds) > 1 or len({type(of) for of in frames}) > 1:
        raise ValueError(
            f"the clouds in {str(files[0].parent)!r} must all have one shape to be frames of a run"
        )
    parts = [[_arrays(cloud) for cloud in _tuple_of(of)] for of in frames]
    clouds = [
        np.stack([z for z, _ in column])
        if column[0][1] is None
        else WeightedCloud(np.stack([z for z, _ in column]), np.stack([w for _, w in column]))
        for column in zip(*parts, strict=True)
    ]
    made = clouds[0] if len(clouds) == 1 else Pair(*clouds)
    return replace(as_run(made), label=files[0].parent.name if len(files) > 1 else files[0].stem)


def _tuple_of(clouds: Any) -> tuple[Any, ...]:
    return tuple(clouds) if isinstance(clouds, Pair) else (clouds,)


def _arrays(cloud: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(cloud, WeightedCloud):
        return np.asarray(cloud.points), np.asarray(cloud.weights)
    return np.asarray(cloud), None
