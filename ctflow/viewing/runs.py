"""A run as a page shows it: the clouds of every frame, and what was measured along the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ctflow.clouds import Pair, WeightedCloud

_TOLERANCE = 1e-3  # of a norm; also points saved as float16 pass


@dataclass(frozen=True)
class Run:
    """The clouds of a run at its saved steps, and what was measured there; all in NumPy.

    Attributes:
        clouds: points [frames, n, d] of each cloud.
        names: a name for each cloud.
        weights: weights [frames, n] of each cloud, or None for equal weights.
        clock: step or time of each frame, [frames], increasing.
        unit: what the clock counts: `step`, `time` or `frame`.
        series: numbers by name, [saves]; as many as frames, unless frames were left out.
        series_clock: step or time of each number of the series, [saves].
        fields: numbers per particle by name: for each cloud [frames, n], or None if it has none.
        label: name of the run; may be empty.
        notes: sentences about what was saved and is not shown.
    """

    clouds: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    weights: tuple[np.ndarray | None, ...]
    clock: np.ndarray
    unit: str
    series: dict[str, np.ndarray]
    series_clock: np.ndarray
    fields: dict[str, tuple[np.ndarray | None, ...]] = field(default_factory=dict)
    label: str = ""
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.clock)

    @property
    def d(self) -> int:
        """Dimension of the space; the sphere is S^{d-1}."""
        return self.clouds[0].shape[2]

    def clouds_at(self, frame: int) -> Any:
        """The clouds of a frame as an energy takes them: a cloud, a Pair, or a tuple of more clouds."""
        clouds = tuple(
            z[frame] if w is None else WeightedCloud(z[frame], w[frame])
            for z, w in zip(self.clouds, self.weights, strict=True)
        )
        return clouds[0] if len(clouds) == 1 else Pair(*clouds) if len(clouds) == 2 else clouds


def as_run(
    clouds: Any,
    *,
    steps: Any = None,
    times: Any = None,
    series: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    label: str = "",
) -> Run:
    """A run from arrays.

    Args:
        clouds: points [frames, n, d] on the sphere, or one frame [n, d]; a `ct.Pair` or tuple of such arrays
            for several clouds; a `ct.WeightedCloud` of points and weights [frames, n] (or [n]).
        steps: the step of each frame, [frames], increasing.
        times: the time of each frame, [frames], increasing; used instead of steps.
        series: numbers per frame by name, [frames] each.
        fields: numbers per particle by name: [frames, n], or for several clouds a Pair or tuple of such
            arrays, with None for a cloud without numbers.
        names: a name for each cloud; by default cloud, cloud x and cloud y, or cloud 1, cloud 2 and so on.
        label: name of the run.

    Raises:
        ValueError: shapes do not fit each other, or points are not on a sphere.
    """
    several = isinstance(clouds, tuple) and not isinstance(clouds, WeightedCloud)
    parts = tuple(clouds) if several else (clouds,)
    if not parts:
        raise ValueError("clouds must hold at least one cloud, got an empty tuple")
    places = [f"clouds[{i}]" for i in range(len(parts))] if several else ["clouds"]
    found = tuple(checked_points(place, part) for place, part in zip(places, parts, strict=True))
    if len({z.shape[::2] for z in found}) > 1:
        raise ValueError(
            "clouds must have the same number of frames and dimensions, got shapes "
            f"{', '.join(str(z.shape) for z in found)}"
        )
    weights = tuple(map(_weights, places, parts, found))
    frames = len(found[0])
    clock, unit = _clock(steps, times, frames)
    return Run(
        found,
        cloud_names(names, len(found)),
        weights,
        clock,
        unit,
        {name: _row(f"series[{name!r}]", values, frames) for name, values in (series or {}).items()},
        clock,
        {name: _per_particle(name, values, found, several) for name, values in (fields or {}).items()},
        str(label),
    )


def checked_points(name: str, given: Any) -> np.ndarray:
    """Points [frames, n, d] in float64, or a ValueError; one frame [n, d] gets its axis."""
    given = given.points if isinstance(given, WeightedCloud) else given
    try:
        z = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be an array [frames, n, d] of points on the sphere, got {type(given).__name__}"
        ) from None
    z = z[None] if z.ndim == 2 else z
    if z.ndim != 3 or 0 in z.shape or z.shape[2] < 2:
        raise ValueError(
            f"{name} must have shape [frames, n, d] with frames, n >= 1 and d >= 2, or [n, d] for one frame, "
            f"got {np.shape(given)}"
        )
    off = np.abs(np.linalg.norm(z, axis=2) - 1)
    if not off.max() <= _TOLERANCE:  # also true for NaN
        frame, row = np.argwhere(~(off <= _TOLERANCE))[0]
        raise ValueError(
            f"{name} must hold points of unit norm, but point {row} of frame {frame} has norm "
            f"{np.linalg.norm(z[frame, row]):.6g}; use ct.sphere.normalize, or leave out frames that are not "
            "finite"
        )
    return z


def _weights(name: str, part: Any, z: np.ndarray) -> np.ndarray | None:
    if not isinstance(part, WeightedCloud):
        return None
    w = np.asarray(part.weights, dtype=np.float64)
    if w.shape not in (z.shape[1:2], z.shape[:2]):
        raise ValueError(f"{name}.weights must have shape {z.shape[:2]} or {z.shape[1:2]}, got {w.shape}")
    return np.broadcast_to(w, z.shape[:2])


def _clock(steps: Any, times: Any, frames: int) -> tuple[np.ndarray, str]:
    if times is None and steps is None:
        return np.arange(frames), "frame"
    name, given, unit = ("steps", steps, "step") if times is None else ("times", times, "time")
    clock = _row(name, given, frames)
    if not (np.isfinite(clock).all() and (np.diff(clock) > 0).all()):
        raise ValueError(f"{name} must be finite and increase from frame to frame, got {clock}")
    return clock, unit


def _row(name: str, values: Any, frames: int) -> np.ndarray:
    row = np.asarray(values)
    if row.shape != (frames,) or row.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must hold one number per frame, shape ({frames},), got {row.dtype} of shape {row.shape}"
        )
    return row.astype(np.float64) if row.dtype.kind in "fb" else row


def _per_particle(name: str, given: Any, clouds: tuple[np.ndarray, ...], several: bool) -> tuple:
    parts = tuple(given) if isinstance(given, tuple) else (given,)
    if len(parts) != len(clouds):
        hint = "; give a Pair or tuple, with None for a cloud without numbers" if several else ""
        raise ValueError(
            f"fields[{name!r}] must have {len(clouds)} parts, one per cloud, got {len(parts)}{hint}"
        )
    found = []
    for part, z in zip(parts, clouds, strict=True):
        values = None if part is None else np.asarray(part)
        if values is not None and (
            values.shape not in (z.shape[:2], z.shape[1:2]) or values.dtype.kind not in "fiub"
        ):
            raise ValueError(
                f"fields[{name!r}] must hold one number per particle, shape {z.shape[:2]} or {z.shape[1:2]}, "
                f"got {values.dtype} of shape {values.shape}"
            )
        found.append(None if values is None else np.broadcast_to(values.astype(np.float64), z.shape[:2]))
    return tuple(found)


def cloud_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The names of the clouds, or names made up for them."""
    if names is None:
        made = {1: ("cloud",), 2: ("cloud x", "cloud y")}
        return made.get(count, tuple(f"cloud {i + 1}" for i in range(count)))
    if isinstance(names, str) or len(names) != count:
        raise ValueError(f"names must have one name for each of the {count} clouds, got {names!r}")
    return tuple(map(str, names))


