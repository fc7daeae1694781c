"""Which three axes of R^d a page shows, and how much of the clouds' variance lies along them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ctflow._base.checks import check_choice
from ctflow.viewing.runs import Run

KINDS = ("auto", "gap", "first", "last")


class Axes(NamedTuple):
    """Three axes.

    Attributes:
        frame: orthonormal rows [3, d]; for d = 2 the third is zero.
        kind: `coordinates`, `gap`, `first` or `last`.
        shares: share of the variance that the axes show, in the first and in the last frame, in [0, 1].
    """

    frame: np.ndarray
    kind: str
    shares: tuple[float, float]


def axes_of(runs: Sequence[Run], kind: str) -> Axes:
    """The axes for some runs, which share them so that their pictures can be compared.

    Args:
        runs: runs in the same dimension.
        kind: for d > 3, `gap`: the difference of the first two clouds' means in the last frame, then two
            principal axes; `first` or `last`: the principal axes of all clouds in that frame; `auto`: `gap`
            if there are two clouds with different means, else `last`.

    Raises:
        ValueError: another kind, or `gap` without two clouds whose means differ.
    """
    check_choice("axes", kind, KINDS)
    d = runs[0].d
    if d <= 3:
        return Axes(np.eye(3, d), "coordinates", (1.0, 1.0))
    gap = _gap(runs)
    if kind == "gap" and gap is None:
        raise ValueError('axes="gap" needs two clouds whose means differ in the last frame; use axes="last"')
    if kind == "auto":
        kind = "last" if gap is None else "gap"
    first = gap[None] if kind == "gap" and gap is not None else np.zeros((0, d))
    points, w = _pooled(runs, 0 if kind == "first" else -1)
    rest = points - points @ first.T @ first
    scatter = (rest * w[:, None]).T @ rest
    principal = np.linalg.eigh(scatter)[1][:, ::-1].T[: 3 - len(first)]
    # The sign of a principal axis is free; with its largest entry positive it does not depend on LAPACK.
    largest = np.take_along_axis(principal, np.abs(principal).argmax(axis=1)[:, None], axis=1)
    frame = np.concatenate([first, principal * np.sign(largest)])
    return Axes(frame, kind, (_share(runs, 0, frame), _share(runs, -1, frame)))


def _gap(runs: Sequence[Run]) -> np.ndarray | None:
    """Unit vector [d] from the second cloud's mean to the first's in the last frame, over all runs."""
    if any(len(run.clouds) < 2 for run in runs):
        return None
    means = [[_mean(run, i, -1) for i in (0, 1)] for run in runs]
    difference = np.sum([first - second for first, second in means], axis=0)
    length = np.linalg.norm(difference)
    return difference / length if length > 1e-6 else None


def _weights(run: Run, i: int, frame: int) -> np.ndarray:
    w, n = run.weights[i], run.clouds[i].shape[1]
    return np.full(n, 1 / n) if w is None else w[frame]


def _mean(run: Run, i: int, frame: int) -> np.ndarray:
    return _weights(run, i, frame) @ run.clouds[i][frame]


def _pooled(runs: Sequence[Run], frame: int) -> tuple[np.ndarray, np.ndarray]:
    """All points of a frame about their common mean, [points, d], and their weights, which sum to 1."""
    parts = [(run.clouds[i][frame], _weights(run, i, frame)) for run in runs for i in range(len(run.clouds))]
    points = np.concatenate([z for z, _ in parts])
    w = np.concatenate([w for _, w in parts]) / len(parts)
    return points - w @ points, w


def _share(runs: Sequence[Run], frame: int, axes: np.ndarray) -> float:
    points, w = _pooled(runs, frame)
    whole = float(w @ (points**2).sum(axis=1))
    return float(w @ ((points @ axes.T) ** 2).sum(axis=1)) / whole if whole > 0 else 1.0
