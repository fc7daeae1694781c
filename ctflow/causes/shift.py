"""The in-batch loss as the gap is widened or closed rigidly, along the line between the means."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from ctflow import sphere
from ctflow.causes.batch import Batch, centroids, points_of
from ctflow.clouds import with_points

SHIFTS = np.linspace(-0.5, 1.25, 15)
"""The shares of the gap that are taken out: 0 leaves the rows where they are, 1 makes the means meet."""
_REFINEMENTS = 12
_XATOL = 4e-3
MOST_LOSSES = len(SHIFTS) + _REFINEMENTS
"""Largest number of losses that are computed."""


class LossAgainstGap(NamedTuple):
    """The in-batch loss of rows that are moved rigidly, [k] each, ordered by `shift`.

    Attributes:
        shift: share of the difference of the means that is taken out, half of it from either modality; the
            rows are then brought back to the sphere. 0 are the rows as they are.
        gap: centroid gap afterwards, in [-2, 2]; negative once the means have passed each other.
        loss: in-batch loss, in nats.
        here: position of shift 0.
        closed: position of shift 1.
        least: position of the smallest loss.
        recall: recall@1 at those three positions.
    """

    shift: np.ndarray
    gap: np.ndarray
    loss: np.ndarray
    here: int
    closed: int
    least: int
    recall: tuple[float, float, float]

    @property
    def price(self) -> float:
        """Loss with the gap closed minus the loss as it is, in nats; negative if closing it helps."""
        return float(self.loss[self.closed] - self.loss[self.here])

    @property
    def gain(self) -> float:
        """Loss as it is minus the smallest loss on the line, in nats, >= 0."""
        return float(self.loss[self.here] - self.loss[self.least])


def loss_against_gap(batch: Batch, tick: Any = lambda steps: None) -> LossAgainstGap:
    """Compute the loss along the line between the means, and find its minimum there.

    Both modalities move by half of the shift, as in arXiv 2203.02053. The minimum is refined between the two
    neighbours of the smallest loss on the grid.

    Args:
        batch: the rows, their pairs and their energy.
        tick: called with the number of losses that were computed.
    """
    first, second = centroids(batch.clouds)
    difference = first - second

    def measured(shift: float) -> tuple[float, float]:
        energy, gap = _energy_and_gap(
            batch.energy, batch.clouds, difference, jnp.asarray(shift, difference.dtype)
        )
        tick(1)
        return float(batch.loss_of(energy)), float(gap)

    found = {s: measured(s) for s in SHIFTS.tolist()}
    best = min(found, key=lambda s: found[s][0])
    if SHIFTS[0] < best < SHIFTS[-1]:
        step = SHIFTS[1] - SHIFTS[0]
        options = {"xatol": _XATOL, "maxiter": _REFINEMENTS - 1}
        bounds = best - step, best + step
        sought = optimize.minimize_scalar(
            lambda s: measured(s)[0], bounds=bounds, method="bounded", options=options
        )
        if sought.fun < found[best][0]:
            found[float(sought.x)] = measured(float(sought.x))
    shift = np.array(sorted(found))
    loss, gap = np.array([found[s] for s in shift.tolist()]).T
    here, closed = (int(np.flatnonzero(shift == s)[0]) for s in (0.0, 1.0))
    least = int(np.argmin(loss))
    if loss[here] <= loss[least] + 1e-6 * abs(loss[least]):
        least = here
    recalls = {
        k: batch.recall(_moved(batch.clouds, difference, jnp.asarray(shift[k], difference.dtype)))
        for k in {here, closed, least}
    }
    return LossAgainstGap(
        shift, gap, loss, here, closed, least, (recalls[here], recalls[closed], recalls[least])
    )


@jax.jit
def _energy_and_gap(energy: Any, clouds: Any, difference: Any, shift: Any) -> tuple[Any, Any]:
    """J^Sym and the centroid gap after a shift; the gap has the sign of its direction along `difference`."""
    moved = _moved(clouds, difference, shift)
    x, y = centroids(moved)
    return energy(moved), jnp.copysign(jnp.linalg.norm(x - y), (x - y) @ difference)


def _moved(clouds: Any, difference: Any, shift: Any) -> Any:
    """Both clouds moved towards each other by half of `shift` times the difference of their means."""
    x, y = points_of(clouds)
    half = (shift / 2 * difference)[None, :]
    return with_points(clouds, type(clouds)(sphere.normalize(x - half), sphere.normalize(y + half)))