def thinned(run: Run, max_particles: int, max_frames: int) -> Run:
    """The run with at most so many particles per cloud and frames, evenly spaced; series stay complete."""
    rows = [_spaced(z.shape[1], max_particles) for z in run.clouds]
    frames = _spaced(run.frames, max_frames)

    def cut(values: np.ndarray | None, i: int) -> np.ndarray | None:
        return None if values is None else values[frames][:, rows[i]]

    notes = list(run.notes)
    for name, z, kept in zip(run.names, run.clouds, rows, strict=True):
        if len(kept) < z.shape[1]:
            notes.append(
                f"Of {name}, {len(kept):,} of {z.shape[1]:,} particles are drawn, evenly spaced rows."
            )
    if len(frames) < run.frames:
        notes.append(f"{len(frames)} of {run.frames} saved steps are drawn; the charts show all of them.")
    return replace(
        run,
        clouds=tuple(z[frames][:, kept] for z, kept in zip(run.clouds, rows, strict=True)),
        weights=tuple(cut(w, i) for i, w in enumerate(run.weights)),
        clock=run.clock[frames],
        fields={
            name: tuple(cut(part, i) for i, part in enumerate(parts)) for name, parts in run.fields.items()
        },
        notes=tuple(notes),
    )


def _spaced(length: int, most: int) -> np.ndarray:
    """Indices 0 … length - 1, or `most` of them with the first and the last."""
    if length <= most:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, most).round().astype(int))
